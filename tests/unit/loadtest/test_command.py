"""The command line of the benchmarks: exit codes, output, interruptions."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from loadtest.bench import command, main
from loadtest.bench.harness import Run
from loadtest.bench.report import BenchError
from loadtest.bench.signals import TimeIsUpError, bounded, undisturbed


@pytest.fixture(autouse=True)
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of baselines that only this test knows."""
    monkeypatch.setattr("loadtest.bench.baseline.FOLDER", tmp_path)
    return tmp_path


def passing(run: Run) -> None:
    """A benchmark that keeps its bound."""
    run.report.add("share", 0.97, "ratio", minimum=0.95)


def missing(run: Run) -> None:
    """A benchmark that does not."""
    run.report.add("share", 0.5, "ratio", minimum=0.95)


def breaking(run: Run) -> None:
    """A benchmark that cannot go on."""
    passing(run)
    raise BenchError("the platform did not start")


def test_json_is_the_only_thing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.execute("inference", passing, quick=True, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    environment = document["environment"]
    assert set(environment) == {"machine", "python", "packages", "revision", "time", "quick", "load"}
    assert set(environment["machine"]) == {"cpu", "cores", "memory_gib", "kernel", "architecture"}
    assert set(environment["python"]) == {"path", "version", "build", "compiler", "loop_ns"}
    assert {"nvidia-pytriton", "xllamacpp", "onnxruntime"} <= set(environment["packages"])
    assert environment["load"]["foreign_cores"] >= 0


def test_a_bound_that_is_not_kept_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.execute("inference", missing, quick=True, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_a_benchmark_that_cannot_go_on_says_why_and_keeps_what_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.execute("inference", breaking, quick=True, as_json=True) == 1
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["error"] == "the platform did not start"
    assert [check["name"] for check in document["checks"]] == ["share"]
    assert document["passed"] is False
    assert "the platform did not start" in output.err


def test_an_error_that_nobody_expected_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(run: Run) -> None:
        passing(run)
        raise ZeroDivisionError("division by zero")

    assert command.execute("inference", broken, quick=True, as_json=True) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["error"] == "ZeroDivisionError: division by zero"
    assert "in broken" in output.err


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.execute("inference", passing, quick=True, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("inference: ")
    assert lines[-1] == "passed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_asks_for_an_end_cleans_up_and_exits_with_130(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def interrupted(run: Run) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(True)

    assert command.execute("inference", interrupted, quick=True, as_json=True) == 130
    output = capsys.readouterr()
    assert output.out == ""
    assert "interrupted" in output.err
    assert cleaned


def test_a_run_that_hangs_is_ended_and_counts_as_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "HARD_LIMIT", 1)
    assert command.execute("inference", lambda run: time.sleep(10), quick=True, as_json=True) == 1
    assert "not done after 1 s" in json.loads(capsys.readouterr().out)["error"]


def test_a_signal_waits_until_the_cleaning_up_is_done() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), bounded(5), undisturbed():
        os.kill(os.getpid(), signal.SIGTERM)
        cleaned = True
    assert cleaned


def test_the_hard_limit_tells_itself_from_an_interruption() -> None:
    with pytest.raises(TimeIsUpError), bounded(1):
        time.sleep(10)


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with bounded(5):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_baseline_is_saved_on_request_and_compared_with_later(
    baselines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.execute("inference", passing, quick=False, as_json=True, save_baseline=True) == 0
    assert (baselines / "inference.json").is_file()
    capsys.readouterr()
    assert command.execute("inference", passing, quick=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["checks"][0]["baseline"] == 0.97


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["inference", "--loud"], ["inference", "--quick", "--save-baseline"]],
)
def test_wrong_usage_exits_with_2_before_anything_is_started(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(command.BENCHMARKS))
def test_every_benchmark_that_is_named_exists(name: str) -> None:
    module, summary = command.BENCHMARKS[name]
    assert callable(importlib.import_module(module).run)
    assert summary
