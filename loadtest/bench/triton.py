"""Load on Triton that costs as little CPU as Python allows: embedding requests are serialised beforehand.

The load generator shares the cores with the server it measures, so what it uses is taken from the server.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from loadtest.bench.report import BenchError
from triton_models import client

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Channels share one connection otherwise: clients of their own have connections of their own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
)
RAMP = 0.4
"""Seconds of load before counting begins, so that every queue is as full as it will be."""
CALL_LIMIT = 60.0

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Stream:
    """One generation as its client saw it."""

    first: float
    """Seconds to the first text."""
    total: float
    """Seconds to the end."""
    tokens: int
    gaps: tuple[float, ...]
    """Seconds between pieces of text."""


def open_channel(target: str) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


class EmbedLoad:
    """Clients that ask the embedder one text at a time, each as soon as its last answer has come.

    `async with EmbedLoad(target, requests, clients=64) as load: await load.rate(3.0)`
    """

    def __init__(self, target: str, requests: Sequence[bytes], clients: int) -> None:
        self._target = target
        self._requests = requests
        self._clients = clients
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> EmbedLoad:
        self._channels = [open_channel(self._target) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*[channel.close() for channel in self._channels])

    async def rate(self, seconds: float, latencies: list[float] | None = None) -> float:
        """Answers in a second under full load; raises BenchError when one fails.

        Answers come in bursts, a whole batch at a time, so counting those within a fixed time would be wrong
        by up to a batch. Instead each client is timed from one of its answers to a later one, at least
        `seconds` apart, and goes on asking until the last client has been timed. `latencies` receives the
        seconds that each answer took.
        """
        begin = time.perf_counter() + RAMP
        timed: list[float] = []
        upcoming = 0

        async def one(channel: grpc.aio.Channel) -> None:
            nonlocal upcoming
            call: Any = channel.unary_unary(_INFER)
            first, count, done = 0.0, 0, False
            while len(timed) < self._clients:
                request = self._requests[upcoming % len(self._requests)]
                upcoming += 1
                asked = time.perf_counter()
                await call(request, timeout=CALL_LIMIT)
                answered = time.perf_counter()
                if done or answered < begin:
                    continue
                if not first:
                    first = answered
                    continue
                count += 1
                if latencies is not None:
                    latencies.append(answered - asked)
                if answered - first >= seconds:
                    done = True
                    timed.append(count / (answered - first))

        try:
            await asyncio.gather(*[one(channel) for channel in self._channels])
        except grpc.aio.AioRpcError as error:
            raise BenchError(f"the embedder refused: {error.details()}") from error
        return sum(timed)


async def embed(channel: grpc.aio.Channel, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """The vectors of a few texts, shape `[len(texts), dimensions]`."""
    call = client.triton_stub(channel)
    response = await call.ModelInfer(client.embed_request(texts), timeout=CALL_LIMIT)
    return np.array(client.embeddings(response), np.float32)


async def generate(channel: grpc.aio.Channel, request: Any) -> Stream:
    """Streams one generation. Raises BenchError when the model fails."""
    began = time.perf_counter()
    moments: list[float] = []
    tokens = 0
    try:
        async for piece in client.stream(client.triton_stub(channel), request, timeout=CALL_LIMIT):
            if piece.text:
                moments.append(time.perf_counter())
            if piece.usage:
                tokens = int(piece.usage["completion_tokens"])
    except client.ModelFailedError as error:
        raise BenchError(f"the generator refused: {error}") from error
    except grpc.aio.AioRpcError as error:
        raise BenchError(f"the generator failed: {error.details()}") from error
    if not moments or not tokens:
        raise BenchError("the generator answered without text or usage")
    return stream_of(began, moments, tokens)


def stream_of(began: float, moments: Sequence[float], tokens: int) -> Stream:
    """What the moments of its pieces say of a stream."""
    gaps = tuple(later - earlier for earlier, later in itertools.pairwise(moments))
    return Stream(moments[0] - began, time.perf_counter() - began, tokens, gaps)
