"""Measuring in turns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from io import StringIO

import psutil
import pytest

from loadtest.bench.harness import Round, Rounds, Run
from loadtest.bench.meter import Meter
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report


def make_run(*, quick: bool = False) -> Run:
    """A run that shows its progress to nobody."""
    return Run(report=Report(name="test", environment={}), progress=Progress(StringIO()), quick=quick)


def recorder(log: list[str], name: str, value: float = 1.0) -> Callable[[int], Awaitable[float]]:
    """A side that writes down its turns."""

    async def side(number: int) -> float:
        log.append(f"{name}{number}")
        return value

    return side


async def test_sides_take_turns_and_the_order_is_reversed_every_other_round() -> None:
    log: list[str] = []
    sides = {"a": recorder(log, "a"), "b": recorder(log, "b")}
    await make_run().interleave("speed", sides, 3, extra=0)
    assert log == ["a0", "b0", "b1", "a1", "a2", "b2"]


async def test_no_round_begins_after_the_time_is_up_except_the_first() -> None:
    log: list[str] = []
    rounds = await make_run().interleave("speed", {"a": recorder(log, "a")}, 50, seconds=0)
    assert len(rounds.every) == 1


async def test_a_failing_side_ends_the_comparison() -> None:
    async def fail(number: int) -> float:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        await make_run().interleave("speed", {"a": fail}, 3)


def test_ratios_are_taken_round_by_round() -> None:
    rounds = Rounds(
        [Round({"a": 90, "b": 100}, 0), Round({"a": 49, "b": 50}, 0), Round({"a": 9.5, "b": 10}, 0)]
    )
    ratio = rounds.ratio("a", "b")
    assert (ratio.median, ratio.low, ratio.high) == (0.95, 0.9, 0.98)
    assert rounds.added("a", "b").median == -1


def test_disturbed_rounds_are_left_out_when_enough_others_remain() -> None:
    quiet = [Round({"a": 1, "b": 1}, 0.0)] * 3
    rounds = Rounds([*quiet, Round({"a": 1, "b": 9}, 1.5)])
    assert rounds.ratio("a", "b").low == 1
    assert rounds.note == ("median of 3 rounds; 1 of 4 were disturbed by other programs and left out")


def test_disturbed_rounds_count_when_there_are_hardly_any_others() -> None:
    rounds = Rounds([Round({"a": 1}, 0.0), Round({"a": 3}, 1.5), Round({"a": 5}, 1.5)])
    assert rounds.values("a").median == 3
    assert "used all the same" in rounds.note


def test_a_quick_run_chooses_the_smaller_count() -> None:
    assert make_run().choose(8, 2) == 8
    assert make_run(quick=True).choose(8, 2) == 2


def test_our_own_work_is_not_foreign_load() -> None:
    with Meter() as meter:
        total = 0
        while meter.so_far().seconds < 0.3:
            total += 1
    usage = meter.usage
    assert usage.client > 0.05
    # A tick is 10 ms, so the sum may be off by one at both ends.
    assert usage.ours >= usage.client - 0.1


def test_work_of_a_grandchild_that_nobody_waits_for_does_not_become_foreign() -> None:
    """A server killed with its parent takes the record of its CPU time along."""
    worker = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ntime.sleep(60)"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {worker!r}])"
    command = [sys.executable, "-c", parent]
    with Meter() as meter, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        descendants = psutil.Process(process.pid).children(recursive=True)
        with meter.excluded():
            process.kill()
            process.wait()
            for descendant in descendants:
                descendant.kill()
            psutil.wait_procs(descendants, timeout=10)
    usage = meter.usage
    assert usage.ours * usage.seconds >= 0.4


def test_a_meter_tells_nothing_before_its_end() -> None:
    meter = Meter()
    with pytest.raises(RuntimeError, match="not begun"):
        meter.so_far()
    with meter, pytest.raises(RuntimeError, match="not ended"):
        _ = meter.usage
