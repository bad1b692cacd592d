"""A gRPC client that is its own proxy, as the services are with `--data-plane proxyless`.

In a process of its own, because gRPC reads its bootstrap once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.mesh_echo import SAY, Client

from mesh.local.services import python_path
from services.common.channel import CHANNEL_OPTIONS, dial
from services.common.config import Peer

_TESTS = Path(__file__).parents[1]


class Caller:
    """The process: an order in, what became of it out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def many(
        self, count: int, *, method: str = SAY, each: float = 0.0, at_once: int = 16, **metadata: str
    ) -> Counter[str]:
        """`count` calls: how often each instance answered, or each status came. They follow one another by
        `each` seconds; with none, `at_once` are made at a time."""
        order = {"count": count, "method": method, "each": each, "at_once": at_once, "metadata": metadata}
        return Counter(await self._ask(order))

    async def who(self, method: str = SAY, **metadata: str) -> str:
        """The instance that answers one call, or the status by name."""
        order = {"count": 1, "method": method, "each": 0.0, "at_once": 1, "metadata": metadata}
        return str(next(iter(await self._ask(order))))

    async def received(self, method: str = SAY) -> dict[str, str]:
        """The metadata that reached the server."""
        found: dict[str, str] = await self._ask({"method": method})
        return found

    async def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())
        line = await asyncio.wait_for(self._process.stdout.readline(), 90.0)
        assert line, "the client is gone"
        return json.loads(line)


@asynccontextmanager
async def calling(peer: Peer, bootstrap: Path) -> AsyncIterator[Caller]:
    """A client of one service, with the bootstrap that the supervisor wrote."""
    paths = f"{_TESTS}:{python_path()['PYTHONPATH']}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.mesh_proxyless", peer.target, peer.authority),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.wait()


async def _serve(peer: Peer) -> None:
    """The process's side."""
    async with dial(peer, CHANNEL_OPTIONS) as channel:
        client = Client(channel)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            method = order["method"]
            if "count" not in order:
                answer: Any = (await client.call(method)).metadata
            elif order["each"]:
                answer = await _paced(client, method, order["count"], order["each"])
            else:
                answer = await client.many(
                    order["count"], at_once=order["at_once"], method=method, **order["metadata"]
                )
            print(json.dumps(answer), flush=True)


async def _paced(client: Client, method: str, count: int, each: float) -> Counter[str]:
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(client.who(method)))
        await asyncio.sleep(each)
    return Counter(await asyncio.gather(*tasks))


if __name__ == "__main__":
    asyncio.run(_serve(Peer(sys.argv[1], sys.argv[2])))
