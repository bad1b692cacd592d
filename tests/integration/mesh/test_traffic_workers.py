"""Several workers of a service behind its sidecar: the kernel gives each connection to one of them, so the
sidecar must have several for the others to have anything to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.mesh_istio import running

METHOD = "/causeway.session.v1.MessageService/ListMessages"
SERVERS = ("session@us-west-2", "session@us-east-1")
CALLS = 8


@pytest.mark.parametrize("shared", [False, True])
async def test_calls_under_way_have_connections_of_their_own_where_workers_share_a_port(
    tmp_path: Path, shared: bool
) -> None:
    seen: list[tuple[str, str]] = []
    """Of each call, who answers it and from where it came."""
    all_there = asyncio.Event()

    def holding(name: str) -> Callable[[bytes, Any], AsyncIterator[bytes]]:
        async def held(request: bytes, context: Any) -> AsyncIterator[bytes]:
            seen.append((name, context.peer()))
            if len(seen) == CALLS:
                all_there.set()
            await all_there.wait()
            yield b"answer"

        return held

    async with running(tmp_path, shared=SERVERS if shared else ()) as platform:
        # A busy machine misses a health check now and then, and the other region helps out.
        for name in SERVERS:
            platform.echoes[name].streams = {METHOD: holding(name)}
        async with platform.inside("gateway", "us-west-2", "session") as client, asyncio.timeout(30):
            calls = [client.watch(METHOD) for _ in range(CALLS)]
            answers = [[piece async for piece in call] for call in calls]
    assert answers == [[b"answer"]] * CALLS
    answered = {name for name, _ in seen}
    assert len(set(seen)) == (CALLS if shared else len(answered)), seen
