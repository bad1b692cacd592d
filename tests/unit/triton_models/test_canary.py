"""What the canary makes of a generator that does not answer: at work, or stuck. Triton is a fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from triton_models.watchdog.canary import Canary
from triton_models.watchdog.judge import Sight

DEADLINE = 0.2


class Generator:
    """Triton's service with a generator whose line is full: it refuses chats, and answers probes."""

    def __init__(self, steps_per_probe: int) -> None:
        self._steps_per_probe = steps_per_probe
        self._steps = 100
        self.probes = 0

    async def RepositoryIndex(self, request: Any, timeout: float) -> Any:
        return service_pb2.RepositoryIndexResponse(models=[{"name": "generator", "state": "READY"}])

    async def ModelConfig(self, request: Any, timeout: float) -> Any:
        return service_pb2.ModelConfigResponse(config={"model_transaction_policy": {"decoupled": True}})

    def ModelStreamInfer(self, requests: AsyncIterator[Any], **_: Any) -> Any:
        return _Call(self._responses(requests))

    async def _responses(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        request = await anext(requests)
        params = json.loads(request.raw_input_contents[1][4:])
        if not params.get("probe"):
            yield service_pb2.ModelStreamInferResponse(error_message="overloaded: 32 requests already wait")
            return
        self.probes += 1
        self._steps += self._steps_per_probe
        usage = json.dumps({"processing": 8, "steps": self._steps}).encode()
        response = service_pb2.ModelStreamInferResponse()
        for name, value in (("TEXT", b""), ("USAGE", usage)):
            response.infer_response.outputs.add(name=name)
            response.infer_response.raw_output_contents.append(len(value).to_bytes(4, "little") + value)
        response.infer_response.parameters["triton_final_response"].bool_param = True
        yield response


class _Call:
    def __init__(self, responses: AsyncIterator[Any]) -> None:
        self._responses = responses

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses

    def cancel(self) -> None:
        pass


@pytest.mark.parametrize(
    "steps, sight", [pytest.param(3, Sight.PROGRESSING, id="works"), pytest.param(0, Sight.STUCK, id="hangs")]
)
async def test_a_full_generator_is_at_work_only_if_its_engine_makes_steps(steps: int, sight: Sight) -> None:
    """An engine that hangs in a step still answers probes: that it answers proves nothing."""
    service = Generator(steps)
    finding = await asyncio.wait_for(Canary(service, "generator", DEADLINE).look(), 30)
    assert finding.sight is sight
    assert "overloaded" in finding.reason
    assert service.probes > 1
