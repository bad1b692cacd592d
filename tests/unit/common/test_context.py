"""Whose limit a step of a call has: it decides whether a timeout speaks ill of the dependency."""

# All of them are async: a call that one makes the current one ends with the task that it runs in.

from __future__ import annotations

import time

import pytest

from services.common.context import CallContext, TimeLimit, set_current_call, time_limit


async def test_without_a_deadline_our_own_limit_holds() -> None:
    set_current_call(CallContext("r-1", deadline=None))
    assert time_limit(2.0) == TimeLimit(2.0, by_caller=False)


async def test_a_caller_who_waits_long_enough_changes_nothing() -> None:
    set_current_call(CallContext("r-1", time.monotonic() + 60))
    assert time_limit(2.0) == TimeLimit(2.0, by_caller=False)


async def test_a_caller_who_waits_for_less_sets_the_limit_and_is_told_within_it() -> None:
    set_current_call(CallContext("r-1", time.monotonic() + 30))
    limit = time_limit(60.0)
    assert limit.by_caller
    assert 0 < limit.seconds < 30


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.000_001, 0.04])
async def test_no_time_at_all_is_the_callers_limit_and_still_above_zero(left: float) -> None:
    set_current_call(CallContext("r-1", time.monotonic() + left))
    limit = time_limit(2.0)
    assert limit.by_caller
    assert limit.seconds > 0
