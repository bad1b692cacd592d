"""The course of a drill: load, quiet, fault, quiet; and the figures that all drills share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loadtest.bench.progress import Progress
from loadtest.bench.report import Report
from loadtest.drills import judge
from loadtest.drills.clock import Clock
from loadtest.drills.load import LATE, Load, Shape
from loadtest.drills.platform import DrillError, Platform
from loadtest.drills.records import Answer, Call


@dataclass(slots=True, kw_only=True)
class Stage:
    """What a drill works with."""

    platform: Platform
    report: Report
    progress: Progress
    quick: bool = False
    shape: Shape = field(default_factory=Shape)
    clock: Callable[[], float] = field(default_factory=Clock)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _load: Load | None = None

    @property
    def steady(self) -> float:
        """Seconds of load before and after a fault."""
        return 2.0 if self.quick else 6.0

    @property
    def calls(self) -> Sequence[Call]:
        """Unary calls so far."""
        return self._running().records.calls

    @property
    def answers(self) -> Sequence[Answer]:
        """Streams so far."""
        return self._running().records.answers

    @asynccontextmanager
    async def loaded(self) -> AsyncIterator[None]:
        """Load while it lasts: some before anything happens, and at the end all is waited for."""
        await self.platform.spread()
        async with Load(self.platform.caller(), self.shape, self.clock) as load:
            self._load = load
            await self.wait(self.steady, "steady load")
            if not any(call.ok for call in load.records.calls):
                raise DrillError(f"no call is answered before the fault: {judge.codes(load.records.calls)}")
            yield
            self.progress.stage("waiting for the streams that are open")

    async def wait(self, seconds: float, why: str) -> None:
        """The load goes on."""
        self.progress.stage(why)
        await self.sleep(seconds)

    def victim(self) -> str:
        """The region that answers most calls; the first when calls do not say who answered."""
        return judge.favourite(self.calls) or self.platform.regions[0]

    def other(self, region: str) -> str:
        """A region that is not that one."""
        return next(name for name in self.platform.regions if name != region)

    def common(self, *, failures: int | None = 0) -> None:
        """Failed calls, broken streams, text; `failures`: how many calls may fail, None: for information."""
        load, add = self._running(), self.report.add
        calls, answers = load.records.calls, load.records.answers
        bad = judge.failed(calls)
        add("failed unary calls", len(bad), "calls", maximum=failures, note=_failures(calls, bad))
        broken = judge.broken(answers)
        add("broken streams", len(broken), "streams", maximum=0, note=_breaks(answers, broken))
        faults = judge.all_text_faults(answers, synthetic=self.platform.synthetic)
        if self.platform.synthetic:
            add("words lost", faults.lost, "words", maximum=0)
            add("words repeated", faults.repeated, "words", maximum=0)
            add("words garbled", faults.garbled, "words", maximum=0)
        add("pieces out of place", faults.gaps, "pieces", maximum=0, note="offsets that do not follow")
        add(
            "streams that the gateway took up elsewhere",
            sum(bool(item.takeovers) for item in answers),
            "streams",
        )
        add("streams to which the client came back", len(judge.came_back(answers)), "streams")
        late = f"beyond {LATE:g} s the load generator itself was the limit"
        add("load sent late, at worst", load.latest, "s", maximum=LATE, note=late)

    def movement(self, fault: float, region: str, *, moved: float | None, settled: float | None) -> None:
        """How traffic moved away from a region; the bounds are seconds, None: for information."""
        add, calls = self.report.add, self.calls
        took = judge.moved(calls, region)
        bound = moved * 1000 if moved is not None else None
        value = took * 1000 if took is not None else float("nan")
        note = "from the last answer of the lost region to the next answer of another"
        if took is None and not any(call.region for call in calls):
            note = "answers do not say which region they are from"
        add("traffic moved", value, "ms", maximum=bound, note=note)
        streams = len(judge.open_in(self.answers, region, fault))
        # Otherwise nothing would have been shown about them.
        add("streams open in the region", streams, "streams", minimum=1 if self.shape.streams else None)
        calm = judge.settled(calls, fault)
        limit = judge.slow_after(calls, fault)
        note = f"until the last call that failed or took more than {limit * 1000:.0f} ms was due"
        add(
            "calls disturbed for",
            calm * 1000,
            "ms",
            maximum=settled * 1000 if settled is not None else None,
            note=note,
        )
        end = fault + self.steady
        add("longest silence", judge.silence(calls, fault - 1, end) * 1000, "ms", note="without any answer")
        add("longest call after the fault", judge.longest(calls, fault) * 1000, "ms")
        stalls = judge.pauses(self.answers, fault, end)
        add("longest pause in a stream", max(stalls, default=0.0) * 1000, "ms")
        self.pace(fault)

    def pace(self, fault: float) -> None:
        """Latency before and after."""
        add, calls = self.report.add, self.calls
        for name, since, until in (("before", 0.0, fault), ("after", fault, float("inf"))):
            for share in (0.5, 0.99):
                value = judge.latency(calls, share, since, until) * 1000
                add(f"unary p{share * 100:g} {name} the fault", value, "ms")

    def _running(self) -> Load:
        if self._load is None:
            raise RuntimeError("there is no load yet")
        return self._load


def _failures(calls: Sequence[Call], bad: Sequence[Call]) -> str:
    if not bad:
        return f"of {len(calls)}"
    return f"of {len(calls)}: {judge.codes(calls)}; the first: {bad[0].detail[:160]}"


def _breaks(answers: Sequence[Answer], broken: Sequence[Answer]) -> str:
    return f"of {len(answers)}" + (f"; the first: {broken[0].error[:160]}" if broken else "")
