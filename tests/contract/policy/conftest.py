"""The stores that the contracts hold: those in memory, and those in Valkey and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from support.platform import Platform

from fakes.policy_stores import (
    MOST_OPEN,
    FakeAuditLog,
    FakeQuotaLedger,
    FakeRateMeter,
    ManualClock,
    TimedLedger,
    TimedMeter,
)
from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret
from services.common.valkey import ValkeyConfig, open_valkey
from services.policy.adapters.postgres_audit import PostgresAuditLog
from services.policy.adapters.valkey_quota import ValkeyQuotaLedger
from services.policy.adapters.valkey_rates import ValkeyRateMeter
from services.policy.ports import AuditLog, QuotaLedger


@pytest.fixture(scope="session")
def servers(data_servers: Platform) -> Platform:
    """Valkey, and PostgreSQL with the schema applied."""
    return data_servers


@pytest.fixture(params=["memory", "valkey"])
async def timed(request: pytest.FixtureRequest) -> AsyncIterator[TimedLedger]:
    """A ledger that allows MOST_OPEN reservations a tenant."""
    if request.param == "memory":
        clock = ManualClock()

        async def advance(duration: timedelta) -> None:
            clock.advance(duration)

        yield TimedLedger(FakeQuotaLedger(clock, MOST_OPEN), advance)
        return

    async def sleep(duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())

    platform: Platform = request.getfixturevalue("servers")
    password = Secret(platform.valkey_password_file("policy").read_text().strip())
    client = open_valkey(ValkeyConfig(platform.valkey_url("policy"), password))
    try:
        yield TimedLedger(ValkeyQuotaLedger(client, MOST_OPEN), sleep)
    finally:
        await client.aclose()


@pytest.fixture(params=["memory", "valkey"])
async def meter(request: pytest.FixtureRequest) -> AsyncIterator[TimedMeter]:
    """A rate meter."""
    if request.param == "memory":
        clock = ManualClock()

        async def advance(duration: timedelta) -> None:
            clock.advance(duration)

        yield TimedMeter(FakeRateMeter(clock), advance)
        return

    async def sleep(duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())

    platform: Platform = request.getfixturevalue("servers")
    password = Secret(platform.valkey_password_file("policy").read_text().strip())
    client = open_valkey(ValkeyConfig(platform.valkey_url("policy"), password))
    try:
        yield TimedMeter(ValkeyRateMeter(client), sleep)
    finally:
        await client.aclose()


@pytest.fixture
def ledger(timed: TimedLedger) -> QuotaLedger:
    """A ledger."""
    return timed.ledger


@pytest.fixture(params=["memory", "postgres"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[AuditLog]:
    """An audit log."""
    if request.param == "memory":
        yield FakeAuditLog(ManualClock())
        return
    platform: Platform = request.getfixturevalue("servers")
    password = Secret(platform.postgres_password_file("policy").read_text().strip())
    async with Database(PostgresConfig(platform.postgres_dsn("policy"), password)) as database:
        yield PostgresAuditLog(database)


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test knows."""
    return f"t-{uuid4().hex[:12]}"
