"""The stores that the contract holds: the one in memory, and the one in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from support.platform import Platform

from fakes.session_store import FakeSessionStore
from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret
from services.session.adapters.postgres import PostgresStore
from services.session.model import Owner

Store = FakeSessionStore | PostgresStore


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store, open."""
    if request.param == "memory":
        yield FakeSessionStore()
        return
    platform: Platform = request.getfixturevalue("data_servers")
    password = Secret(platform.postgres_password_file("session").read_text().strip())
    async with Database(PostgresConfig(platform.postgres_dsn("session"), password)) as database:
        yield PostgresStore(database)


@pytest.fixture
def owner() -> Owner:
    """Somebody whom no other test knows."""
    return Owner(f"t-{uuid4().hex[:12]}", "ada")
