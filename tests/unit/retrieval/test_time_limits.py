"""A dependency that is silent: unavailable once our own patience ends, a deadline when the caller's does.

UNAVAILABLE is retried by the mesh and counted against the host that says it; a caller with a deadline of a
millisecond must not bring that about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest

from services.common.context import CallContext, set_current_call
from services.common.errors import DeadlineExceeded, ModelUnavailable, StoreUnavailable
from services.common.triton import TritonClient
from services.retrieval.adapters.milvus import MilvusConfig, MilvusIndex
from services.retrieval.adapters.triton import TritonEmbedder
from services.retrieval.model import SearchFilter

Step = Callable[[timedelta], Awaitable[object]]

PATIENCE = timedelta(milliseconds=30)
LONG = timedelta(minutes=1)


class SilentTriton:
    """Takes a request and never answers; or finds that the call's own deadline has passed."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def embed(self, texts: object) -> object:
        if self._error is not None:
            raise self._error
        return await asyncio.get_running_loop().create_future()


def embedding(triton: SilentTriton) -> Step:
    async def step(patience: timedelta) -> object:
        client = cast("TritonClient", triton)
        return await TritonEmbedder(client, timeout=patience, requests=1).embed(["a"])

    return step


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A server that accepts connections and says nothing."""
    held: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for writer in held:
            writer.close()


@pytest.fixture(params=["embedder", "embedder that minds the deadline", "index"])
def step(request: Any, silent_port: int) -> tuple[Step, type[Exception]]:
    """What is silent, and the error when it is taken for away."""
    match request.param:
        case "embedder":
            return embedding(SilentTriton()), ModelUnavailable
        case "index":

            async def search(patience: timedelta) -> object:
                config = MilvusConfig(uri=f"http://127.0.0.1:{silent_port}", timeout=patience)
                async with MilvusIndex(config) as index:
                    vector = np.zeros(384, np.float32)
                    return await index.for_tenant("acme").dense(vector, SearchFilter(), 1)

            return search, StoreUnavailable
        case _:
            return embedding(SilentTriton(DeadlineExceeded("in time"))), ModelUnavailable


async def test_it_is_unavailable_when_we_have_waited_long_enough(step: tuple[Step, type[Exception]]) -> None:
    run, unavailable = step
    set_current_call(CallContext("r-1", time.monotonic() + 60))
    with pytest.raises(unavailable):
        await run(PATIENCE)


async def test_it_is_unavailable_to_a_caller_who_waits_for_ever(step: tuple[Step, type[Exception]]) -> None:
    run, unavailable = step
    set_current_call(CallContext("r-1", deadline=None))
    with pytest.raises(unavailable):
        await run(PATIENCE)


@pytest.mark.parametrize("left", [-1.0, 0.001, 0.08])
async def test_a_caller_who_waits_for_less_has_let_his_deadline_pass(
    step: tuple[Step, type[Exception]], left: float
) -> None:
    run, _ = step
    set_current_call(CallContext("r-1", time.monotonic() + left))
    with pytest.raises(DeadlineExceeded):
        await run(LONG)
