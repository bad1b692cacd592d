"""Replaces a model's processes: unload, then load.

Two facts of Triton 2.51's Python backend shape the order. Requests that a dead process held are never
released, so the unload may never finish; loading works all the same, and the old version is only a name from
then on. And the living processes of a half-dead model stay with that old version: they are ended here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from triton_models.watchdog.stubs import kill, stub_processes

log = logging.getLogger(__name__)

_UNLOAD_SECONDS = 3.0


class Healer:
    """Replaces models through Triton's explicit model control."""

    def __init__(self, stub: Any, repository: Path | None, load_timeout: float) -> None:
        self._stub = stub
        self._repository = repository
        self._load_timeout = load_timeout

    async def heal(self, model: str, *, hung: bool) -> str:
        """Replaces one model; returns the problem, or an empty text. Never raises for what Triton does."""
        old = stub_processes(self._repository, model) if self._repository else []
        if hung:
            # It holds memory the new one needs, and would answer nobody.
            kill(old)
        began = time.monotonic()
        try:
            await self._unload(model)
            request = service_pb2.RepositoryModelLoadRequest(model_name=model)
            await self._stub.RepositoryModelLoad(request, timeout=self._load_timeout)
        except grpc.aio.AioRpcError as error:
            problem = f"{error.code().name}: {(error.details() or '')[:200]}"
            log.warning("model could not be replaced", extra={"model": model, "error": problem})
            return problem
        kill(old)
        seconds = round(time.monotonic() - began, 2)
        log.info("model replaced", extra={"model": model, "seconds": seconds})
        return ""

    async def _unload(self, model: str) -> None:
        unload = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        await self._stub.RepositoryModelUnload(unload, timeout=_UNLOAD_SECONDS)
        end = time.monotonic() + _UNLOAD_SECONDS
        while time.monotonic() < end:
            index = await self._stub.RepositoryIndex(
                service_pb2.RepositoryIndexRequest(), timeout=_UNLOAD_SECONDS
            )
            if not any(entry.name == model and entry.state == "UNLOADING" for entry in index.models):
                return
            await asyncio.sleep(0.05)
