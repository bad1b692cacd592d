"""Callers of one server on one way: `python -m loadtest.bench.peers.mesh_caller TARGET AUTHORITY METHOD`.

They share a channel, as all calls of a service to a peer do, and each asks again as soon as it was answered.
With a target `xds:///…`, GRPC_XDS_BOOTSTRAP names the bootstrap (a fourth argument sets it).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from loadtest.bench.peers.loop import serve
from loadtest.bench.stats import percentile
from services.common.channel import CHANNEL_OPTIONS, dial
from services.common.config import Peer

CALL_LIMIT = 10.0
RAMP = 0.2
"""Seconds of calls before counting begins."""
PAYLOAD = bytes(range(256))


async def measure(call: Callable[[float], Awaitable[object]], callers: int, seconds: float) -> dict[str, Any]:
    """Calls a second, and the middle and the 99th of a hundred of the times that they took, in seconds.

    `call` makes one, which may take so many seconds.
    """
    begin = time.perf_counter() + RAMP
    end = begin + seconds
    spent: list[float] = []

    async def caller() -> None:
        while True:
            asked = time.perf_counter()
            if asked >= end:
                return
            await call(CALL_LIMIT)
            answered = time.perf_counter()
            if asked >= begin and answered <= end:
                spent.append(answered - asked)

    tasks = [asyncio.ensure_future(caller()) for _ in range(callers)]
    try:
        await asyncio.gather(*tasks)
    except grpc.aio.AioRpcError as error:
        return {"error": f"{error.code().name}: {error.details()}"}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not spent:
        return {"error": f"no call was answered within {seconds:g} s"}
    return {
        "rate": len(spent) / seconds,
        "p50": percentile(spent, 0.5),
        "p99": percentile(spent, 0.99),
        "calls": len(spent),
    }


def main(target: str, authority: str, method: str) -> None:
    """Serves `{"callers", "seconds"}` with what `measure` gives."""
    loop = asyncio.new_event_loop()

    async def open_call() -> Any:
        channel = dial(Peer(target, authority), CHANNEL_OPTIONS)
        return channel.unary_unary(method)

    stub = loop.run_until_complete(open_call())

    async def call(limit: float) -> None:
        await stub(PAYLOAD, timeout=limit, wait_for_ready=True)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        return loop.run_until_complete(measure(call, request["callers"], request["seconds"]))

    serve(handle)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        os.environ["GRPC_XDS_BOOTSTRAP"] = sys.argv[4]
    main(*sys.argv[1:4])
