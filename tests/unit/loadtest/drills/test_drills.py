"""Whole drills, on a platform that is not there."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from fakes.drill_platform import FakePlatform
from loadtest.bench.execute import FAILED, PASSED, USAGE
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report
from loadtest.drills import command, faults
from loadtest.drills.clock import Clock
from loadtest.drills.command import DRILLS
from loadtest.drills.load import Shape
from loadtest.drills.platform import DrillError, Platform
from loadtest.drills.stage import Stage

SHAPE = Shape(rate=100, streams=2, words=80)


async def brief(seconds: float) -> None:
    """Waits a twenty-fifth as long."""
    await asyncio.sleep(seconds / 25)


async def drill(name: str, **platform: Any) -> tuple[dict[str, Any], FakePlatform, Report]:
    """The figures of a drill by name."""
    clock = Clock()
    fake = FakePlatform(clock, **platform)
    report = Report(name=name, environment={})
    stage = Stage(
        platform=fake, report=report, progress=Progress(io.StringIO()), shape=SHAPE, clock=clock, sleep=brief
    )
    await DRILLS[name][0](stage)
    return {check.name: check.value for check in report.checks}, fake, report


@pytest.mark.parametrize("name", sorted(DRILLS))
async def test_every_drill_passes_on_a_platform_that_loses_nothing(name: str) -> None:
    _, _, report = await drill(name)
    assert report.passed, [check for check in report.checks if not check.ok]


async def test_region_loss_takes_the_region_that_answers() -> None:
    figures, platform, _ = await drill("region-loss")
    assert platform.done == ["kill us-west-2"]
    assert figures["traffic moved"] < 100
    assert figures["streams that the gateway took up elsewhere"] >= 1


async def test_failed_calls_fail_the_drill() -> None:
    figures, _, report = await drill("region-loss", outage=0.1)
    assert figures["failed unary calls"] > 0
    assert not report.passed


@pytest.mark.parametrize("loses, name", [(3, "words lost"), (-2, "words repeated")])
async def test_text_that_is_lost_or_repeated_fails_the_drill(loses: int, name: str) -> None:
    figures, _, report = await drill("region-loss", loses=loses)
    assert figures[name] >= abs(loses)
    assert not report.passed


async def test_streams_that_clients_take_up_again_are_not_broken() -> None:
    figures, _, report = await drill("region-loss", breaks=True)
    assert figures["broken streams"] == 0
    assert figures["streams to which the client came back"] >= 1
    assert report.passed


async def test_the_control_planes_are_killed_in_turn_and_come_back() -> None:
    _, platform, _ = await drill("control-plane-loss")
    assert platform.done == [
        "kill control us-west-2",
        "restart indexer us-west-2",
        "kill control us-east-1",
        "change",
        "start control us-east-1",
        "start control us-west-2",
    ]


async def test_a_platform_that_answers_nothing_is_not_drilled() -> None:
    clock = Clock()
    platform = FakePlatform(clock, outage=1e9, away={"us-west-2"})
    platform.killed_at = clock()
    report = Report(name="x", environment={})
    stage = Stage(
        platform=platform,
        report=report,
        progress=Progress(io.StringIO()),
        shape=Shape(rate=50, streams=0),
        sleep=brief,
    )
    with pytest.raises(DrillError, match="no call is answered before the fault: UNAVAILABLE"):
        await faults.region_loss(stage)


def test_the_command_prints_one_object_and_says_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    @contextmanager
    def start(progress: Progress, real: bool) -> Iterator[Platform]:
        yield FakePlatform(Clock())

    async def nothing(stage: Stage) -> None:
        stage.report.add("failed unary calls", 0 if stage.quick else 1, "calls", maximum=0)

    assert command.execute("x", nothing, start, SHAPE, quick=True, as_json=True) == PASSED
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["passed"]) == ("drill x", True)
    assert command.execute("x", nothing, start, SHAPE, quick=False, as_json=False) == FAILED
    assert "NOT PASSED: failed unary calls" in capsys.readouterr().out


def test_a_fault_that_is_not_possible_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def start(progress: Progress, real: bool) -> AbstractContextManager[Platform]:
        raise DrillError("packets cannot be dropped without privileges")

    async def nothing(stage: Stage) -> None:
        """Is not reached."""

    assert command.execute("x", nothing, start, SHAPE, quick=True, as_json=True) == FAILED
    assert json.loads(capsys.readouterr().out)["error"] == "packets cannot be dropped without privileges"


def test_an_unknown_drill_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["earthquake"]) == USAGE
    assert "region-loss" in capsys.readouterr().err
