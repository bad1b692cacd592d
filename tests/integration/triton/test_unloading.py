"""Triton lets go of every answer: a request that it kept would cost memory for good, and hold its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import grpc
import pytest
from integration.triton.harness import Triton
from tritonclient.grpc import service_pb2

from services.common.config import Peer
from services.common.errors import InvalidRequest
from services.common.triton import TritonClient
from triton_models.client import ModelFailedError, chat_request, stream, triton_stub

MESSAGES = [{"role": "user", "content": "Say something."}]
FEW, MANY = {"max_tokens": 4}, {"max_tokens": 400}
BAD = {"max_tokens": 4, "temperature": -1, "tokens": -1}
"""Refused by either model."""
TIMES = 12


async def _leave(pieces: AsyncIterator[Any], after: int) -> None:
    seen = 0
    async for piece in pieces:
        seen += 1
        # Nobody has to ask for more once an answer says that it has ended.
        if piece.finish_reason or seen == after:
            return


@pytest.mark.parametrize("by", ["the gateway's client", "the tools' client"])
@pytest.mark.parametrize("model", ["synthetic", "generator"])
async def test_a_model_that_has_answered_can_be_unloaded(victim: Triton, model: str, by: str) -> None:
    async with (
        grpc.aio.insecure_channel(victim.target) as channel,
        TritonClient(Peer(victim.target, "triton")) as triton,
    ):
        stub = triton_stub(channel)

        async def ask(params: dict[str, Any], leave_after: int = 0) -> None:
            if by == "the gateway's client":
                answer: Any = triton.generate(MESSAGES, params, model=model)
            else:
                answer = stream(stub, chat_request(MESSAGES, params, model), timeout=60)
            async with aclosing(answer):
                await _leave(answer, leave_after)

        for _ in range(TIMES):
            await ask(FEW)
            await ask(MANY, leave_after=2)
            with suppress(InvalidRequest, ModelFailedError):
                await ask(BAD)
                raise AssertionError("the model took what it must refuse")
        await stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name=model))
        async with asyncio.timeout(30):
            while await _state(stub, model) != "UNAVAILABLE":
                await asyncio.sleep(0.05)
        await stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=model), timeout=60)
        assert await _state(stub, model) == "READY"


async def _state(stub: Any, model: str) -> str:
    index = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest())
    return next(str(entry.state) for entry in index.models if entry.name == model)
