"""Baselines: saving, comparing, and refusing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.bench import baseline
from loadtest.bench.report import BenchError, Report, render


def report(value: float = 0.97) -> Report:
    """One with a bound and one figure without."""
    made = Report(name="inference", environment={"machine": {"cpu": "Example"}})
    made.add("share", value, "ratio", minimum=0.95)
    made.add("latency", 10, "ms")
    return made


def test_drift_is_the_change_against_the_saved_value(tmp_path: Path) -> None:
    baseline.save(report(), tmp_path)
    later = Report(name="inference", environment={})
    later.add("latency", 12, "ms")
    later.add("share", 0.97, "ratio", minimum=0.95)
    later.add("new", 1, "ms")
    baseline.compare(later, tmp_path)
    drift = {check.name: check.drift for check in later.checks}
    assert drift["latency"] == pytest.approx(0.2)
    assert drift["share"] == pytest.approx(0)
    assert drift["new"] is None
    assert any("+20%" in line for line in render(later))
    assert later.to_json()["checks"][0]["baseline"] == 10


def test_drift_never_decides_whether_a_run_passes(tmp_path: Path) -> None:
    baseline.save(report(2.0), tmp_path)
    slower = report(0.96)
    baseline.compare(slower, tmp_path)
    assert slower.passed


def test_without_a_baseline_there_is_no_drift(tmp_path: Path) -> None:
    fresh = report()
    baseline.compare(fresh, tmp_path)
    assert [check.drift for check in fresh.checks] == [None, None]


def test_a_run_that_did_not_pass_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did not pass"):
        baseline.save(report(0.5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_baseline_does_not_repeat_the_former_one(tmp_path: Path) -> None:
    baseline.save(report(), tmp_path)
    again = report(0.98)
    baseline.compare(again, tmp_path)
    document = json.loads(baseline.save(again, tmp_path).read_text("utf-8"))
    assert document["checks"][0]["value"] == 0.98
    assert all("baseline" not in check for check in document["checks"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checks": [{"name": 1}]}', '{"checks": 3}'])
def test_a_damaged_baseline_is_named(tmp_path: Path, text: str) -> None:
    baseline.path("inference", tmp_path).write_text(text, "utf-8")
    with pytest.raises(BenchError, match=r"inference\.json is damaged"):
        baseline.compare(report(), tmp_path)


def test_committed_baselines_are_whole_runs_that_passed() -> None:
    for file in baseline.FOLDER.glob("*.json"):
        document = json.loads(file.read_text("utf-8"))
        assert baseline.path(document["name"]) == file
        assert document["passed"] is True
        assert document["environment"]["quick"] is False
        assert document["environment"]["machine"]["cpu"]
