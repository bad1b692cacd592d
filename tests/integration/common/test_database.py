"""Tenant transactions on a real PostgreSQL, and what happens when it goes away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy
from alembic import command
from support.gate import Gate
from support.platform import Platform, running

from services.common.errors import StoreUnavailable
from services.common.migrate import SCHEMAS, configuration, migrate
from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret

SETTING = "select current_setting('app.tenant_id', true) as tenant"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A PostgreSQL of this module's own: it is killed and stopped here."""
    with running(["postgres"]) as platform:
        yield platform


def config(platform: Platform, role: str = "session", **settings: object) -> PostgresConfig:
    password = Secret(platform.postgres_password_file(role).read_text().strip())
    return PostgresConfig(platform.postgres_dsn(role), password, **settings)  # type: ignore[arg-type]


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    """One connection, so that every transaction meets what the one before it left behind."""
    async with Database(config(platform, pool_max=1, connect_timeout=timedelta(seconds=2))) as database:
        yield database


async def test_the_tenant_lasts_for_one_transaction(database: Database) -> None:
    async with database.tenant("acme") as connection:
        row = await (await connection.execute(SETTING)).fetchone()
        assert row == {"tenant": "acme"}
    async with database.transaction() as connection:
        row = await (await connection.execute(SETTING)).fetchone()
        assert row == {"tenant": ""}


async def test_a_failed_transaction_leaves_no_tenant_behind(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.tenant("acme") as connection:
            await connection.execute(SETTING)
            raise ZeroDivisionError
    async with database.transaction() as connection:
        row = await (await connection.execute(SETTING)).fetchone()
        assert row == {"tenant": ""}


async def test_a_transaction_needs_a_tenant(database: Database) -> None:
    with pytest.raises(ValueError, match="tenant"):
        async with database.tenant(""):
            pass


async def test_a_tenant_name_is_data_not_sql(database: Database) -> None:
    name = "x'; drop schema public; --"
    async with database.tenant(name) as connection:
        row = await (await connection.execute(SETTING)).fetchone()
        assert row == {"tenant": name}


async def test_a_statement_that_takes_too_long_is_given_up(platform: Platform) -> None:
    settings = config(platform, statement_timeout=timedelta(milliseconds=100))
    async with Database(settings) as database:
        with pytest.raises(StoreUnavailable):
            async with database.transaction() as connection:
                await connection.execute("select pg_sleep(5)")


async def test_a_server_that_is_killed_is_unavailable_then_back(
    platform: Platform, database: Database
) -> None:
    pid = platform.process("postgres").pid
    assert pid is not None
    # While a transaction is under way: the next one may find the server started again already.
    with pytest.raises(StoreUnavailable) as caught:
        async with database.transaction() as connection:
            os.kill(pid, signal.SIGKILL)
            await connection.execute("select pg_sleep(10)")
    assert "127.0.0.1" not in caught.value.message, "the driver's words stay in the log"
    for _ in range(60):
        try:
            await database.check()
        except StoreUnavailable:
            continue
        break
    else:
        pytest.fail("the database did not come back")


@pytest.mark.parametrize("inside", [False, True])
async def test_a_server_that_hangs_is_given_up_and_comes_back(platform: Platform, inside: bool) -> None:
    limit = timedelta(seconds=1)
    async with Gate(platform.ports["postgres"]) as gate:
        behind = platform.postgres_dsn("session").replace(str(platform.ports["postgres"]), str(gate.port))
        settings = replace(config(platform), dsn=behind, connect_timeout=limit, transaction_timeout=limit)
        async with Database(settings) as database:
            await database.check()
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(30), database.tenant("acme") as connection:
                    if inside:
                        await (await connection.execute(SETTING)).fetchone()
                    gate.stall()
                    await (await connection.execute(SETTING)).fetchone()
            gate.stall()
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(30):
                    await database.check()
            gate.resume()
            async with asyncio.timeout(30):
                while True:
                    try:
                        await database.check()
                    except StoreUnavailable:
                        continue
                    break


def test_migrations_can_be_run_again_and_at_the_same_time(platform: Platform) -> None:
    owner = config(platform, "causeway_owner")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: migrate(owner), range(3)))
    migrate(owner)

    with psycopg.connect(platform.postgres_conninfo("causeway_owner")) as connection:
        schemas = {row[0] for row in connection.execute("select nspname from pg_namespace")}
        assert set(SCHEMAS) <= schemas


DOCUMENT = """
insert into retrieval.documents
    (tenant_id, id, title, media_type, source, labels, state, content, size_bytes, sha256, fingerprint)
values ('acme', gen_random_uuid(), 't', 'text', '', '{}', %s, %s, %s, '', 'f')
"""


def test_every_migration_can_be_undone_and_made_again_over_rows(platform: Platform) -> None:
    owner = config(platform, "causeway_owner")
    migrate(owner)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(platform.postgres_conninfo("causeway_owner"))
    )
    # The superuser passes the tenants' policies by.
    with psycopg.connect(platform.postgres_conninfo("postgres"), autocommit=True) as rows:
        rows.execute(DOCUMENT, ("ready", b"abc", 3))
        rows.execute(DOCUMENT, ("failed", None, 2**40))
        for wrong in (("ready", None, 3), ("pending", None, 3), ("failed", b"abc", 4), ("failed", None, -1)):
            with pytest.raises(psycopg.errors.CheckViolation):
                rows.execute(DOCUMENT, wrong)
        with engine.begin() as connection:
            command.downgrade(configuration(connection, "retrieval"), "0001")
        kept = rows.execute("select size_bytes from retrieval.documents where tenant_id = 'acme'").fetchall()
        assert kept == [(3,)], "a document without content has no place there"
        with pytest.raises(psycopg.errors.IntegrityError):
            rows.execute(DOCUMENT, ("failed", None, 3))
        for schema in SCHEMAS:
            with engine.begin() as connection:
                command.downgrade(configuration(connection, schema), "base")
        migrate(owner)
        rows.execute(DOCUMENT, ("failed", None, 2**40))
        forced = rows.execute(
            "select relname from pg_class join pg_namespace n on n.oid = relnamespace"
            " where nspname = 'retrieval' and relkind = 'r' and not relforcerowsecurity"
        ).fetchall()
        assert forced == [("alembic_version",)]
    engine.dispose()
