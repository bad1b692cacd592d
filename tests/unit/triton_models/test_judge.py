"""When the watchdog replaces a model, and when it leaves one alone."""

from __future__ import annotations

import itertools

import pytest

from triton_models.watchdog.judge import Judge, Sight, State, Verdict


def test_an_answering_model_is_ready() -> None:
    assert Judge().see(Sight.ANSWERED, 0) == Verdict(State.READY)


def test_a_dead_model_is_replaced_at_once() -> None:
    assert Judge().see(Sight.DEAD, 0) == Verdict(State.DOWN, heal=True)


def test_an_overloaded_model_that_makes_progress_is_never_replaced() -> None:
    judge = Judge()
    assert {judge.see(Sight.PROGRESSING, now) for now in range(100)} == {Verdict(State.BUSY)}


def test_one_stall_is_not_a_hang_but_two_in_a_row_are() -> None:
    judge = Judge()
    assert judge.see(Sight.STUCK, 0) == Verdict(State.DOWN, heal=False)
    assert judge.see(Sight.STUCK, 5) == Verdict(State.DOWN, heal=True)


def test_stalls_with_an_answer_between_them_are_not_a_hang() -> None:
    judge = Judge()
    for now in range(0, 20, 2):
        assert not judge.see(Sight.STUCK, now).heal
        judge.see(Sight.ANSWERED, now + 1)


@pytest.mark.parametrize("sight, state", [(Sight.UNREACHABLE, State.UNKNOWN), (Sight.LOADING, State.HEALING)])
def test_what_cannot_be_judged_is_not_replaced(sight: Sight, state: State) -> None:
    judge = Judge()
    assert {judge.see(sight, now) for now in range(50)} == {Verdict(state)}


def test_a_model_that_stays_dead_is_replaced_ever_more_slowly() -> None:
    judge, heals = Judge(), []
    for now in range(600):
        if judge.see(Sight.DEAD, now).heal:
            judge.healed(now)
            heals.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(heals)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 2
    assert max(gaps) == 60
    assert judge.heals == len(heals)


def test_a_model_that_was_well_for_a_minute_is_replaced_quickly_again() -> None:
    judge = Judge()
    for now in range(10):
        judge.healed(now)
    for now in range(100, 170, 5):
        judge.see(Sight.ANSWERED, now)
    judge.healed(170)
    assert judge.see(Sight.DEAD, 171.5).heal


def test_a_heal_forgets_the_stalls_before_it() -> None:
    judge = Judge()
    judge.see(Sight.STUCK, 0)
    judge.see(Sight.STUCK, 1)
    judge.healed(1)
    assert not judge.see(Sight.STUCK, 100).heal
