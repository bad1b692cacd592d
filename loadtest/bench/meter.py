"""Who uses the CPU: ours is this process and all below it, foreign is everything else on the machine.

Linux counts in ticks (1/100 s as a rule), so a span should last a second or more. Source: proc(5).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

QUIET_CORES = 0.2
"""Foreign load below which a measurement counts as undisturbed."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Average use of the CPU over a span, in cores."""

    seconds: float
    ours: float
    client: float
    """This process alone: the load generator."""
    foreign: float
    steal: float
    """Taken by the hypervisor for other machines."""


@dataclass(frozen=True, slots=True)
class _Sample:
    moment: float
    busy: float
    steal: float
    ours: float
    client: float


class Meter:
    """`with Meter() as meter: …` then `meter.usage`."""

    def __init__(self) -> None:
        self._before: _Sample | None = None
        self._usage: Usage | None = None
        self._excluded: list[tuple[_Sample, _Sample]] = []

    def __enter__(self) -> Self:
        self._before = _sample()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._usage = self.so_far()

    @property
    def usage(self) -> Usage:
        """Over the whole span."""
        if self._usage is None:
            raise RuntimeError("the span has not ended")
        return self._usage

    def so_far(self) -> Usage:
        """Since the beginning of the span."""
        if self._before is None:
            raise RuntimeError("the span has not begun")
        return between(self._before, _sample(), self._excluded)

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """A part of the span that does not count: what stops processes, whose CPU time is lost with them.

        The kernel hands it to whoever waits for a process, and grandchildren of a process that is killed are
        waited for by nobody of ours: all they ever used would look foreign.
        """
        before = _sample()
        try:
            yield
        finally:
            self._excluded.append((before, _sample()))


def between(before: _Sample, after: _Sample, excluded: Sequence[tuple[_Sample, _Sample]] = ()) -> Usage:
    """Average use between two samples, without the spans excluded."""

    def spent(name: str) -> float:
        def of(begin: _Sample, end: _Sample) -> float:
            return float(getattr(end, name) - getattr(begin, name))

        return of(before, after) - sum(of(begin, end) for begin, end in excluded)

    seconds = max(1e-6, spent("moment"))
    ours = max(0.0, spent("ours")) / seconds
    return Usage(
        seconds=seconds,
        ours=ours,
        client=spent("client") / seconds,
        foreign=max(0.0, spent("busy") / seconds - ours),
        steal=spent("steal") / seconds,
    )


def _sample() -> _Sample:
    user, nice, system, _idle, _iowait, irq, softirq, steal = _machine()
    own = time.process_time()
    return _Sample(time.monotonic(), user + nice + system + irq + softirq, steal, _tree(), own)


def _machine() -> list[float]:
    fields = Path("/proc/stat").read_text("ascii").partition("\n")[0].split()[1:9]
    return [int(field) / _TICKS for field in fields]


def _tree() -> float:
    """CPU seconds of this process and its descendants, of those that have ended and been waited for too."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
