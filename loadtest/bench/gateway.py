"""A client of the gateway that times what it receives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from loadtest.bench.report import BenchError
from loadtest.bench.triton import CALL_LIMIT, Stream, stream_of

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as its client saw it."""

    stream: Stream
    retrieval: float
    """Seconds until the gateway had its passages, as it says itself; 0 without any."""


def question(
    text: str, *, max_tokens: int, grounded: bool, temperature: float = 0.0
) -> chat_service_pb2.ChatRequest:
    """A request; without grounding the model answers alone."""
    return chat_service_pb2.ChatRequest(
        text=text,
        parameters=chat_pb2.GenerationParameters(max_tokens=max_tokens, temperature=temperature),
        grounding=chat_pb2.Grounding(disabled=not grounded),
    )


async def chat(
    stub: chat_service_pb2_grpc.ChatServiceAsyncStub,
    request: chat_service_pb2.ChatRequest,
    metadata: Metadata,
) -> Answer:
    """Streams one answer. Raises BenchError when the platform refuses or breaks off."""
    began = time.perf_counter()
    moments: list[float] = []
    tokens, retrieval, finished = 0, 0.0, False
    try:
        async for response in stub.Chat(request, metadata=metadata, timeout=CALL_LIMIT):
            kind = response.WhichOneof("event")
            if kind == "text_delta":
                moments.append(time.perf_counter())
            elif kind == "usage":
                tokens = response.usage.completion_tokens
            elif kind == "finished":
                finished = True
                retrieval = response.finished.timing.retrieval_us / 1e6
    except grpc.aio.AioRpcError as error:
        raise BenchError(f"the gateway refused: {error.code().name} {error.details()}") from error
    if not finished or not moments:
        raise BenchError("the gateway answered without text or end")
    return Answer(stream_of(began, moments, tokens), retrieval)


async def crowd(
    size: int, seconds: float, ask: Callable[[int, int], Coroutine[Any, Any, Stream]]
) -> list[Stream]:
    """`size` callers, each asking again as soon as it was answered, for `seconds`.

    They do not begin all at once: that would measure one queue, again and again. `ask` is told the caller
    and the number of the request. What each was doing at the end is waited for, and counts.
    """
    end = time.perf_counter() + seconds
    streams: list[Stream] = []

    async def caller(place: int) -> None:
        await asyncio.sleep(place / size * min(0.5, seconds / 4))
        number = 0
        while number == 0 or time.perf_counter() < end:
            streams.append(await ask(place, number))
            number += 1

    await gather([caller(place) for place in range(size)])
    return streams


async def gather(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them; when one fails, the others are cancelled and its error is raised as it is."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
