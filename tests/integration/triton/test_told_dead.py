"""A model whose process was killed: Triton calls it ready, the gateway's health does not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.triton.conftest import SMALL
from integration.triton.harness import Triton, ask

from causeway.gateway.v1.chat_service_pb2 import ListModelsRequest
from fakes.gateway_peers import Stage, stage
from triton_models.client import triton_stub
from triton_models.watchdog.healer import Healer

pytestmark = pytest.mark.timeout(300)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def service(victim: Triton) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(victim.target) as channel:
        yield triton_stub(channel)


async def becomes(built: Stage, name: str, status: Any) -> None:
    """Waits until the gateway's health says so."""
    health = health_pb2_grpc.HealthStub(built.channel)
    async with asyncio.timeout(120):
        while (await health.Check(health_pb2.HealthCheckRequest(service=name))).status != status:
            await asyncio.sleep(0.1)


async def ready(built: Stage) -> dict[str, bool]:
    listed = await built.stub.ListModels(ListModelsRequest(), metadata=built.issuer.metadata())
    return {model.id: model.ready for model in listed.models}


@pytest.mark.parametrize("model, other", [("generator", "embedder"), ("embedder", "generator")])
async def test_a_killed_model_is_told_until_it_is_replaced(
    victim: Triton, service: Any, model: str, other: str
) -> None:
    async with stage(triton=victim.target) as built:
        await becomes(built, f"dependency:{model}", SERVING)
        for process in victim.stubs(model):
            os.kill(process, signal.SIGKILL)
        await becomes(built, f"dependency:{model}", NOT_SERVING)
        assert victim.ready(), "Triton has not noticed"
        # No answer is given without a generator; chats do without the embedder.
        await becomes(built, "", NOT_SERVING if model == "generator" else SERVING)
        await becomes(built, f"dependency:{other}", SERVING)
        async with asyncio.timeout(30):
            while (await ready(built)) != {model: False, other: True}:
                await asyncio.sleep(0.1)
        assert await Healer(service, victim.repository.path, 120).heal(model, hung=False) == ""
        await becomes(built, f"dependency:{model}", SERVING)
        await becomes(built, "", SERVING)
        async with asyncio.timeout(30):
            while not all((await ready(built)).values()):
                await asyncio.sleep(0.1)


async def test_a_model_that_has_more_to_do_than_it_can_is_not_called_dead(
    victim: Triton, service: Any
) -> None:
    async with stage(triton=victim.target) as built:
        await becomes(built, "", SERVING)
        changes = health_pb2_grpc.HealthStub(built.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await changes.read()).status == SERVING
        params = {"max_tokens": 150, "ignore_eos": True}
        room = SMALL.slots + SMALL.queue
        load = [asyncio.ensure_future(ask(service, f"Story {index}", params)) for index in range(room + 4)]
        told = asyncio.ensure_future(changes.read())
        try:
            replies = await asyncio.gather(*load)
            assert any("overloaded" in reply.error for reply in replies)
            assert not told.done(), "health has changed its mind"
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
            changes.cancel()
            await asyncio.gather(told, return_exceptions=True)
