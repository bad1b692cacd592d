"""What a benchmark found: checks with their bounds, and how they are printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.bench.stats import Summary


class BenchError(Exception):
    """A benchmark cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure, and the bound it must keep."""

    name: str
    value: float
    unit: str
    """For example "ratio", "ms", "tokens/s"."""
    minimum: float | None = None
    maximum: float | None = None
    """A figure without minimum and maximum is for information."""
    spread: tuple[float, float] | None = None
    """The lowest and the highest round; `value` is their median."""
    note: str = ""
    baseline: float | None = None
    """The same figure in the committed baseline."""

    @property
    def bound(self) -> float | None:
        """The one bound."""
        return self.minimum if self.minimum is not None else self.maximum

    @property
    def ok(self) -> bool:
        """Whether the bound is kept. What could not be computed keeps none."""
        if self.bound is None:
            return True
        if not math.isfinite(self.value):
            return False
        return (self.minimum is None or self.value >= self.minimum) and (
            self.maximum is None or self.value <= self.maximum
        )

    @property
    def drift(self) -> float | None:
        """Change against the baseline as a share of it."""
        return self.value / self.baseline - 1 if self.baseline else None

    def to_json(self) -> dict[str, Any]:
        """Always name, value, unit, bound and ok; more where there is more to say."""
        finite = math.isfinite(self.value)
        document: dict[str, Any] = {
            "name": self.name,
            "value": _rounded(self.value) if finite else None,
            "unit": self.unit,
            "bound": self.bound,
            "ok": self.ok,
        }
        if self.bound is not None:
            document["direction"] = "at least" if self.minimum is not None else "at most"
        if self.spread is not None:
            document["spread"] = [_rounded(end) for end in self.spread]
        if self.note:
            document["note"] = self.note
        if self.baseline is not None:
            document["baseline"] = self.baseline
        return document


@dataclass(slots=True, kw_only=True)
class Report:
    """One run of one benchmark."""

    name: str
    environment: Mapping[str, Any]
    checks: list[Check] = field(default_factory=list)
    error: str = ""
    """Why the run ended early."""

    @property
    def passed(self) -> bool:
        """Every bound was kept, at least one was checked, and nothing went wrong."""
        return not self.error and bool(self.checks) and all(check.ok for check in self.checks)

    def add(
        self,
        name: str,
        value: float | Summary,
        unit: str,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        note: str = "",
    ) -> Check:
        """Records a figure; give a minimum or a maximum for a bound, and neither for information."""
        spread = None
        if isinstance(value, Summary):
            spread = (value.low, value.high) if value.count > 1 else None
            value = value.median
        if minimum is not None and maximum is not None:
            raise ValueError("one bound at most")
        if any(check.name == name for check in self.checks):
            raise ValueError(f"{name!r} was recorded before")
        check = Check(
            name=name, value=value, unit=unit, minimum=minimum, maximum=maximum, spread=spread, note=note
        )
        self.checks.append(check)
        return check

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        document: dict[str, Any] = {
            "name": self.name,
            "environment": dict(self.environment),
            "checks": [check.to_json() for check in self.checks],
            "passed": self.passed,
        }
        if self.error:
            document["error"] = self.error
        return document


def render(report: Report) -> list[str]:
    """The report as lines for a person."""
    rows: list[tuple[str, ...]] = [("", "figure", "value", "rounds", "bound", "baseline")]
    rows += [_row(check) for check in report.checks]
    lines = [f"{report.name}: {environment_line(report.environment)}", ""]
    lines += _table(rows)
    notes = [f"  {check.name}: {check.note}" for check in report.checks if check.note]
    if notes:
        lines += ["", *notes]
    if report.error:
        lines += ["", f"The run ended early: {report.error}"]
    missed = [check.name for check in report.checks if not check.ok]
    verdict = "passed" if report.passed else "NOT PASSED" + (f": {', '.join(missed)}" if missed else "")
    return [*lines, "", verdict]


def environment_line(environment: Mapping[str, Any]) -> str:
    """The machine in a line."""
    machine = environment.get("machine", {})
    python = environment.get("python", {})
    load = environment.get("load", {})
    parts = [
        f"{machine.get('cores', '?')} cores of {machine.get('cpu', '?')}",
        f"Python {python.get('version', '?')} ({python.get('loop_ns', '?')} ns a turn of a plain loop)",
    ]
    if "foreign_cores" in load:
        parts.append(f"other programs used {load['foreign_cores']:.2f} cores")
    if environment.get("quick"):
        parts.append("quick run: figures are coarse")
    return ", ".join(parts)


def _row(check: Check) -> tuple[str, ...]:
    mark = "·" if check.bound is None else ("●" if check.ok else "✗")
    spread = f"{number(check.spread[0])} to {number(check.spread[1])}" if check.spread else ""
    bound = (
        "" if check.bound is None else f"{'≥' if check.minimum is not None else '≤'} {number(check.bound)}"
    )
    drift = "" if check.drift is None else f"{check.drift:+.0%}"
    return (mark, check.name, f"{number(check.value)} {check.unit}", spread, bound, drift)


def number(value: float) -> str:
    """Three significant digits, never in exponent form."""
    if not math.isfinite(value):
        return "none"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def _rounded(value: float) -> float:
    """Six significant digits: more would claim a precision that no run has."""
    return float(f"{value:.6g}")


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
