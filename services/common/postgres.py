"""PostgreSQL, with the tenant set inside every transaction.

Row-level security compares ``tenant_id`` with the setting ``app.tenant_id``. It is set for one transaction
only, in the same round trip as BEGIN, so that a pooled connection never carries a tenant to its next user;
without it the policies match no row.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from services.common.context import current_call, remaining
from services.common.errors import DomainError, StoreUnavailable
from services.common.secret import Secret

TENANT_SETTING = "app.tenant_id"

_CHECK_LIMIT = timedelta(seconds=1)
_FRESH = 1.0
"""Seconds after an answer in which the server is not asked whether it is there."""
_CANCEL_LIMIT = 0.5
_GRACE = timedelta(milliseconds=500)
"""How long after its caller's deadline a transaction may still take to end in good order."""

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """One login role of one database."""

    dsn: str
    """libpq connection string without a password."""
    password: Secret = Secret("")
    """The role's password; empty where a certificate or peer authentication stands for it."""
    pool_min: int = 1
    """Connections kept open."""
    pool_max: int = 8
    """Connections at most."""
    connect_timeout: timedelta = timedelta(seconds=5)
    """How long to wait for a connection, a free one of the pool included."""
    statement_timeout: timedelta = timedelta(seconds=15)
    """When the server gives up a statement."""
    transaction_timeout: timedelta = timedelta(seconds=20)
    """When this side gives up a transaction: a server that hangs does not keep its own time."""


class Database:
    """A pool of connections of one role. ``async with Database(config) as database:``"""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._pool: AsyncConnectionPool[Connection] | None = None

    async def __aenter__(self) -> Self:
        seconds = max(1, round(self._config.connect_timeout.total_seconds()))
        milliseconds = round(self._config.statement_timeout.total_seconds() * 1000)
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._config.dsn,
            kwargs={
                "password": self._config.password.reveal() or None,
                "connect_timeout": seconds,
                "application_name": "causeway",
                "options": f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=30s",
                "row_factory": dict_row,
                # The pool's transactions are explicit; outside of them nothing may stay open.
                "autocommit": True,
                "tcp_user_timeout": 10_000,
            },
            min_size=self._config.pool_min,
            max_size=self._config.pool_max,
            timeout=self._config.connect_timeout.total_seconds(),
            max_waiting=self._config.pool_max * 64,
            # A connection that the server has closed is found here, not by the statement that uses it.
            check=_check_connection,
            connection_class=_Connection,
            reconnect_timeout=10.0,
            open=False,
        )
        # The server may not be up yet: the pool keeps trying, and health says so until it is.
        await pool.open(wait=False)
        self._pool = pool
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def tenant(self, tenant: str) -> AsyncIterator[Connection]:
        """A transaction that sees and writes the rows of one tenant only.

        Raises:
            StoreUnavailable: the server cannot be reached; nothing was committed unless the loss came at
                COMMIT, which is why writes are idempotent.
        """
        if not tenant:
            raise ValueError("a transaction needs a tenant")
        limit = self._config.transaction_timeout
        async with self._connection(limit) as connection, connection.pipeline(), connection.transaction():
            await connection.execute(f"select set_config('{TENANT_SETTING}', %s, true)", (tenant,))
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction without a tenant: it sees no rows but those that a policy opens to its role."""
        limit = self._config.transaction_timeout
        async with self._connection(limit) as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        async with self._connection(_CHECK_LIMIT) as connection:
            await connection.execute("select 1")

    @asynccontextmanager
    async def _connection(self, limit: timedelta) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise RuntimeError("the database is not open")
        try:
            async with self._pool.connection() as connection:
                with _cut_after(connection, min(limit, _time_left())):
                    yield connection
                if isinstance(connection, _Connection):
                    connection.last_answer = time.monotonic()
        except DomainError:
            raise
        except (PoolTimeout, TooManyRequests) as error:
            raise StoreUnavailable("the database cannot be reached") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StoreUnavailable("the database cannot be reached") from error


class _Connection(AsyncConnection[DictRow]):
    """A connection that knows when it was last of use, and whose cancellation does not wait for a server
    that hangs."""

    last_answer: float = -math.inf
    """``time.monotonic()`` at which the server last did what it was asked."""

    async def cancel_safe(self, *, timeout: float = _CANCEL_LIMIT) -> None:
        await super().cancel_safe(timeout=min(timeout, _CANCEL_LIMIT))


async def _check_connection(connection: Connection) -> None:
    """Raises when the connection is of no use. A round trip is spent only where the socket does not tell: a
    server that was killed has closed it, one that answered a moment ago is there."""
    fresh = isinstance(connection, _Connection) and time.monotonic() - connection.last_answer < _FRESH
    if fresh and _is_silent(connection):
        return
    with _cut_after(connection, _CHECK_LIMIT):
        await AsyncConnectionPool.check_connection(connection)


def _is_silent(connection: Connection) -> bool:
    """Whether nothing came from the server unasked, such as its end of the connection."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


@contextmanager
def _cut_after(connection: Connection, limit: timedelta) -> Iterator[None]:
    """Shuts the connection's socket when the block takes longer, which ends whatever waits on it.

    Nothing less helps against a server that keeps its connections open and does not answer.
    """

    def cut() -> None:
        # Closed already, or in the middle of closing: then there is nothing to cut.
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(limit.total_seconds(), cut)
    try:
        yield
    finally:
        timer.cancel()


def _time_left() -> timedelta:
    left = remaining(current_call())
    return timedelta.max if left is None else timedelta(seconds=left) + _GRACE


def first_or_none(row: DictRow | None) -> dict[str, Any] | None:
    """A row as a dict; None for none."""
    return dict(row) if row is not None else None
