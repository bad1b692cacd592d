"""Runs the processes of one platform: starts them in order of dependency, keeps them running, stops them.

It gives up only before the platform has been ready for the first time, when trying again is pointless: a hook
says so (SetupError), or a process has died `GIVE_UP_AFTER` times in a row. After that it never gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from mesh.local import leftovers, logs, procfs, state
from mesh.local.layout import Layout
from mesh.local.process import ManagedProcess
from mesh.local.region_control import RegionControl
from mesh.local.spec import Hooks, ProcessSpec
from mesh.local.state import PlatformState

GIVE_UP_AFTER = 5
TICK = 0.5
HEARTBEAT = 2
"""Ticks between two accounts when nothing changes."""
HOUSEKEEPING = 10
"""Ticks between two looks at log sizes and adopted zombies."""
_PR_SET_CHILD_SUBREAPER = 36

_log = logging.getLogger(__name__)


def _nobody_drains(regions: Collection[str]) -> None:
    """Without a mesh there is nobody to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """What the supervisor must know of the mesh around its processes."""

    data_plane: str = "none"
    regions: tuple[str, ...] = ()
    front: str = ""
    """`address:port` that people are given."""
    mark_draining: Callable[[Collection[str]], None] = _nobody_drains
    """Writes the topology anew, with the workloads of these regions draining."""
    background: tuple[Callable[[], Coroutine[object, object, None]], ...] = ()
    """Work that goes on as long as the platform runs, until cancelled."""


WITHOUT_MESH = Mesh()


