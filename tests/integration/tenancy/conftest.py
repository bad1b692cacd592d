"""The migrated database, looked at by its superuser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.platform import Platform


@pytest.fixture
def admin(data_servers: Platform) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the superuser, undone at the end, whatever was altered in it."""
    with psycopg.connect(data_servers.postgres_conninfo("postgres")) as connection:
        connection.execute("set local lock_timeout = '20s'")
        yield connection
        connection.rollback()
