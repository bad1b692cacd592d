"""A caller that goes away stops the work done for it, in every phase."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import grpc
from integration.triton.harness import Triton, ask, engine_state

from triton_models.client import chat_request, stream, triton_stub

LONG = {"max_tokens": 900, "ignore_eos": True, "temperature": 0}
BOUND = 2.0
"""Seconds. The product's promise is 0.1; this bound holds on a machine that is busy as well."""


async def until_idle(stub: Any) -> float:
    """Seconds until the engine's own count of requests in work is zero; it makes no step from then on."""
    began = time.monotonic()
    while (state := await engine_state(stub))["processing"]:
        assert time.monotonic() - began < 30, "the engine works on for nobody"
        await asyncio.sleep(0.002)
    spent = time.monotonic() - began
    await asyncio.sleep(0.2)
    assert (await engine_state(stub))["steps"] == state["steps"], "the engine works on for nobody"
    return spent


async def begin(stub: Any, text: str, pieces: int) -> Any:
    """A stream of which so many pieces of text have been read."""
    answer = stream(stub, chat_request([{"role": "user", "content": text}], LONG), timeout=60)
    while pieces:
        piece = await anext(answer)
        pieces -= bool(piece.text)
    return answer


async def test_closing_the_stream_stops_the_generation(stub: Any) -> None:
    for _ in range(5):
        answer = await begin(stub, "Write a very long story.", 5)
        assert (await engine_state(stub))["processing"] == 1
        await answer.aclose()
        assert await until_idle(stub) < BOUND


async def test_closing_the_connection_stops_the_generation(stub: Any, triton: Triton) -> None:
    async with grpc.aio.insecure_channel(triton.target) as channel:
        answer = await begin(triton_stub(channel), "Write a very long poem.", 5)
    assert await until_idle(stub) < BOUND
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await anext(answer)


async def test_a_deadline_that_passes_stops_the_generation(stub: Any) -> None:
    request = chat_request([{"role": "user", "content": "Write a very long essay."}], LONG)
    try:
        async for _ in stream(stub, request, timeout=1.0):
            pass
    except grpc.aio.AioRpcError as error:
        code = error.code()
    else:
        raise AssertionError("the answer was complete within its deadline")
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await until_idle(stub) < BOUND


async def test_leaving_while_the_prompt_is_processed_stops_it(stub: Any) -> None:
    before = (await engine_state(stub))["tokens"]
    task = asyncio.ensure_future(begin(stub, "word " * 900, 1))
    while not (await engine_state(stub))["processing"]:
        await asyncio.sleep(0.002)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await until_idle(stub) < BOUND
    assert (await engine_state(stub))["tokens"] == before


async def test_leaving_the_line_gives_the_place_up_while_every_slot_is_busy(stub: Any) -> None:
    busy = [await begin(stub, f"Write a very long tale {index}.", 1) for index in range(4)]
    waiting = [asyncio.ensure_future(ask(stub, "Hi", {"max_tokens": 1})) for _ in range(4)]
    while (await engine_state(stub))["waiting"] < 4:
        await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    began = time.monotonic()
    while (await engine_state(stub))["waiting"]:
        assert time.monotonic() - began < BOUND
        await asyncio.sleep(0.002)
    assert (await engine_state(stub))["processing"] == 4
    for answer in busy:
        await answer.aclose()
    assert await until_idle(stub) < BOUND


async def test_a_request_that_waits_shows_signs_of_life(stub: Any) -> None:
    busy = [await begin(stub, f"Write a very long tale {index}.", 1) for index in range(4)]
    request = chat_request([{"role": "user", "content": "Hi"}], {"max_tokens": 1})
    waiting = stream(stub, request, timeout=60)
    first = await asyncio.wait_for(anext(waiting), timeout=10)
    assert (first.text, first.finish_reason) == ("", "")
    for answer in [*busy, waiting]:
        await answer.aclose()
    assert await until_idle(stub) < BOUND
