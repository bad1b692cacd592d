"""The watch over callers: everybody is asked, and each departure is told once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from support.wait import until

from triton_models.runtime.callers import CallerWatch


class Call:
    """Somebody waits for it until ``gone``."""

    def __init__(self) -> None:
        self.gone = False
        self.asked = 0

    def is_cancelled(self) -> bool:
        self.asked += 1
        return self.gone


class Heard:
    """What the watch told."""

    def __init__(self) -> None:
        self.gone: Counter[Call] = Counter()
        self.present: Counter[Call] = Counter()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(heard: Heard) -> Iterator[CallerWatch[Call]]:
    watch = CallerWatch[Call](
        0.001, lambda call: heard.gone.update([call]), lambda call: heard.present.update([call])
    )
    thread = threading.Thread(target=watch.run)
    thread.start()
    yield watch
    watch.close()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_a_departure_is_told_once_and_the_others_go_on_being_asked(
    watch: CallerWatch[Call], heard: Heard
) -> None:
    stays, leaves = Call(), Call()
    watch.add(stays)
    watch.add(leaves)
    until(lambda: heard.present[leaves] > 1)
    leaves.gone = True
    until(lambda: heard.gone[leaves] == 1)
    rounds = heard.present[stays]
    until(lambda: heard.present[stays] > rounds + 3)
    assert heard.gone == {leaves: 1}


def test_an_ended_call_is_asked_no_more(watch: CallerWatch[Call], heard: Heard) -> None:
    ended, open_ = Call(), Call()
    watch.add(ended)
    watch.add(open_)
    until(lambda: heard.present[ended] > 0)
    watch.discard(ended)
    # The round under way may still meet it; none that begins behind it does.
    until(lambda: heard.present[open_] > heard.present[ended] + 3)
    asked, rounds = ended.asked, open_.asked
    until(lambda: open_.asked > rounds + 3)
    assert ended.asked == asked
    assert not heard.gone


def test_whoever_comes_after_a_time_without_calls_is_watched_too(
    watch: CallerWatch[Call], heard: Heard
) -> None:
    first, second = Call(), Call()
    watch.add(first)
    until(lambda: heard.present[first] > 0)
    watch.discard(first)
    watch.add(second)
    second.gone = True
    until(lambda: heard.gone[second] == 1)
