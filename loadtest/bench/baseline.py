"""Committed baselines: what a benchmark showed on a named machine, to see drift by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from loadtest.bench.report import BenchError, Report

FOLDER = Path(__file__).resolve().parents[1] / "baselines"


def path(name: str, folder: Path | None = None) -> Path:
    """The baseline of a benchmark, or of a drill."""
    return (folder or FOLDER) / f"{name.replace(' ', '-')}.json"


def save(report: Report, folder: Path | None = None) -> Path:
    """Writes the report as the new baseline. Raises BenchError for one that did not pass."""
    if not report.passed:
        raise BenchError("the run did not pass, so it is not saved as the baseline")
    document = report.to_json()
    for check in document["checks"]:
        # What the former baseline said is no part of the new one.
        check.pop("baseline", None)
    target = path(report.name, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return target


def compare(report: Report, folder: Path | None = None) -> None:
    """Gives each figure the value it has in the baseline, where there is one.

    Drift is for information: the baseline may come from another machine. Raises BenchError when the file is
    damaged.
    """
    source = path(report.name, folder)
    try:
        document = json.loads(source.read_text("utf-8"))
        values = {check["name"]: check["value"] for check in document["checks"]}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"the baseline {source} is damaged: {error}") from error
    report.checks = [replace(check, baseline=values.get(check.name)) for check in report.checks]
