"""What every RateMeter must do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fakes.policy_stores import TimedMeter
from services.policy.domain import Charge, Level, Rate

SLOW = Rate(0.01, 3)
"""Gives nothing back while a test runs."""
QUICK = Rate(20, 2)


async def take(timed: TimedMeter, owner: str, *charges: Charge) -> list[Level]:
    """Counts."""
    return list(await timed.meter.take(owner, charges))


async def one(timed: TimedMeter, owner: str, rate: Rate = SLOW, hits: int = 1, bucket: str = "b") -> Level:
    """Counts in one bucket."""
    (level,) = await take(timed, owner, Charge(bucket, rate, hits))
    return level


async def test_a_bucket_holds_a_burst_and_no_more(meter: TimedMeter, tenant: str) -> None:
    levels = [await one(meter, tenant) for _ in range(5)]
    assert [level.allowed for level in levels] == [True, True, True, False, False]
    assert [level.remaining for level in levels] == [2, 1, 0, 0, 0]


async def test_a_refusal_says_how_long_to_wait(meter: TimedMeter, tenant: str) -> None:
    for _ in range(3):
        assert (await one(meter, tenant)).wait == timedelta(0)
    refused = await one(meter, tenant)
    assert refused.wait is not None
    assert timedelta(seconds=98) < refused.wait <= timedelta(seconds=100)
    assert timedelta(seconds=298) < refused.full <= timedelta(seconds=300)


async def test_room_comes_back_at_the_rate(meter: TimedMeter, tenant: str) -> None:
    assert [(await one(meter, tenant, QUICK)).allowed for _ in range(3)] == [True, True, False]
    await meter.advance(timedelta(milliseconds=60))
    assert (await one(meter, tenant, QUICK)).allowed
    assert not (await one(meter, tenant, QUICK)).allowed
    await meter.advance(timedelta(milliseconds=200))
    assert (await one(meter, tenant, QUICK, hits=0)).remaining == 2


async def test_who_waits_as_long_as_told_gets_through(meter: TimedMeter, tenant: str) -> None:
    await one(meter, tenant, QUICK, hits=2)
    refused = await one(meter, tenant, QUICK, hits=2)
    assert not refused.allowed
    assert refused.wait is not None
    await meter.advance(refused.wait + timedelta(milliseconds=2))
    assert (await one(meter, tenant, QUICK, hits=2)).allowed


async def test_a_request_may_count_several_times_or_not_at_all(meter: TimedMeter, tenant: str) -> None:
    assert (await one(meter, tenant, hits=2)).remaining == 1
    assert not (await one(meter, tenant, hits=2)).allowed
    looked = await one(meter, tenant, hits=0)
    assert (looked.allowed, looked.remaining) == (True, 1)
    assert (await one(meter, tenant)).allowed


async def test_what_never_fits_has_nothing_to_wait_for(meter: TimedMeter, tenant: str) -> None:
    level = await one(meter, tenant, hits=4)
    assert (level.allowed, level.wait, level.remaining) == (False, None, 3)


async def test_all_buckets_of_a_request_are_counted_or_none(meter: TimedMeter, tenant: str) -> None:
    wide, narrow = Charge("wide", Rate(0.01, 10), 1), Charge("narrow", Rate(0.01, 1), 1)
    assert [level.remaining for level in await take(meter, tenant, wide, narrow)] == [9, 0]
    refused = await take(meter, tenant, wide, narrow)
    assert [level.allowed for level in refused] == [True, False]
    assert (await one(meter, tenant, Rate(0.01, 10), 0, "wide")).remaining == 9


async def test_owners_do_not_share_buckets(meter: TimedMeter, tenant: str) -> None:
    for owner in (tenant, f"{tenant}-2", ""):
        bucket = f"of-{tenant}"
        assert (await one(meter, owner, Rate(0.01, 1), bucket=bucket)).allowed
        assert not (await one(meter, owner, Rate(0.01, 1), bucket=bucket)).allowed


async def test_a_lowered_limit_holds_at_once_and_shuts_nobody_out_for_longer(
    meter: TimedMeter, tenant: str
) -> None:
    await one(meter, tenant, Rate(0.01, 100), hits=90)
    lowered = await one(meter, tenant, Rate(20, 2))
    assert not lowered.allowed
    assert lowered.wait is not None
    assert lowered.wait <= timedelta(milliseconds=51)


async def test_many_at_once_get_no_more_than_there_is(meter: TimedMeter, tenant: str) -> None:
    rate = Rate(0.01, 40)
    levels = await asyncio.gather(*(one(meter, tenant, rate) for _ in range(100)))
    assert sum(level.allowed for level in levels) == 40


async def test_nothing_is_asked_for_nothing(meter: TimedMeter, tenant: str) -> None:
    assert await take(meter, tenant) == []
