"""News from PostgreSQL, by LISTEN: one connection of a process serves all who wait.

https://www.postgresql.org/docs/17/sql-notify.html. News may be lost while the connection is; whoever waits
therefore also looks by himself once in a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from services.common.postgres import PostgresConfig

OUTBOX = "retrieval_outbox"
OPERATIONS = "retrieval_operations"

_RECONNECT_AFTER = 0.5

log = logging.getLogger(__name__)


class Listener:
    """Run ``run()`` beside the server; ``watch`` and ``waiting`` may be used before and without it."""

    def __init__(
        self,
        config: PostgresConfig,
        look_every: timedelta = timedelta(seconds=10),
        look_deaf: timedelta = timedelta(seconds=1),
    ) -> None:
        """How long a waiter waits without news at most: with a connection, and while there is none."""
        self._config = config
        self._seconds = look_every.total_seconds()
        self._seconds_deaf = look_deaf.total_seconds()
        self._hearing = False
        self._waiters: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Listens until cancelled, connecting again when it has to."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                log.warning("not listening", extra={"cause": str(error)[:300]})
            await asyncio.sleep(_RECONNECT_AFTER)

    async def _listen(self) -> None:
        timeout = max(1, round(self._config.connect_timeout.total_seconds()))
        connection = await AsyncConnection.connect(
            self._config.dsn,
            password=self._config.password.reveal() or None,
            autocommit=True,
            connect_timeout=timeout,
            application_name="causeway-listener",
        )
        async with connection:
            await connection.execute(f"listen {OUTBOX}")
            await connection.execute(f"listen {OPERATIONS}")
            self._hearing = True
            self._wake_all()
            try:
                async for news in connection.notifies():
                    self._wake((news.channel, news.payload))
            finally:
                self._hearing = False
                self._wake_all()

    @asynccontextmanager
    async def watch(self, operation_id: UUID) -> AsyncIterator[AsyncIterator[None]]:
        """See services.retrieval.ports.Changes."""
        with self.waiting(OPERATIONS, str(operation_id)) as event:
            yield self._ticks(event)

    @contextmanager
    def waiting(self, channel: str, payload: str = "") -> Iterator[asyncio.Event]:
        """An event that is set by news."""
        event = asyncio.Event()
        key = (channel, payload)
        self._waiters[key].add(event)
        try:
            yield event
        finally:
            self._waiters[key].discard(event)
            if not self._waiters[key]:
                del self._waiters[key]

    async def _ticks(self, event: asyncio.Event) -> AsyncIterator[None]:
        while True:
            await wait(event, self._seconds if self._hearing else self._seconds_deaf)
            yield

    def _wake(self, key: tuple[str, str]) -> None:
        for event in self._waiters.get(key, ()):
            event.set()

    def _wake_all(self) -> None:
        for key in list(self._waiters):
            self._wake(key)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, clears it; gives up after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
