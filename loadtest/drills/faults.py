"""The drills. Each is a coroutine over a stage; what it must show stands in its bounds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from loadtest.drills import judge
from loadtest.drills.platform import DrillError
from loadtest.drills.stage import Stage

MOVED = 0.1
"""Seconds from the last answer of a region that was lost to the first of another."""
HANG_SETTLES = 1.0
CONVERGES = 2.0
"""Seconds after which all proxies have what a control plane that came back tells them."""
SLOWNESS = 0.15
"""Seconds that a slow region stands still each time."""
GRACE = 0.3
"""Seconds beyond its deadline after which a call must be over: timers on a busy machine."""


async def region_loss(stage: Stage) -> None:
    """Everything in a region is killed at once, its ingress included."""
    async with stage.loaded():
        lost = stage.victim()
        fault = await stage.platform.kill(lost)
        await stage.wait(stage.steady, f"{lost} was killed")
    stage.common()
    stage.movement(fault, lost, moved=MOVED, settled=None)


async def hang(stage: Stage) -> None:
    """Everything in a region stops, and nothing is closed: connections stay and nobody answers."""
    async with stage.loaded():
        lost = stage.victim()
        fault = await stage.platform.freeze(lost)
        await stage.wait(stage.steady, f"{lost} hangs")
    stage.common(failures=None)
    stage.movement(fault, lost, moved=None, settled=HANG_SETTLES)
    over = judge.longest(stage.calls, fault) - stage.shape.deadline
    stage.report.add(
        "a call beyond its deadline, at worst", max(0.0, over) * 1000, "ms", maximum=GRACE * 1000
    )


async def drain(stage: Stage) -> None:
    """A region is taken out of service, as for maintenance, and comes back."""
    async with stage.loaded():
        drained = stage.victim()
        fault = await stage.platform.drain(drained)
        await stage.wait(stage.steady, f"{drained} drains")
        late = [call for call in stage.calls if call.region == drained and call.started > fault + 1.0]
        await stage.platform.restore(drained)
        await stage.wait(stage.steady, f"{drained} is back")
    stage.common()
    stage.report.add(
        "calls to the drained region",
        len(late),
        "calls",
        maximum=0,
        note="due more than 1 s after it was told",
    )
    stage.pace(fault)


async def control_plane_loss(stage: Stage) -> None:
    """One control plane is killed, a proxy starts meanwhile, both are killed, and one comes back."""
    first, second = stage.platform.regions[0], stage.platform.regions[1]
    async with stage.loaded():
        fault = await stage.platform.kill_control(first)
        await stage.wait(1.0, f"the control plane of {first} was killed")
        began = time.monotonic()
        # Not one on the way of the load: its restart is not what is drilled.
        await stage.platform.restart_proxy("indexer", first)
        started = time.monotonic() - began
        await stage.platform.kill_control(second)
        # Otherwise they had nothing to converge to.
        await stage.platform.change()
        await stage.wait(stage.steady, "no control plane runs")
        back = await stage.platform.start_control(second)
        converged = await _until(stage, stage.platform.synced, back, CONVERGES * 5)
        await stage.platform.start_control(first)
        await stage.wait(1.0, "both control planes are back")
    stage.common()
    stage.report.add(
        "proxy restarted without its control plane",
        started,
        "s",
        maximum=10.0,
        note="served by the other region's",
    )
    stage.report.add(
        "all proxies have converged", converged, "s", maximum=CONVERGES, note="after one came back"
    )
    stage.pace(fault)


async def rotate_certs(stage: Stage) -> None:
    """Every certificate is replaced, then the root that they are trusted by."""
    async with stage.loaded():
        fault = await stage.platform.rotate_leaf()
        await stage.wait(stage.steady, "every leaf was replaced")
        await stage.platform.rotate_root()
        await stage.wait(stage.steady, "the root was replaced")
    stage.common()
    stage.pace(fault)


async def slow_region(stage: Stage) -> None:
    """A region answers, but late: it stands still again and again."""
    async with stage.loaded():
        region = stage.victim()
        fault = await stage.platform.slow(region, SLOWNESS)
        await stage.wait(stage.steady * 2, f"{region} is slow")
        await stage.platform.restore(region)
        await stage.wait(stage.steady, f"{region} is well again")
    stage.common()
    stage.movement(fault, region, moved=None, settled=None)


async def flapping(stage: Stage) -> None:
    """A region hangs, comes back, and hangs again."""
    rounds = 2 if stage.quick else 4
    async with stage.loaded():
        region = stage.victim()
        fault = stage.clock()
        for number in range(rounds):
            at = await stage.platform.freeze(region)
            fault = at if number == 0 else fault
            await stage.wait(1.5, f"{region} hangs, {number + 1} of {rounds}")
            await stage.platform.restore(region)
            await stage.wait(1.5, f"{region} is back, {number + 1} of {rounds}")
        await stage.wait(stage.steady, f"{region} stays")
    stage.common()
    stage.movement(fault, region, moved=None, settled=None)


async def half_open(stage: Stage) -> None:
    """Packets to and from a region are dropped: its connections stay open, and nothing arrives."""
    async with stage.loaded():
        region = stage.victim()
        fault = await stage.platform.cut(region)
        try:
            await stage.wait(stage.steady, f"{region} is cut off")
        finally:
            await stage.platform.mend(region)
        await stage.wait(stage.steady, f"{region} is connected again")
    stage.common(failures=None)
    stage.movement(fault, region, moved=None, settled=HANG_SETTLES)


async def _until(stage: Stage, true: Callable[[], Awaitable[bool]], since: float, limit: float) -> float:
    """Seconds from `since` until something is true. Raises DrillError when that takes too long."""
    while not await true():
        if stage.clock() - since > limit:
            raise DrillError(f"the proxies have not converged after {limit:g} s")
        await stage.sleep(0.02)
    return max(0.0, stage.clock() - since)
