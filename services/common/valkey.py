"""Valkey (or Redis) clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from services.common.errors import StoreUnavailable
from services.common.secret import Secret

Valkey = redis.asyncio.Redis
"""A client, to those who only hand it on."""


@dataclass(frozen=True, slots=True)
class ValkeyConfig:
    """One ACL user of one server."""

    url: str
    """``redis://user@host:port/0``, or ``rediss://`` for TLS."""
    password: Secret = Secret("")
    """The user's password."""
    timeout: timedelta = timedelta(seconds=2)
    """How long to wait for a connection, and for an answer."""
    max_connections: int = 64
    """Connections at most."""


def open_valkey(config: ValkeyConfig) -> redis.asyncio.Redis:
    """A client; close it with ``aclose()``. It connects when it is first used."""
    seconds = config.timeout.total_seconds()
    # A blocking pool: a burst beyond max_connections waits for its turn instead of failing.
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        config.url,
        timeout=seconds,
        password=config.password.reveal() or None,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        max_connections=config.max_connections,
        health_check_interval=15,
        # One more try: a connection that the server closed while idle is no reason to fail a call.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 1),
        retry_on_error=[redis.exceptions.ConnectionError],
    )
    return redis.asyncio.Redis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns the loss of the server into StoreUnavailable."""
    try:
        yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise StoreUnavailable("the key-value store cannot be reached") from error
    except (
        redis.exceptions.BusyLoadingError,
        redis.exceptions.OutOfMemoryError,
        redis.exceptions.ReadOnlyError,
    ) as error:
        raise StoreUnavailable("the key-value store is not ready") from error
