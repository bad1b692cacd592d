"""Whether a model works, found out by using it: Triton calls a model ready whose process is dead.

Rules:

- One tiny inference in FRESH seconds, whoever asks and however often.
- An error is certain: the process is gone, the model is not loaded, or Triton cannot be reached.
- Silence is not. A model that is busy answers when it comes to it, which on a loaded machine takes long; so
  what was known before holds meanwhile, and nobody waits for the answer for long. Only after SILENCES times
  LIMIT seconds in which nobody at all got an answer does a model count as hung.
- A refusal because of too much work is an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import timedelta
from types import TracebackType
from typing import Self

from services.common.errors import DeadlineExceeded, DomainError, ModelUnavailable, Overloaded

FRESH = timedelta(seconds=2)
"""How long a finding holds."""
WAIT = timedelta(seconds=0.5)
"""How long one who asks waits for a new finding, before it takes the old one."""
LIMIT = timedelta(seconds=20)
"""How long one inference may take: two of the proxies' tries of 10 s, which must not end it first."""
SILENCES = 2
"""Inferences in a row that nobody answered, after which a model counts as hung."""

log = logging.getLogger(__name__)


class Pulse:
    """Of one model. ``async with Pulse(…) as pulse:``; health checks ``pulse.check``."""

    def __init__(
        self,
        infer: Callable[[], Awaitable[object]],
        answered: Callable[[], float] = lambda: float("-inf"),
        *,
        limit: timedelta = LIMIT,
        wait: timedelta = WAIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``infer`` is the tiny inference; ``answered`` tells, by the same clock, when anybody last got an
        answer of the model."""
        self._infer = infer
        self._answered = answered
        self._limit = limit.total_seconds()
        self._wait = wait.total_seconds()
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._until = float("-inf")
        self._silences = 0
        self._problem: Exception | None = ModelUnavailable("the model has not answered yet")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def check(self) -> None:
        """Raises ModelUnavailable unless the model works."""
        if self._asking is None and self._clock() >= self._until:
            # In a context of its own: the deadline of whoever asks first is not that of the others.
            self._asking = asyncio.create_task(self._ask(), context=Context())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=self._wait)
        if self._problem is not None:
            raise ModelUnavailable("the model does not work") from self._problem

    async def works(self) -> bool:
        """The same as a word."""
        try:
            await self.check()
        except ModelUnavailable:
            return False
        return True

    async def _ask(self) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._limit):
                await self._infer()
        except Overloaded:
            self._found(None)
        except (TimeoutError, DeadlineExceeded) as error:
            if self._answered() >= began:
                self._found(None)
            else:
                self._silences += 1
                if self._silences >= SILENCES:
                    self._problem = error
        except Exception as error:
            # A model may fail in any way.
            if not isinstance(error, DomainError):
                log.exception("a model was asked in vain")
            self._found(error)
        else:
            self._found(None)
        finally:
            self._until = self._clock() + FRESH.total_seconds()
            self._asking = None

    def _found(self, problem: Exception | None) -> None:
        self._silences = 0
        self._problem = problem
