"""Quotas: plan, lease, ownership; and the keys and scripts of the Valkey ledger."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from redis.crc import key_slot

from fakes.policy_stores import FakeQuotaLedger, ManualClock
from services.common.errors import StoreUnavailable
from services.common.identity import Caller
from services.policy.adapters.valkey_quota import keys_of, read_script
from services.policy.domain import QuotaPlan
from services.policy.errors import QuotaExceeded, ReservationNotFound
from services.policy.quotas import Quotas

ADA = Caller("acme", "ada")
BOB = Caller("acme", "bob")
EVE = Caller("other", "ada")
LEASE = timedelta(minutes=5)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def ledger(clock: ManualClock) -> FakeQuotaLedger:
    """A ledger in memory."""
    return FakeQuotaLedger(clock)


@pytest.fixture
def quotas(ledger: FakeQuotaLedger) -> Quotas:
    """1000 tokens in ages."""
    return Quotas(ledger, QuotaPlan(1000, timedelta(days=36_500)), LEASE)


async def test_tenants_do_not_share_a_quota(quotas: Quotas) -> None:
    await quotas.reserve(ADA, uuid4(), 1000, None)
    with pytest.raises(QuotaExceeded):
        await quotas.reserve(BOB, uuid4(), 1, None)
    assert (await quotas.reserve(EVE, uuid4(), 1000, None)).reserved == 1000


async def test_a_lease_is_the_requests_or_the_default(quotas: Quotas, clock: ManualClock) -> None:
    await quotas.reserve(ADA, uuid4(), 100, None)
    await quotas.reserve(ADA, uuid4(), 10, timedelta(minutes=10))
    clock.advance(LEASE)
    assert (await quotas.read(ADA)).reserved == 10
    clock.advance(LEASE)
    assert (await quotas.read(ADA)).reserved == 0


async def test_a_reservation_is_its_makers(quotas: Quotas) -> None:
    reservation = uuid4()
    await quotas.reserve(ADA, reservation, 100, None)
    for other in (BOB, EVE):
        with pytest.raises(ReservationNotFound):
            await quotas.settle(other, reservation, 1)
    assert (await quotas.settle(ADA, reservation, 7)).used == 7


async def test_no_answer_of_the_ledger_means_no_tokens(quotas: Quotas, ledger: FakeQuotaLedger) -> None:
    ledger.fail_next(StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable):
        await quotas.reserve(ADA, uuid4(), 1, None)


def test_all_keys_of_a_tenant_live_on_one_node_of_a_cluster() -> None:
    reservations = [keys_of("acme", uuid4()) for _ in range(5)]
    slots = {key_slot(key.encode()) for keys in reservations for key in keys}
    assert len(slots) == 1
    assert slots != {key_slot(keys_of("other")[0].encode())}
    assert all(key.startswith("policy:{acme}:quota:") for keys in reservations for key in keys)


@pytest.mark.parametrize("tenant", ["", "}", "a{b", "a}b"])
def test_a_tenant_that_would_move_the_hash_tag_is_refused(tenant: str) -> None:
    with pytest.raises(ValueError, match="hash tag"):
        keys_of(tenant)


@pytest.mark.parametrize("name", ["reserve", "settle", "read"])
def test_a_script_asks_the_server_for_the_time(name: str) -> None:
    script = read_script(name, "")
    assert "redis.call('TIME')" in script.text
    assert script.text.startswith("#!lua\n")
