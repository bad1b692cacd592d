"""Measures several sides in turns, so that each round compares them under the same conditions.

The order is reversed every other round (A B, B A, …): a machine that slows down or speeds up steadily then
favours neither side.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.bench.meter import QUIET_CORES, Meter
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report
from loadtest.bench.stats import Summary, ratios, summarise

LEAST_ROUNDS = 3
"""With fewer undisturbed rounds than this, disturbed ones are used as well."""

QUICK_SECONDS = 20.0

Side = Callable[[int], Awaitable[float]]
"""Measures once; it is told the number of the round, from 0, and returns a figure such as texts/s."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of every side."""

    values: Mapping[str, float]
    foreign: float
    """Cores that other programs used meanwhile."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """All turns of a comparison."""

    every: Sequence[Round]

    @property
    def used(self) -> Sequence[Round]:
        """The undisturbed rounds when there are enough of them, else all.

        Which rounds count depends on the foreign load alone, never on the figures.
        """
        quiet = [item for item in self.every if item.foreign < QUIET_CORES]
        return quiet if len(quiet) >= min(LEAST_ROUNDS, len(self.every)) else self.every

    def values(self, side: str) -> Summary:
        """What one side reached."""
        return summarise([item.values[side] for item in self.used])

    def ratio(self, ours: str, limit: str) -> Summary:
        """One side over another, round by round."""
        used = self.used
        return summarise(ratios([item.values[ours] for item in used], [item.values[limit] for item in used]))

    def added(self, ours: str, limit: str) -> Summary:
        """One side minus another, round by round."""
        return summarise([item.values[ours] - item.values[limit] for item in self.used])

    @property
    def note(self) -> str:
        """How many rounds count and why."""
        disturbed = len(self.every) - len([item for item in self.every if item.foreign < QUIET_CORES])
        rounds = f"median of {len(self.used)} rounds"
        if not disturbed:
            return rounds
        left_out = "left out" if len(self.used) < len(self.every) else "used all the same"
        return f"{rounds}; {disturbed} of {len(self.every)} were disturbed by other programs and {left_out}"


@dataclass(slots=True, kw_only=True)
class Run:
    """What a benchmark is given: where to report, how thorough to be, and how long it may take."""

    report: Report
    progress: Progress
    meter: Meter = field(default_factory=Meter)
    """Over the whole run."""
    quick: bool = False
    began: float = field(default_factory=time.monotonic)

    def choose(self, full: int, quick: int) -> int:
        """A count that depends on how thorough to be."""
        return quick if self.quick else full

    async def interleave(
        self, what: str, sides: Mapping[str, Side], rounds: int, *, extra: int = 3, seconds: float = 90.0
    ) -> Rounds:
        """Measures every side `rounds` times, in turns. A quick run takes neither extra rounds nor long.

        Up to `extra` rounds follow as long as fewer than `rounds` were undisturbed, and none begins after
        `seconds`, except the first.
        """
        if self.quick:
            extra, seconds = 0, min(seconds, QUICK_SECONDS)
        began = time.monotonic()
        done: list[Round] = []
        while True:
            quiet = sum(item.foreign < QUIET_CORES for item in done)
            enough = len(done) >= rounds and (quiet >= rounds or len(done) >= rounds + extra)
            if enough or (done and time.monotonic() - began > seconds):
                return Rounds(done)
            done.append(await self._round(what, sides, len(done), rounds))

    async def _round(self, what: str, sides: Mapping[str, Side], number: int, rounds: int) -> Round:
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        values: dict[str, float] = {}
        with Meter() as meter:
            for name in names:
                self.progress.step(f"{what}, round {number + 1} of {rounds}, {name}")
                values[name] = await sides[name](number)
        return Round(values, meter.usage.foreign)
