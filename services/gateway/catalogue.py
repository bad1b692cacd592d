"""What is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from services.gateway.model import ModelInfo, ModelKind
from services.gateway.ports import Embedder, Generator
from services.gateway.settings import ModelSettings

FRESH = 1.0
"""Seconds for which an answer holds: as often as Kubernetes would ask a readiness probe."""


class Catalogue:
    """The models, from the settings, and whether each works, found out by using it."""

    def __init__(
        self,
        settings: ModelSettings,
        generator: Generator,
        embedder: Embedder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._generator = generator
        self._embedder = embedder
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: Sequence[ModelInfo] = ()
        self._until = 0.0

    async def models(self) -> Sequence[ModelInfo]:
        """The models, the default generator first. Found out once in FRESH seconds, whoever asks."""
        if not self._is_fresh():
            async with self._asking:
                # Whoever had the lock before may have asked.
                if not self._is_fresh():
                    self._known = await self._ask()
                    self._until = self._clock() + FRESH
        return self._known

    def _is_fresh(self) -> bool:
        return bool(self._known) and self._clock() < self._until

    async def _ask(self) -> Sequence[ModelInfo]:
        generator_ready, embedder_ready = await asyncio.gather(
            self._generator.ready(), self._embedder.ready()
        )
        settings = self._settings
        return (
            ModelInfo(
                name=settings.generator,
                kind=ModelKind.GENERATOR,
                ready=generator_ready,
                context_tokens=settings.context_tokens,
            ),
            ModelInfo(
                name=settings.embedder,
                kind=ModelKind.EMBEDDER,
                ready=embedder_ready,
                context_tokens=settings.embedder_tokens,
                dimensions=settings.embedder_dimensions,
            ),
        )
