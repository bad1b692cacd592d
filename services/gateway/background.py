"""Work that outlives the call it was begun for: settling, storing, auditing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Background:
    """Keeps tasks alive, and waits for them at the end: ``async with Background(grace) as background:``."""

    def __init__(self, grace: timedelta) -> None:
        """``grace``: how long the tasks that are left get when this closes."""
        self._grace = grace.total_seconds()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain()

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begins work in the caller's context; the caller's cancellation does not reach it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def drain(self) -> None:
        """Waits for what is under way, as long as the grace allows; then gives it up, and says so."""
        if not self._tasks:
            return
        _, left = await asyncio.wait(set(self._tasks), timeout=self._grace)
        for task in left:
            log.error("given up at the end", extra={"work": task.get_name()})
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("failed in the background", extra={"work": task.get_name()}, exc_info=error)
