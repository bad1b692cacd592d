"""The relay: hands jobs from the outbox to the queue, and again whatever the queue may have lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from services.common.errors import DomainError
from services.retrieval.ports import Outbox, Queue

_BATCH = 200

log = logging.getLogger(__name__)


class Relay:
    """Run ``run()`` beside the server; several relays share the work."""

    def __init__(
        self,
        outbox: Outbox,
        queue: Queue,
        news: Callable[[], AbstractContextManager[asyncio.Event]],
        *,
        sweep: timedelta,
        again: timedelta,
    ) -> None:
        """``news`` gives an event that is set when there may be a new job."""
        self._outbox = outbox
        self._queue = queue
        self._news = news
        self._sweep = sweep.total_seconds()
        self._again = again

    async def run(self) -> None:
        """Hands jobs over until cancelled; what cannot be reached now is tried again at the next sweep."""
        with self._news() as event:
            while True:
                try:
                    await self.drain()
                except DomainError as error:
                    log.warning("cannot hand jobs over", extra={"cause": str(error.__cause__ or error)[:300]})
                try:
                    async with asyncio.timeout(self._sweep):
                        await event.wait()
                except TimeoutError:
                    pass
                event.clear()

    async def drain(self) -> None:
        """Hands over all that is due."""
        while await self._outbox.publish(self._queue, self._again, _BATCH) == _BATCH:
            pass
