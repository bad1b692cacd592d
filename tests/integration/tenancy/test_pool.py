"""Tenants share connections, one after the other: nothing of one may be left for the next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import psycopg
import pytest
from support.platform import Platform

from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret

TENANTS = [f"tenancy-pool-{number}" for number in range(8)]

Setting = "select current_setting('app.tenant_id', true) as tenant"


@pytest.fixture
async def database(data_servers: Platform) -> AsyncIterator[Database]:
    """Two connections for everybody."""
    password = Secret(data_servers.postgres_password_file("session").read_text().strip())
    config = PostgresConfig(data_servers.postgres_dsn("session"), password, pool_max=2)
    async with Database(config) as opened:
        yield opened


async def tenant_without_setting_one(database: Database) -> str | None:
    """What a transaction without a tenant finds."""
    async with database.transaction() as connection:
        row = await (await connection.execute(Setting)).fetchone()
    return row["tenant"] if row else None


async def test_a_tenant_is_gone_when_its_transaction_ends(database: Database) -> None:
    async with database.tenant("tenancy-pool-0") as connection:
        await connection.execute("select 1")
    for _ in range(4):
        assert await tenant_without_setting_one(database) in (None, "")


async def test_a_tenant_is_gone_after_a_failure(database: Database) -> None:
    for _ in range(4):
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with database.tenant("tenancy-pool-0") as connection:
                await connection.execute("select 1 / 0")
        with pytest.raises(ZeroDivisionError):
            async with database.tenant("tenancy-pool-0") as connection:
                await connection.execute("select 1")
                raise ZeroDivisionError
        assert await tenant_without_setting_one(database) in (None, "")


async def test_a_transaction_without_a_tenants_name_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="tenant"):
        async with database.tenant(""):
            pass


async def test_tenants_that_crowd_the_pool_and_go_away_never_meet(database: Database) -> None:
    chance = random.Random(11)
    seen: list[tuple[str, str]] = []

    async def visit(tenant: str) -> None:
        async with database.tenant(tenant) as connection:
            if chance.random() < 0.2:
                await connection.execute("select 1 / 0")
            if chance.random() < 0.3:
                await connection.execute("select pg_sleep(0.02)")
            row = await (await connection.execute(Setting)).fetchone()
            assert row is not None
            seen.append((tenant, row["tenant"]))

    async def impatient(tenant: str) -> None:
        visitor = asyncio.ensure_future(visit(tenant))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.05)
            visitor.cancel()
        await asyncio.gather(visitor, return_exceptions=True)

    await asyncio.gather(*(impatient(chance.choice(TENANTS)) for _ in range(200)))
    assert len(seen) > 50
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    assert await tenant_without_setting_one(database) in (None, "")
