"""What is owed after an answer, however it ended: the quota settled, the answer stored, the audit entry
written.

It runs in the background with time of its own, because the caller may be gone and its deadline passed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from services.common.context import CallContext, current_call, set_current_call
from services.common.errors import DomainError, Reason
from services.gateway.background import Background
from services.gateway.ports import AuditRecord, Conversations, NewMessage, Policy
from services.gateway.retry import until_done

T = TypeVar("T")

log = logging.getLogger(__name__)


class Endings:
    """Begins such work; the Background it was given keeps it alive."""

    def __init__(
        self, background: Background, policy: Policy, conversations: Conversations, timeout: timedelta
    ) -> None:
        """``timeout``: how long each piece of work may take, attempts included."""
        self._background = background
        self._policy = policy
        self._conversations = conversations
        self._timeout = timeout.total_seconds()

    def begin(self, work: Callable[[], Awaitable[T]], name: str) -> asyncio.Task[T]:
        """Runs work as the present caller, but with the time that endings have."""
        return self._background.spawn(self._in_own_time(work), name)

    def store(self, message: NewMessage) -> asyncio.Task[None]:
        """Stores an answer. The task fails when that was not possible."""

        async def append() -> None:
            try:
                await until_done(lambda: self._conversations.append(message))
            except DomainError as error:
                if error.status[1] is not Reason.REQUEST_ID_REUSED:
                    raise
                # The same request was answered before, by another attempt: that answer stays.

        return self.begin(append, "store answer")

    def audit(self, record: AuditRecord) -> asyncio.Task[None]:
        """Writes an entry. One that cannot be written goes to the log instead."""

        async def write() -> None:
            try:
                await until_done(lambda: self._policy.audit(record))
            except DomainError as error:
                entry = _loggable(record)
                log.warning("audit entry not stored", extra={"entry": entry, "cause": error.message})

        return self.begin(write, "audit")

    async def _in_own_time(self, work: Callable[[], Awaitable[T]]) -> T:
        request_id = current_call().request_id
        set_current_call(CallContext(request_id, time.monotonic() + self._timeout))
        async with asyncio.timeout(self._timeout):
            return await work()


def _loggable(record: AuditRecord) -> Mapping[str, object]:
    return {
        "action": record.action,
        "resource": record.resource,
        "outcome": record.outcome.value,
        **record.attributes,
    }
