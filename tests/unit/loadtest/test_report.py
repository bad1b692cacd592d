"""What a benchmark prints."""

from __future__ import annotations

import json
import math

import pytest

from loadtest.bench.report import Report, number, render
from loadtest.bench.stats import summarise


@pytest.fixture
def report() -> Report:
    """One without checks."""
    return Report(name="inference", environment={"machine": {"cpu": "Example", "cores": 2}, "quick": False})


def test_the_object_has_exactly_the_promised_keys(report: Report) -> None:
    report.add("share", 0.97, "ratio", minimum=0.95)
    report.add("latency", 12.5, "ms")
    document = json.loads(json.dumps(report.to_json()))
    assert set(document) == {"name", "environment", "checks", "passed"}
    assert document["name"] == "inference"
    assert document["passed"] is True
    bounded, informational = document["checks"]
    promised = {"name": "share", "value": 0.97, "unit": "ratio", "bound": 0.95, "ok": True}
    assert bounded == promised | {"direction": "at least"}
    assert informational == {"name": "latency", "value": 12.5, "unit": "ms", "bound": None, "ok": True}


@pytest.mark.parametrize(
    "minimum, maximum, value, ok",
    [
        (0.95, None, 0.95, True),
        (0.95, None, 0.9499, False),
        (None, 20, 20.0, True),
        (None, 20, 20.1, False),
        (None, None, -1, True),
        (0.95, None, math.nan, False),
        (None, 20, math.inf, False),
        (None, None, math.nan, True),
    ],
)
def test_a_check_is_ok_when_its_bound_is_kept(
    report: Report, minimum: float | None, maximum: float | None, value: float, ok: bool
) -> None:
    check = report.add("figure", value, "s", minimum=minimum, maximum=maximum)
    assert check.ok is ok
    assert report.passed is ok


def test_what_could_not_be_computed_is_null_because_json_has_no_nan(report: Report) -> None:
    report.add("figure", math.nan, "s", minimum=1)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["checks"][0]["value"] is None


def test_a_report_without_checks_or_with_an_error_has_not_passed(report: Report) -> None:
    verdicts = [report.passed]
    report.add("latency", 1, "ms")
    verdicts.append(report.passed)
    report.error = "the platform did not start"
    verdicts.append(report.passed)
    assert verdicts == [False, True, False]
    assert report.to_json()["error"] == "the platform did not start"


def test_a_summary_becomes_its_median_with_the_spread_of_its_rounds(report: Report) -> None:
    check = report.add("share", summarise([0.97, 0.93, 0.99]), "ratio", minimum=0.95)
    assert (check.value, check.spread) == (0.97, (0.93, 0.99))
    assert report.to_json()["checks"][0]["spread"] == [0.93, 0.99]


def test_a_figure_is_recorded_once_and_has_one_bound(report: Report) -> None:
    report.add("share", 1, "ratio")
    with pytest.raises(ValueError, match="recorded before"):
        report.add("share", 2, "ratio")
    with pytest.raises(ValueError, match="one bound"):
        report.add("other", 2, "ratio", minimum=1, maximum=3)


def test_the_table_marks_what_kept_its_bound_and_names_what_did_not(report: Report) -> None:
    report.add("share", 0.97, "ratio", minimum=0.95)
    report.add("start", 21.0, "s", maximum=20, note="models were built")
    report.add("latency", 12.5, "ms")
    lines = render(report)
    assert lines[0].startswith("inference: 2 cores of Example")
    table = {line[3:8].strip(): line for line in lines if line[:1] in "●✗·" and line}
    assert table["share"].startswith("●")
    assert "≥ 0.950" in table["share"]
    assert table["start"].startswith("✗")
    assert "≤ 20.0" in table["start"]
    assert table["laten"].startswith("·")
    assert "  start: models were built" in lines
    assert lines[-1] == "NOT PASSED: start"


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (0.9512, "0.951"),
        (12.34, "12.3"),
        (123.4, "123"),
        (50000.0, "50000"),
        (0.00012345, "0.000123"),
        (-2.345, "-2.35"),
        (math.nan, "none"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text
