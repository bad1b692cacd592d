"""Tries again what may be tried again, as long as the call's time allows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.common.context import current_call, remaining
from services.common.errors import Code, DomainError

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_PASSING = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


async def until_done(action: Callable[[], Awaitable[T]]) -> T:
    """Runs an idempotent action until it succeeds, is refused, or the current call's deadline is near.

    Raises:
        DomainError: the refusal, or the last failure.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return await action()
        except DomainError as error:
            left = remaining(current_call())
            if error.status[0] not in _PASSING or (left is not None and left <= pause):
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