class Supervisor:
    """Owner of a platform's processes.

    Raises ValueError when the specifications name unknown dependencies or depend on one another in a circle.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        hooks: Mapping[str, Hooks],
        layout: Layout,
        mesh: Mesh = WITHOUT_MESH,
    ) -> None:
        check_order(specs)
        self._layout = layout
        self._specs = tuple(specs)
        self._hooks = hooks
        self._processes: dict[str, ManagedProcess] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._mesh = mesh
        self._control = RegionControl(
            layout,
            mesh.regions,
            members=self._members,
            revive=self._revive,
            stop_in_order=self._stop_in_order,
            mark_draining=mesh.mark_draining,
            changed=self._changed,
        )
        self._state = PlatformState(
            supervisor=procfs.identify(os.getpid()),
            boot=procfs.boot_id(),
            data_plane=mesh.data_plane,
            regions=self._control.status,
            front=mesh.front,
        )
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._zombies: set[int] = set()
        self._ticks = 0
        self._began = 0.0

    def request_stop(self) -> None:
        """Stop in order; asked a second time, stop at once."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def run(self) -> bool:
        """Until stopped; False when the platform gave up starting."""
        _adopt_orphans()
        self._began = time.monotonic()
        self._layout.regions.unlink(missing_ok=True)
        self._make(self._specs)
        self._save()
        self._begin(list(self._processes.values()))
        background = [asyncio.create_task(work) for work in self._background()]
        try:
            while not self._stop.is_set():
                self._tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), TICK)
        finally:
            self._state.phase = "stopping"
            self._dirty.set()
            await self._control.close()
            await self._stop_all()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._state.phase = "failed" if self._state.failure else "stopped"
            self._save()
        return not self._state.failure

    def _make(self, specs: Sequence[ProcessSpec]) -> None:
        """New processes, in the place of those that have ended."""
        for spec in specs:
            hooks = self._hooks.get(spec.name, Hooks())
            process = ManagedProcess(spec, hooks, self._layout, self._changed)
            if spec.name in self._processes:
                process.status.restarts = self._processes[spec.name].status.restarts + 1
            self._processes[spec.name] = process
        self._state.processes = [process.status for process in self._processes.values()]

    def _begin(self, processes: Sequence[ManagedProcess]) -> None:
        for process in processes:
            self._lives[process.spec.name] = asyncio.create_task(self._live(process))

    def _background(self) -> list[Coroutine[object, object, None]]:
        return [self._write_changes(), self._control.follow(), *(work() for work in self._mesh.background)]

    def _members(self, region: str) -> list[ManagedProcess]:
        return [process for process in self._processes.values() if process.spec.region == region]

    def _revive(self, region: str) -> None:
        """Start anew what has ended for good in a region."""
        ended = [process.spec for process in self._members(region) if process.over]
        self._make(ended)
        self._begin([self._processes[spec.name] for spec in ended])
        self._changed()

    async def _live(self, process: ManagedProcess) -> None:
        for name in (*process.spec.depends, *process.spec.after):
            await self._processes[name].wait_started()
        await process.run()

    def _changed(self) -> None:
        self._dirty.set()
        if self._state.phase == "starting" and not self._stop.is_set():
            self._settle_start()

    def _tick(self) -> None:
        for process in self._processes.values():
            process.tick()
        self._ticks += 1
        if self._ticks % HOUSEKEEPING == 0:
            self._rotate_logs()
            self._zombies = _reap_orphans(self._zombies)
        if not self._layout.home.is_dir():
            _log.error("the state folder is gone; stopping")
            self.request_stop()
        if self._ticks % HEARTBEAT == 0:
            self._dirty.set()

    def _rotate_logs(self) -> None:
        names = ["supervisor", *self._processes]
        try:
            for name in names:
                logs.rotate(self._layout.log(name))
        except OSError as error:
            # A log that cannot be cut must not end the platform that writes it.
            _log.error("cannot rotate logs: %s", error)

    def _settle_start(self) -> None:
        if all(process.status.ready for process in self._processes.values()):
            self._state.phase = "running"
            self._state.started_in = round(time.monotonic() - self._began, 3)
            _log.info("ready in %.1f s", self._state.started_in)
            return
        for process in self._processes.values():
            if process.fatal is not None:
                self._give_up(f"{process.spec.name}: {process.fatal}")
            elif process.deaths >= GIVE_UP_AFTER and not process.status.ready:
                lines = "\n".join(f"  {line}" for line in process.status.last_log)
                self._give_up(
                    f"{process.spec.name} ended {process.deaths} times in a row ({process.status.last_exit})"
                    + (f"; it last said:\n{lines}" if lines else "")
                )

    def _give_up(self, reason: str) -> None:
        _log.error("giving up: %s", reason)
        self._state.failure = reason
        self._stop.set()

    async def _stop_in_order(self, chosen: Sequence[ManagedProcess]) -> None:
        """In reverse order of dependency, as parallel as that allows."""
        stopped = {process.spec.name: asyncio.Event() for process in chosen}

        async def stop(process: ManagedProcess) -> None:
            for name in dependents(process.spec.name, self._specs):
                if name in stopped:
                    await stopped[name].wait()
            await process.stop()
            stopped[process.spec.name].set()

        for process in chosen:
            process.forbid_restart()
        await asyncio.gather(*(stop(process) for process in chosen))

    async def _stop_all(self) -> None:
        processes = list(self._processes.values())
        orderly = asyncio.create_task(self._stop_in_order(processes))
        hurry = asyncio.create_task(self._wait_for_hurry())
        await asyncio.wait({orderly, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not orderly.done():
            await asyncio.gather(*(process.kill() for process in processes))
        await orderly
        hurry.cancel()
        lives = list(self._lives.values())
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        # A preparation that was cancelled may have had a child of its own; nothing of ours may stay.
        leftovers.end([item.identity for item in procfs.descendants(os.getpid())], grace=0.0)

    async def _wait_for_hurry(self) -> None:
        await self._stop_now.wait()

    async def _write_changes(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._save()
            await asyncio.sleep(0.05)

    def _save(self) -> None:
        try:
            state.save(self._layout.state, self._state)
        except OSError as error:
            _log.error("cannot write the state file: %s", error)


def dependents(name: str, specs: Sequence[ProcessSpec]) -> list[str]:
    """Who must be stopped before `name`."""
    return [spec.name for spec in specs if name in (*spec.depends, *spec.uses)]


def check_order(specs: Sequence[ProcessSpec]) -> None:
    """Raise ValueError unless names are unique and dependencies known and free of circles."""
    if len({spec.name for spec in specs}) != len(specs):
        raise ValueError("two processes have the same name")
    _check_circles({spec.name: {*spec.depends, *spec.after} for spec in specs})
    _check_circles({spec.name: {*spec.depends, *spec.uses} for spec in specs})


def _check_circles(left: dict[str, set[str]]) -> None:
    names = set(left)
    while left:
        free = [name for name, depends in left.items() if not depends & left.keys()]
        unknown = {name for depends in left.values() for name in depends} - names
        if unknown or not free:
            raise ValueError(f"unknown or circular dependency: {sorted(unknown or left)}")
        for name in free:
            del left[name]


def _adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies, so none is lost to init (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans(seen: set[int]) -> set[int]:
    """Collect adopted zombies already `seen` a tick ago; the ones seen now.

    Children made here are collected by asyncio within moments, and must be left to it.
    """
    me = os.getpid()
    zombies = {item.pid for item in procfs.all_stats() if item.ppid == me and item.state == "Z"}
    for pid in zombies & seen:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return zombies - seen
