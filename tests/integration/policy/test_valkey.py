"""The quota ledger and the rate meter on Valkeys of other kinds: forgetful, full, clustered, killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from support.policy_valkey import PrivateValkey

from services.common.errors import StoreUnavailable
from services.common.valkey import ValkeyConfig, open_valkey
from services.policy.adapters.valkey_quota import ValkeyQuotaLedger
from services.policy.adapters.valkey_rates import ValkeyRateMeter
from services.policy.domain import Charge, QuotaPlan, Rate, Reservation

PLAN = QuotaPlan(1000, timedelta(days=36_500))
Start = Callable[..., PrivateValkey]


def hold(tokens: int = 100) -> Reservation:
    """A new reservation."""
    return Reservation(uuid4(), "ada", tokens, timedelta(minutes=1))


@asynccontextmanager
async def ledger_at(server: PrivateValkey) -> AsyncIterator[ValkeyQuotaLedger]:
    """A ledger at a server."""
    client = open_valkey(ValkeyConfig(server.url))
    try:
        yield ValkeyQuotaLedger(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def meter_at(server: PrivateValkey) -> AsyncIterator[ValkeyRateMeter]:
    """A rate meter at a server."""
    client = open_valkey(ValkeyConfig(server.url))
    try:
        yield ValkeyRateMeter(client)
    finally:
        await client.aclose()


async def test_a_server_that_forgot_the_scripts_gets_them_again(private_valkey: Start) -> None:
    server = private_valkey()
    async with ledger_at(server) as ledger:
        for _ in range(2):
            made = hold()
            await ledger.reserve("acme", PLAN, made)
            await ledger.settle("acme", PLAN, "ada", made.id, 10)
            with redis.Redis(port=server.port) as admin:
                admin.script_flush()
        assert (await ledger.read("acme", PLAN)).used == 20


async def test_a_full_server_takes_no_reservation_and_still_settles(private_valkey: Start) -> None:
    server = private_valkey("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
    async with ledger_at(server) as ledger:
        made, expired = hold(), Reservation(uuid4(), "ada", 50, timedelta(milliseconds=1))
        await ledger.reserve("acme", PLAN, made)
        await ledger.reserve("acme", PLAN, expired)
        with redis.Redis(port=server.port) as admin:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                for number in range(100_000):
                    admin.set(f"filler:{number}", "x" * 50_000)
            before = {key: admin.dump(key) for key in admin.keys("policy:*")}
            with pytest.raises(StoreUnavailable, match="full"):
                await ledger.reserve("acme", PLAN, hold())
            assert {key: admin.dump(key) for key in admin.keys("policy:*")} == before
        quota = await ledger.settle("acme", PLAN, "ada", made.id, 30)
        assert (quota.used, quota.reserved) == (30, 0)
        assert (await ledger.read("acme", PLAN)).used == 30


async def test_the_scripts_keep_to_one_node_of_a_cluster(private_valkey: Start) -> None:
    server = private_valkey("--cluster-enabled", "yes")
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
            await asyncio.sleep(0.02)
    async with ledger_at(server) as ledger:
        made = hold()
        await ledger.reserve("acme", PLAN, made)
        assert (await ledger.settle("acme", PLAN, "ada", made.id, 1)).used == 1
        assert (await ledger.read("acme", PLAN)).used == 1


async def test_what_was_counted_survives_a_kill(private_valkey: Start) -> None:
    server = private_valkey()
    async with ledger_at(server) as ledger:
        made, kept = hold(), hold(7)
        await ledger.reserve("acme", PLAN, made)
        await ledger.settle("acme", PLAN, "ada", made.id, 30)
        await ledger.reserve("acme", PLAN, kept)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await ledger.reserve("acme", PLAN, hold())
        server.start()
        quota = await ledger.settle("acme", PLAN, "ada", kept.id, 5)
        assert (quota.used, quota.reserved) == (35, 0)


async def test_every_key_ends_by_itself(private_valkey: Start) -> None:
    server = private_valkey()
    async with ledger_at(server) as ledger:
        plan = QuotaPlan(1000, timedelta(hours=1))
        settled, left = hold(), hold()
        await ledger.reserve("acme", plan, settled)
        await ledger.reserve("acme", plan, left)
        await ledger.settle("acme", plan, "ada", settled.id, 1)
        with redis.Redis(port=server.port) as admin:
            lives = {key: admin.pttl(key) for key in admin.keys("*")}
    assert len(lives) == 4
    assert all(0 < life <= 7_200_000 for life in lives.values())


ONE, TWO = Charge("one", Rate(0.01, 3), 1), Charge("two", Rate(0.01, 9), 1)


async def test_rates_are_counted_on_a_cluster_and_by_a_server_that_forgot_the_script(
    private_valkey: Start,
) -> None:
    server = private_valkey("--cluster-enabled", "yes")
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
            await asyncio.sleep(0.02)
        async with meter_at(server) as meter:
            for owner in ("acme", ""):
                left = []
                for _ in range(3):
                    left.append([level.remaining for level in await meter.take(owner, [ONE, TWO])])
                    admin.script_flush()
                assert left == [[2, 8], [1, 7], [0, 6]]
                assert [level.allowed for level in await meter.take(owner, [ONE, TWO])] == [False, True]
        lives = {key: admin.pttl(key) for key in admin.keys("*")}
    assert len(lives) == 4
    assert all(0 < life <= 310_000 for life in lives.values())


async def test_a_lost_store_of_the_rates_is_told(private_valkey: Start) -> None:
    server = private_valkey()
    async with meter_at(server) as meter:
        assert (await meter.take("acme", [ONE]))[0].allowed
        server.kill()
        with pytest.raises(StoreUnavailable):
            await meter.take("acme", [ONE])
