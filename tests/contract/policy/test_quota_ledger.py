"""What every QuotaLedger must do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.policy_stores import MOST_OPEN, FakeQuotaLedger, ManualClock, TimedLedger
from services.common.errors import DomainError, RequestIdReused
from services.policy.domain import Quota, QuotaPlan, Reservation
from services.policy.errors import QuotaExceeded, ReservationNotFound
from services.policy.ports import QuotaLedger

# A window that ends in no test: windows are aligned, so one of an hour could.
AGES = timedelta(days=36_500)
PLAN = QuotaPlan(1000, AGES)
MINUTE = timedelta(minutes=1)
SHORT = timedelta(milliseconds=60)
A_LITTLE = timedelta(milliseconds=30)


def hold(tokens: int = 100, owner: str = "ada", lease: timedelta = MINUTE) -> Reservation:
    """A new reservation."""
    return Reservation(uuid4(), owner, tokens, lease)


def counts(quota: Quota) -> tuple[int, int]:
    """What is used and what is reserved."""
    return quota.used, quota.reserved


async def test_a_new_tenant_has_the_whole_limit(ledger: QuotaLedger, tenant: str) -> None:
    quota = await ledger.read(tenant, PLAN)
    assert (quota.limit, *counts(quota)) == (1000, 0, 0)
    assert quota.reset_time.timestamp() % AGES.total_seconds() == 0


async def test_a_settlement_charges_what_was_used_and_gives_back_the_rest(
    ledger: QuotaLedger, tenant: str
) -> None:
    made = hold(100)
    assert counts(await ledger.reserve(tenant, PLAN, made)) == (0, 100)
    assert counts(await ledger.settle(tenant, PLAN, "ada", made.id, 30)) == (30, 0)
    assert counts(await ledger.read(tenant, PLAN)) == (30, 0)


async def test_the_same_reservation_reserves_once(ledger: QuotaLedger, tenant: str) -> None:
    made = hold(100)
    await ledger.reserve(tenant, PLAN, made)
    assert counts(await ledger.reserve(tenant, PLAN, made)) == (0, 100)


@pytest.mark.parametrize("change", [{"tokens": 101}, {"owner": "bob"}])
async def test_a_reservation_id_cannot_be_used_for_something_else(
    ledger: QuotaLedger, tenant: str, change: dict[str, Any]
) -> None:
    made = hold(100)
    await ledger.reserve(tenant, PLAN, made)
    with pytest.raises(RequestIdReused):
        await ledger.reserve(tenant, PLAN, replace(made, **change))
    assert counts(await ledger.read(tenant, PLAN)) == (0, 100)


async def test_a_settled_reservation_cannot_be_used_again(ledger: QuotaLedger, tenant: str) -> None:
    made = hold()
    await ledger.reserve(tenant, PLAN, made)
    await ledger.settle(tenant, PLAN, "ada", made.id, 1)
    with pytest.raises(RequestIdReused):
        await ledger.reserve(tenant, PLAN, made)


async def test_settling_twice_changes_nothing(ledger: QuotaLedger, tenant: str) -> None:
    made = hold()
    await ledger.reserve(tenant, PLAN, made)
    await ledger.settle(tenant, PLAN, "ada", made.id, 40)
    assert counts(await ledger.settle(tenant, PLAN, "ada", made.id, 90)) == (40, 0)


async def test_only_who_made_a_reservation_can_settle_it(ledger: QuotaLedger, tenant: str) -> None:
    made = hold()
    await ledger.reserve(tenant, PLAN, made)
    for other, owner, reservation in (
        (tenant, "bob", made.id),
        (f"{tenant}x", "ada", made.id),
        (tenant, "ada", uuid4()),
    ):
        with pytest.raises(ReservationNotFound):
            await ledger.settle(other, PLAN, owner, reservation, 10)
    assert counts(await ledger.read(tenant, PLAN)) == (0, 100)


async def test_over_use_is_recorded_and_stops_the_next(ledger: QuotaLedger, tenant: str) -> None:
    made = hold(1000)
    await ledger.reserve(tenant, PLAN, made)
    assert counts(await ledger.settle(tenant, PLAN, "ada", made.id, 1200)) == (1200, 0)
    with pytest.raises(QuotaExceeded):
        await ledger.reserve(tenant, PLAN, hold(1))


async def test_the_limit_can_be_reached_but_not_passed(ledger: QuotaLedger, tenant: str) -> None:
    await ledger.reserve(tenant, PLAN, hold(999))
    with pytest.raises(QuotaExceeded):
        await ledger.reserve(tenant, PLAN, hold(2))
    assert counts(await ledger.reserve(tenant, PLAN, hold(1))) == (0, 1000)


async def test_a_refusal_says_when_the_lease_that_is_in_the_way_ends(
    ledger: QuotaLedger, tenant: str
) -> None:
    await ledger.reserve(tenant, PLAN, hold(300, lease=10 * MINUTE))
    await ledger.reserve(tenant, PLAN, hold(300, lease=20 * MINUTE))
    await ledger.reserve(tenant, PLAN, hold(300, lease=30 * MINUTE))
    for tokens, minutes in ((200, 10), (500, 20), (1000, 30)):
        with pytest.raises(QuotaExceeded) as refused:
            await ledger.reserve(tenant, PLAN, hold(tokens))
        wait = refused.value.retry_after
        assert wait is not None
        assert minutes * MINUTE - timedelta(seconds=30) < wait <= minutes * MINUTE


async def test_a_refusal_says_when_the_window_ends_if_that_is_what_it_takes(
    ledger: QuotaLedger, tenant: str
) -> None:
    made = hold(900)
    await ledger.reserve(tenant, PLAN, made)
    quota = await ledger.settle(tenant, PLAN, "ada", made.id, 900)
    await ledger.reserve(tenant, PLAN, hold(50, lease=MINUTE))
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(tenant, PLAN, hold(200))
    wait = refused.value.retry_after
    assert wait is not None
    assert abs(wait - (quota.reset_time - datetime.now(UTC))) < timedelta(seconds=30)


async def test_no_wait_is_named_when_waiting_cannot_help(ledger: QuotaLedger, tenant: str) -> None:
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(tenant, PLAN, hold(1001))
    assert refused.value.retry_after is None


async def test_a_tenant_cannot_hold_any_number_of_reservations(ledger: QuotaLedger, tenant: str) -> None:
    made = [hold(1) for _ in range(MOST_OPEN)]
    for reservation in made:
        await ledger.reserve(tenant, PLAN, reservation)
    with pytest.raises(QuotaExceeded) as refused:
        await ledger.reserve(tenant, PLAN, hold(1))
    assert timedelta() < (refused.value.retry_after or timedelta()) <= MINUTE
    await ledger.settle(tenant, PLAN, "ada", made[0].id, 1)
    await ledger.reserve(tenant, PLAN, hold(1))


async def test_the_end_of_a_lease_gives_its_tokens_back(timed: TimedLedger, tenant: str) -> None:
    await timed.ledger.reserve(tenant, PLAN, hold(1000, lease=SHORT))
    await timed.advance(SHORT + A_LITTLE)
    assert counts(await timed.ledger.read(tenant, PLAN)) == (0, 0)
    assert counts(await timed.ledger.reserve(tenant, PLAN, hold(1000))) == (0, 1000)


async def test_what_was_used_is_charged_after_the_end_of_the_lease(timed: TimedLedger, tenant: str) -> None:
    made = hold(1000, lease=SHORT)
    await timed.ledger.reserve(tenant, PLAN, made)
    await timed.advance(SHORT + A_LITTLE)
    other = hold(300)
    await timed.ledger.reserve(tenant, PLAN, other)
    assert counts(await timed.ledger.settle(tenant, PLAN, "ada", made.id, 800)) == (800, 300)
    assert counts(await timed.ledger.settle(tenant, PLAN, "ada", made.id, 800)) == (800, 300)
    assert counts(await timed.ledger.settle(tenant, PLAN, "ada", other.id, 10)) == (810, 0)


async def test_a_reservation_whose_lease_ended_takes_the_tokens_anew(timed: TimedLedger, tenant: str) -> None:
    made = hold(600, lease=SHORT)
    await timed.ledger.reserve(tenant, PLAN, made)
    await timed.advance(SHORT + A_LITTLE)
    again = replace(made, lease=MINUTE)
    assert counts(await timed.ledger.reserve(tenant, PLAN, again)) == (0, 600)
    assert counts(await timed.ledger.settle(tenant, PLAN, "ada", made.id, 5)) == (5, 0)


async def test_a_reservation_whose_lease_ended_is_refused_when_others_took_the_tokens(
    timed: TimedLedger, tenant: str
) -> None:
    made = hold(600, lease=SHORT)
    await timed.ledger.reserve(tenant, PLAN, made)
    await timed.advance(SHORT + A_LITTLE)
    await timed.ledger.reserve(tenant, PLAN, hold(600))
    with pytest.raises(QuotaExceeded):
        await timed.ledger.reserve(tenant, PLAN, made)


async def test_a_new_window_forgets_what_was_used_and_keeps_what_is_reserved(
    timed: TimedLedger, tenant: str
) -> None:
    plan = QuotaPlan(1000, timedelta(milliseconds=700))
    spent, kept = hold(900), hold(100)
    await timed.ledger.reserve(tenant, plan, spent)
    await timed.ledger.settle(tenant, plan, "ada", spent.id, 900)
    quota = await timed.ledger.reserve(tenant, plan, kept)
    await timed.advance(plan.window)
    later = await timed.ledger.read(tenant, plan)
    assert counts(later) == (0, 100)
    assert later.reset_time > quota.reset_time
    assert (later.reset_time - quota.reset_time) % plan.window == timedelta()
    await timed.ledger.settle(tenant, plan, "ada", kept.id, 60)


async def test_a_shorter_window_holds_at_once_and_keeps_what_was_used(
    ledger: QuotaLedger, tenant: str
) -> None:
    made = hold(700)
    await ledger.reserve(tenant, PLAN, made)
    await ledger.settle(tenant, PLAN, "ada", made.id, 700)
    shorter = QuotaPlan(1000, timedelta(days=3650))
    quota = await ledger.read(tenant, shorter)
    assert counts(quota) == (700, 0)
    assert quota.reset_time < datetime.now(UTC) + shorter.window


async def test_a_lower_limit_refuses_and_takes_nothing_away(ledger: QuotaLedger, tenant: str) -> None:
    await ledger.reserve(tenant, PLAN, hold(700))
    lower = QuotaPlan(500, AGES)
    assert (await ledger.read(tenant, lower)).limit == 500
    with pytest.raises(QuotaExceeded):
        await ledger.reserve(tenant, lower, hold(1))
    assert counts(await ledger.read(tenant, lower)) == (0, 700)


async def test_large_counts_are_exact(ledger: QuotaLedger, tenant: str) -> None:
    plan = QuotaPlan(2**53 - 1, AGES)
    for used in (999_999, 1_000_000):
        made = hold(2**50 + 1)
        await ledger.reserve(tenant, plan, made)
        await ledger.settle(tenant, plan, "ada", made.id, 2**51 + used)
    assert counts(await ledger.read(tenant, plan)) == (2**52 + 1_999_999, 0)


async def test_parallel_reservations_never_pass_the_limit_and_nothing_leaks(
    timed: TimedLedger, tenant: str
) -> None:
    """50 callers reserve, use, and settle: some late, some twice, some never."""
    ledger, charged, refused = timed.ledger, 0, 0
    chance = random.Random(7)

    async def caller() -> None:
        nonlocal charged, refused
        for _ in range(8):
            tokens, fate = chance.randint(1, 60), chance.choice(["in time", "twice", "late", "never"])
            made = hold(tokens, lease=MINUTE if fate in ("in time", "twice") else SHORT)
            try:
                quota = await ledger.reserve(tenant, PLAN, made)
            except QuotaExceeded:
                refused += 1
                continue
            assert quota.reserved + quota.used <= PLAN.tokens
            used = chance.randint(0, 2)
            if fate == "late":
                lateness.append((made, used))
            elif fate != "never":
                charged += used
                for _ in range(2 if fate == "twice" else 1):
                    await ledger.settle(tenant, PLAN, "ada", made.id, used)

    lateness: list[tuple[Reservation, int]] = []
    await asyncio.gather(*(caller() for _ in range(50)))
    await timed.advance(SHORT + A_LITTLE)
    assert counts(await ledger.read(tenant, PLAN)) == (charged, 0)
    await asyncio.gather(*(ledger.settle(tenant, PLAN, "ada", made.id, used) for made, used in lateness))
    charged += sum(used for _, used in lateness)
    assert counts(await ledger.read(tenant, PLAN)) == (charged, 0)
    assert refused > 0


async def test_fifty_parallel_reservations_get_exactly_what_is_there(
    ledger: QuotaLedger, tenant: str
) -> None:
    outcomes = await asyncio.gather(
        *(ledger.reserve(tenant, PLAN, hold(30)) for _ in range(50)), return_exceptions=True
    )
    granted = [outcome for outcome in outcomes if isinstance(outcome, Quota)]
    assert len(granted) == 1000 // 30
    assert sorted(quota.reserved for quota in granted) == [30 * n for n in range(1, 34)]
    assert all(isinstance(outcome, Quota | QuotaExceeded) for outcome in outcomes)


IDS = [uuid4() for _ in range(4)]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("reserve"), st.integers(0, 3), st.sampled_from(["ada", "bob"]), st.integers(1, 1100)
        ),
        st.tuples(
            st.just("settle"), st.integers(0, 3), st.sampled_from(["ada", "bob"]), st.integers(0, 1200)
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_every_ledger_agrees_with_the_model(
    ledger: QuotaLedger, steps: Sequence[tuple[str, int, str, int]]
) -> None:
    model, tenant = FakeQuotaLedger(ManualClock(), MOST_OPEN), f"t-{uuid4().hex[:12]}"
    for action, index, owner, tokens in steps:
        found = await outcome_of(ledger, tenant, action, IDS[index], owner, tokens)
        assert found == await outcome_of(model, tenant, action, IDS[index], owner, tokens)
        assert counts(await ledger.read(tenant, PLAN)) == counts(await model.read(tenant, PLAN))


async def outcome_of(
    ledger: QuotaLedger, tenant: str, action: str, reservation: UUID, owner: str, tokens: int
) -> object:
    """What a step answers: counts, or the kind of error and whether it says to come back."""
    try:
        if action == "reserve":
            return counts(await ledger.reserve(tenant, PLAN, Reservation(reservation, owner, tokens, MINUTE)))
        return counts(await ledger.settle(tenant, PLAN, owner, reservation, tokens))
    except DomainError as error:
        return type(error), error.retry_after is None
