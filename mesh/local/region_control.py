"""Carries out what was asked of regions, inside the supervisor.

Signals to a region go out in one burst, without waiting in between: a region that dies piece by piece would
be a kinder fault than the one that is meant.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from mesh.local import procfs, regions
from mesh.local.layout import Layout
from mesh.local.process import ManagedProcess
from mesh.local.regions import Wish
from mesh.local.spawn import kill_session
from mesh.local.state import RegionStatus

LOOK = 0.05
"""Seconds between two looks at the wishes."""
DRAIN_SETTLES = 1.5
"""Seconds after which every proxy has heard that a region drains."""

_log = logging.getLogger(__name__)

MarkDraining = Callable[[Collection[str]], None]
"""Writes the topology anew, with the workloads of these regions draining."""


class RegionControl:
    """Follows the wishes for the regions of one platform.

    `members` gives a region's processes as they are now; `revive` starts those that have ended anew;
    `stop_order` stops processes in the order of their dependencies; `changed` is called after every change.
    """

    def __init__(
        self,
        layout: Layout,
        names: Sequence[str],
        *,
        members: Callable[[str], list[ManagedProcess]],
        revive: Callable[[str], None],
        stop_in_order: Callable[[Sequence[ManagedProcess]], Awaitable[None]],
        mark_draining: MarkDraining,
        changed: Callable[[], None],
    ) -> None:
        self.status = {name: RegionStatus(wish=str(Wish.RUN)) for name in names}
        self._layout = layout
        self._members = members
        self._revive = revive
        self._stop_in_order = stop_in_order
        self._mark_draining = mark_draining
        self._changed = changed
        self._draining: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Until cancelled."""
        seen: dict[str, Wish] = {}
        stamp = 0
        while True:
            now = self._stamp()
            if now != stamp:
                stamp, wishes = now, regions.load(self._layout)
                for name, wish in wishes.items():
                    if name in self.status and seen.get(name, Wish.RUN) is not wish:
                        self._begin(name, wish)
                seen = dict(wishes)
            await asyncio.sleep(LOOK)

    async def close(self) -> None:
        """Give up what is under way; frozen processes are thawed, so that they can be stopped."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for name in self.status:
            _thaw(self._members(name))

    def _stamp(self) -> int:
        try:
            return self._layout.regions.stat().st_mtime_ns
        except OSError:
            return 0

    def _begin(self, region: str, wish: Wish) -> None:
        _log.info("region %s: %s", region, wish)
        status = self.status[region]
        earlier = self._tasks.get(region)
        if earlier is not None and status.wish != Wish.KILL:
            # Half a kill would leave processes that neither live nor are over.
            earlier.cancel()
        status.wish, status.done_at = str(wish), None
        self._tasks[region] = asyncio.create_task(self._carry_out(region, wish, earlier))

    async def _carry_out(self, region: str, wish: Wish, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.gather(earlier, return_exceptions=True)
        members = self._members(region)
        match wish:
            case Wish.KILL:
                await self._kill(region, members)
            case Wish.FREEZE:
                _freeze(members)
                self._done(region)
            case Wish.DRAIN:
                await self._drain(region, members)
                self._done(region)
            case Wish.STOP:
                await self._drain(region, members)
                await self._stop_in_order(members)
                self._done(region)
            case Wish.RUN:
                await self._run(region, members)

    async def _kill(self, region: str, members: list[ManagedProcess]) -> None:
        for process in members:
            process.forbid_restart()
        _signal(members, signal.SIGKILL)
        self._done(region)
        for process in members:
            await process.stop()
            process.explain("stopped", "killed with its region")

    async def _drain(self, region: str, members: list[ManagedProcess]) -> None:
        _thaw(members)
        if region not in self._draining:
            self._draining.add(region)
            self._mark_draining(self._draining)
            await asyncio.sleep(DRAIN_SETTLES)

    async def _run(self, region: str, members: list[ManagedProcess]) -> None:
        _thaw(members)
        self._revive(region)
        while not all(process.status.ready for process in self._members(region)):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        if region in self._draining:
            self._draining.discard(region)
            self._mark_draining(self._draining)
        self._done(region)

    def _done(self, region: str) -> None:
        self.status[region].done_at = time.time()
        self._changed()


def _freeze(members: list[ManagedProcess]) -> None:
    for process in members:
        process.frozen = True
    _signal(members, signal.SIGSTOP)
    for process in members:
        process.explain("frozen", "stopped on purpose")


def _thaw(members: list[ManagedProcess]) -> None:
    frozen = [process for process in members if process.frozen]
    if frozen:
        _signal(frozen, signal.SIGCONT)
    for process in frozen:
        process.frozen = False


def _signal(members: list[ManagedProcess], number: signal.Signals) -> None:
    """All at once: the processes, then what below them leads sessions of its own."""
    stats = procfs.all_stats()
    families = [identity for process in members for identity in process.family(stats)]
    for process in members:
        process.signal_session(number)
    for identity in families:
        if procfs.alive(identity):
            kill_session(identity.pid, number)
