"""Callers of a service, on connections of their own: `python -m loadtest.bench.peers.service_callers TARGET
AUTHORITY METHOD KIND CONNECTIONS PAYLOAD`; KIND is `unary` or `stream`, PAYLOAD the request in hexadecimal.

Each asks again as soon as it was answered to the end. Answers are not decoded: the cores are the service's.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from loadtest.bench.peers.loop import serve
from loadtest.bench.peers.mesh_caller import measure
from services.common.channel import CHANNEL_OPTIONS, dial
from services.common.config import Peer

OPTIONS = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
"""Without it, channels to the same server share a connection."""

Ask = Callable[..., Awaitable[None]]


def unary(channel: grpc.aio.Channel, method: str) -> Ask:
    """One call, one answer."""
    stub: Any = channel.unary_unary(method)

    async def ask(request: bytes, **options: Any) -> None:
        await stub(request, **options)

    return ask


def stream(channel: grpc.aio.Channel, method: str) -> Ask:
    """One call, all pieces of its answer."""
    stub: Any = channel.unary_stream(method)

    async def ask(request: bytes, **options: Any) -> None:
        async for _ in stub(request, **options):
            pass

    return ask


KINDS: Mapping[str, Callable[[grpc.aio.Channel, str], Ask]] = {"unary": unary, "stream": stream}


def main(target: str, authority: str, method: str, kind: str, connections: str, payload: str) -> None:
    """Serves `{"callers", "seconds", "metadata"}` with what `mesh_caller.measure` gives.

    Connections are new each time: to which worker the kernel gives one is luck, which is not to last.
    """
    loop = asyncio.new_event_loop()
    request = bytes.fromhex(payload)

    async def handle(asked: dict[str, Any]) -> dict[str, Any]:
        metadata = tuple((key, value) for key, value in asked["metadata"])
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(dial(Peer(target, authority), OPTIONS))
                for _ in range(int(connections))
            ]
            turns = itertools.cycle([KINDS[kind](channel, method) for channel in channels])

            async def call(limit: float) -> None:
                await next(turns)(request, metadata=metadata, timeout=limit, wait_for_ready=True)

            return await measure(call, asked["callers"], asked["seconds"])

    serve(lambda asked: loop.run_until_complete(handle(asked)))


if __name__ == "__main__":
    main(*sys.argv[1:])
