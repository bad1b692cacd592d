"""What a call must pass before its work counts: the policy's word, and tokens out of the tenant's quota.

Rules:

- Check and reservation run beside whatever else is being prepared; nothing that was prepared leaves before
  both have succeeded.
- A refusal by the policy is what a refused caller hears, whatever else failed meanwhile: it must not learn
  from another error whether a document or conversation exists.
- A reservation that was begun is settled in every ending. Its answer is waited for first, even when it does
  not matter any more: settled before it arrives, it would keep the tokens until its lease ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from services.common.errors import Code, DomainError
from services.gateway.ports import Policy
from services.gateway.retry import until_done

_TOOK_NOTHING = frozenset({Code.RESOURCE_EXHAUSTED, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT})
"""Refusals after which nothing is reserved. After any other failure something may be."""

log = logging.getLogger(__name__)


class Reservation:
    """Tokens taken for one call. Creating it begins to take them."""

    def __init__(self, policy: Policy, reservation_id: str, tokens: int, lease: timedelta) -> None:
        self._policy = policy
        self.id = reservation_id
        self.tokens = tokens
        self._reserving = asyncio.create_task(policy.reserve(reservation_id, tokens, lease))

    async def granted(self) -> None:
        """Waits for the answer; raises when there is none, or not enough quota. Being cancelled here leaves
        the reservation running."""
        await asyncio.shield(self._reserving)

    async def settle(self, used: int) -> None:
        """Gives back what was not used, trying until the current call's time is up.

        A failure is logged, not raised: the lease gives the tokens back in the end.
        """
        await asyncio.wait({self._reserving})
        error = None if self._reserving.cancelled() else self._reserving.exception()
        if isinstance(error, DomainError) and error.status[0] in _TOOK_NOTHING:
            return
        try:
            await until_done(lambda: self._policy.settle(self.id, used))
        except DomainError as failure:
            log.warning(
                "reservation left to its lease",
                extra={"reservation": self.id, "used": used, "cause": failure.message},
            )


async def admitted(
    policy: Policy, action: str, reservation: Reservation, work: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Runs ``work`` beside the check and the reservation; gives its results once both have succeeded.

    Raises:
        DomainError: of the check if it failed, else of the reservation, else the first of the work's in its
            order. Whatever still runs is cancelled, the reservation excepted.
    """
    check = asyncio.create_task(policy.check(action))
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await check
        await reservation.granted()
        return [await task for task in tasks]
    finally:
        for task in (check, *tasks):
            task.cancel()
        await asyncio.gather(check, *tasks, return_exceptions=True)
