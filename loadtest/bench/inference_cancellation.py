"""How soon the generator stops working for a caller that went away, seen in the engine's own counts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from loadtest.bench.harness import Run
from loadtest.bench.inference_site import Site
from loadtest.bench.report import BenchError
from loadtest.bench.stats import percentile
from loadtest.bench.triton import CALL_LIMIT, open_channel
from triton_models import client

LIMIT_MS = 100.0
STREAMS = 8
_LONG = {"max_tokens": 900, "ignore_eos": True, "temperature": 0.0}
_POLL = 0.005
"""Seconds between two looks. Closer ones take the CPU from the engine, whose steps then grow longer."""
_PIECES = 5
"""Of text, before the caller leaves."""
_ANY_MOMENT = 0.2
"""Seconds: longer than a step of the engine."""
_GIVE_UP = 20.0


async def measure_cancellation(run: Run, site: Site) -> None:
    """With one stream, among eight, and while a prompt of 900 words is being read."""
    run.progress.stage("generator, callers that go away")
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(site.target)) for _ in range(STREAMS)]
        watch = await stack.enter_async_context(open_channel(site.target))
        for streams, pieces, what, bounded in (
            (1, _PIECES, "1 stream", (0.5, 0.9)),
            (STREAMS, _PIECES, f"one of {STREAMS} streams", (0.5,)),
            (1, 0, "while its prompt is read", ()),
        ):
            spent: list[float] = []
            for number in range(run.choose(30, 3)):
                run.progress.step(f"{what}, {number + 1}")
                spent.append(await _leave(channels[:streams], watch, pieces, number))
            note = f"{len(spent)} callers; worst {max(spent) * 1e3:.0f} ms"
            for share in (0.5, 0.9):
                run.report.add(
                    f"engine stops for a caller that left, {what}, p{share * 100:.0f}",
                    percentile(spent, share) * 1e3,
                    "ms",
                    maximum=LIMIT_MS if share in bounded else None,
                    note=note,
                )


async def _leave(
    channels: Sequence[grpc.aio.Channel], watch: grpc.aio.Channel, pieces: int, number: int
) -> float:
    """Seconds from the first caller's leaving until the engine works for one less."""
    words = "word " * 900 if not pieces else "Write a very long story."
    streams = [
        client.stream(
            client.triton_stub(channel),
            client.chat_request([{"role": "user", "content": f"{number}.{index}: {words}"}], _LONG),
            timeout=CALL_LIMIT,
        )
        for index, channel in enumerate(channels)
    ]
    if not pieces:
        reading = asyncio.ensure_future(anext(streams[0]))
        await _until(watch, 1)
        await asyncio.sleep(random.uniform(0, _ANY_MOMENT))
        began = time.perf_counter()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await _until(watch, 0)
        return time.perf_counter() - began
    await asyncio.gather(*[_read(stream, pieces) for stream in streams])
    # The others must be read on, or they would stand still and make the engine's steps shorter.
    others = [asyncio.ensure_future(_read(stream, None)) for stream in streams[1:]]
    try:
        # People leave at any moment of a step, not just behind one.
        await asyncio.sleep(random.uniform(0, _ANY_MOMENT))
        began = time.perf_counter()
        await streams[0].aclose()
        await _until(watch, len(others))
        return time.perf_counter() - began
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for stream in streams[1:]:
            await stream.aclose()
        await _until(watch, 0)


async def _read(stream: Any, pieces: int | None) -> None:
    while pieces is None or pieces > 0:
        piece = await anext(stream, None)
        if piece is None:
            return
        if pieces is not None:
            pieces -= bool(piece.text)


async def _until(channel: grpc.aio.Channel, busy: int) -> None:
    """Until the engine works for so many requests."""
    began = time.perf_counter()
    while await _busy(channel) != busy:
        if time.perf_counter() - began > _GIVE_UP:
            raise BenchError("the engine works on for a caller that went away")
        await asyncio.sleep(_POLL)


async def _busy(channel: grpc.aio.Channel) -> int:
    request = client.chat_request([{"role": "user", "content": "probe"}], {"probe": True})
    async for piece in client.stream(client.triton_stub(channel), request, timeout=CALL_LIMIT):
        if piece.usage:
            return int(piece.usage["processing"])
    raise BenchError("the generator does not tell its state")
