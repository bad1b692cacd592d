"""Looks at one model through Triton's API: tiny requests, and counters where those are kept waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from triton_models.client import ModelFailedError, chat_request, embed_request, stream
from triton_models.watchdog.judge import Sight

_DEAD = "is not healthy"
"""Triton's words for a model process that is gone: "Stub process 'x' is not healthy."."""

_MESSAGES = [{"role": "user", "content": "Say yes."}]
_PARAMS = {
    "max_tokens": 1,
    "temperature": 0,
    # Always the same slot: without a key every canary would wipe out what the oldest slot remembers.
    "cache_key": "causeway-watchdog",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One round's result."""

    sight: Sight
    latency: float
    """Seconds the slowest canary took."""
    reason: str = ""
    """Why it is not well; empty when it is."""


class Canary:
    """Looks at one model. ``stub`` is Triton's service."""

    def __init__(self, stub: Any, model: str, deadline: float) -> None:
        self._stub = stub
        self.model = model
        self._deadline = deadline
        self._streamed: bool | None = None
        self._instances = 1

    async def look(self) -> Finding:
        """One round. Never raises for anything Triton does."""
        began = time.monotonic()
        try:
            finding = await self._look()
        except grpc.aio.AioRpcError as error:
            finding = _finding(error.code(), error.details() or "")
        except ModelFailedError as error:
            finding = _finding(grpc.StatusCode.INTERNAL, str(error))
        if finding.sight is Sight.STUCK and await self._progresses():
            finding = Finding(sight=Sight.PROGRESSING, latency=0, reason=finding.reason)
        latency = time.monotonic() - began
        return Finding(sight=finding.sight, latency=latency, reason=finding.reason)

    async def _look(self) -> Finding:
        state, reason = await self._index()
        if state in ("LOADING", "UNLOADING"):
            return Finding(sight=Sight.LOADING, latency=0, reason=f"Triton says {state.lower()}")
        if state != "READY":
            return Finding(sight=Sight.DEAD, latency=0, reason=f"not loaded: {reason or state.lower()}")
        if self._streamed is None:
            await self._configure()
        if self._streamed:
            await self._chat(_PARAMS)
        else:
            # Idle instances take turns, so this many requests, one after another, meet each of them.
            for _ in range(self._instances):
                request = embed_request(["canary"], self.model)
                await self._stub.ModelInfer(request, timeout=self._deadline)
        return Finding(sight=Sight.ANSWERED, latency=0)

    async def _chat(self, params: Mapping[str, Any]) -> None:
        request = chat_request(_MESSAGES, params, self.model)
        async for _ in stream(self._stub, request, timeout=self._deadline):
            pass

    async def _index(self) -> tuple[str, str]:
        index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=self._deadline)
        for entry in index.models:
            if entry.name == self.model:
                return entry.state, entry.reason
        return "", "the repository has no such model"

    async def _configure(self) -> None:
        request = service_pb2.ModelConfigRequest(name=self.model)
        config = (await self._stub.ModelConfig(request, timeout=self._deadline)).config
        self._instances = max(1, sum(group.count for group in config.instance_group))
        self._streamed = config.model_transaction_policy.decoupled

    async def _progresses(self) -> bool:
        """Whether the model is at work although canaries are refused or kept waiting."""
        count = self._steps if self._streamed else self._executions
        try:
            before = await count()
            # Long enough for the longest batch on a machine that is busy with other things: replacing a
            # model that is merely slow makes everybody wait longer still.
            patience = time.monotonic() + 2 * self._deadline
            while time.monotonic() < patience:
                await asyncio.sleep(self._deadline / 10)
                if await count() > before:
                    return True
            return False
        except (grpc.aio.AioRpcError, ModelFailedError):
            return False

    async def _steps(self) -> float:
        """The engine's count, told from beside the line; a model that has none lives if it answers at all."""
        request = chat_request(_MESSAGES, {"probe": True, "max_tokens": 1}, self.model)
        usage: Mapping[str, Any] = {}
        async for piece in stream(self._stub, request, timeout=self._deadline):
            usage = piece.usage or usage
        return float(usage.get("steps", time.monotonic()))

    async def _executions(self) -> float:
        request = service_pb2.ModelStatisticsRequest(name=self.model)
        statistics = await self._stub.ModelStatistics(request, timeout=self._deadline)
        return float(sum(version.execution_count for version in statistics.model_stats))


def _finding(code: grpc.StatusCode, details: str) -> Finding:
    """What an error says about the model."""
    reason = details[:200]
    if _DEAD in details:
        return Finding(sight=Sight.DEAD, latency=0, reason=reason)
    if "overloaded: " in details or code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Finding(sight=Sight.STUCK, latency=0, reason=reason)
    if code is grpc.StatusCode.UNAVAILABLE and "model" not in details:
        return Finding(sight=Sight.UNREACHABLE, latency=0, reason=reason)
    return Finding(sight=Sight.STUCK, latency=0, reason=reason)
