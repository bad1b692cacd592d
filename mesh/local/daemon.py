"""Starts, follows and stops the supervisor from outside, for commands that come and go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from mesh.local import lock, logs, placement, procfs, recovery, report
from mesh.local.layout import Layout
from mesh.local.names import SINGLE, Shape
from mesh.local.procfs import Identity
from mesh.local.report import Report
from mesh.local.settings import ROOT

STOP_LIMIT = 45.0
"""Seconds an orderly stop may take before the supervisor is killed and its children ended one by one."""

EXIT_HELD = 3
"""Exit code of a supervisor that found another one in its place."""

Show = Callable[[Report], None]


class StartError(Exception):
    """The platform did not become ready; the message says why. Nothing of it is left running."""


class InterruptedStartError(StartError):
    """The person waiting gave up (Ctrl-C). Nothing is left running."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, to be compared with what runs."""

    only: Collection[str] | None
    shape: Shape


class StopError(Exception):
    """Something could not be stopped."""


@dataclass(frozen=True, slots=True)
class Started:
    """A platform that is ready."""

    report: Report
    already: bool
    """It was running before."""
    child: subprocess.Popen[bytes] | None
    """The supervisor, when this call started it; a caller that lives on waits for it after `down`."""


def up(
    layout: Layout,
    only: Collection[str] | None,
    *,
    limit: float,
    show: Show = lambda _: None,
    foreground: bool = False,
    tied: bool = False,
    shape: Shape = SINGLE,
) -> Started:
    """Start the platform unless it runs, and wait until it is ready; `show` sees every report on the way.

    `shape` says where it stands; without one it has no mesh.

    With `foreground`, return only once it has stopped. With `tied` (implied by `foreground`) it is stopped
    when the calling process ends, however it ends. Raises StartError.
    """
    with _interrupts() as interrupted:
        before = _settled(layout, show)
        child = None if before.supervisor else _launch(layout, only, shape, tied=tied or foreground)
        wanted = Wanted(only, shape)
        try:
            final, already = _wait_ready(layout, child, wanted, limit, show, interrupted)
            if foreground and child is not None:
                _follow(layout, child, show, interrupted)
        except BaseException:
            if child is not None:
                _abandon(child, layout, show)
                down(layout)
            raise
    return Started(final, already, child)


def down(layout: Layout, *, limit: float = STOP_LIMIT, show: Show = lambda _: None) -> int:
    """Stop the platform, or clear up what a dead supervisor left; how many processes were stopped.

    Raises StopError when something refuses to die.
    """
    if not layout.home.is_dir():
        return 0
    stopped = 0
    supervisor = lock.holder(layout.lock)
    if supervisor is not None:
        before = report.read(layout)
        stopped = sum(1 for process in before.processes if process.pid)
        _ask_to_stop(layout, supervisor, limit, show)
    try:
        with lock.held(layout.lock):
            stopped += recovery.clear(layout)
            _mark_stopped(layout)
    except lock.HeldError as error:
        raise StopError("another command is starting this platform right now; try again") from error
    return stopped


def purge(layout: Layout) -> None:
    """Delete everything a stopped platform kept. Raises StopError while it runs."""
    if lock.is_held(layout.lock):
        raise StopError("the platform is running")
    placement.remove(layout)
    if layout.home.is_dir():
        shutil.rmtree(layout.home)


def _settled(layout: Layout, show: Show) -> Report:
    """The platform as it is, once one that was stopping has stopped."""
    deadline = time.monotonic() + STOP_LIMIT
    while (current := report.read(layout)).phase == "stopping" and current.supervisor is not None:
        if time.monotonic() > deadline:
            raise StartError("the platform is being stopped, and does not end: run `causeway down`")
        show(current)
        time.sleep(0.05)
    return current


def _abandon(child: subprocess.Popen[bytes], layout: Layout, show: Show) -> None:
    """End a supervisor that may be anywhere in its start, even before it holds the lock."""
    child.terminate()
    deadline = time.monotonic() + STOP_LIMIT
    while child.poll() is None:
        show(report.read(layout))
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(0.05)


def _launch(
    layout: Layout, only: Collection[str] | None, shape: Shape, *, tied: bool
) -> subprocess.Popen[bytes]:
    layout.create()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen/python")])}
    words = [sys.executable, "-P", "-m", "mesh.local", str(layout.home)]
    words += ["--only", ",".join(only)] if only else []
    words += ["--data-plane", str(shape.data_plane), "--regions", ",".join(shape.regions)]
    words += ["--tied"] if tied else []
    log = layout.log("supervisor")
    logs.rotate(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=env,
            start_new_session=True,
        )


def _wait_ready(
    layout: Layout,
    child: subprocess.Popen[bytes] | None,
    wanted: Wanted,
    limit: float,
    show: Show,
    interrupted: Callable[[], bool],
) -> tuple[Report, bool]:
    deadline = time.monotonic() + limit
    began = time.time()
    already = child is None
    while True:
        current = report.read(layout)
        mine = current.supervisor is not None and (already or current.updated >= began)
        if mine:
            _check_choice(current, wanted)
            show(current)
            if current.ready:
                return current, already
        if child is not None and not already and (code := child.poll()) is not None:
            from_other = lock.holder(layout.lock) is not None
            if not from_other:
                raise StartError(_why_failed(layout, code, began))
            # Two commands started at once: the other one's supervisor was faster.
            already = True
        if already and current.supervisor is None and child is None:
            raise StartError(current.failure or "the supervisor ended while the platform was starting")
        if interrupted():
            raise InterruptedStartError("interrupted")
        if time.monotonic() > deadline:
            raise StartError(f"not ready after {limit:g} s: {_unready(current)}")
        time.sleep(0.05)


def _follow(
    layout: Layout, child: subprocess.Popen[bytes], show: Show, interrupted: Callable[[], bool]
) -> None:
    while child.poll() is None:
        show(report.read(layout))
        if interrupted():
            down(layout, show=show)
            child.wait()
            return
        time.sleep(0.25)


def _check_choice(current: Report, wanted: Wanted) -> None:
    if not current.processes:
        return
    missing = set(wanted.only or ()) - {process.name for process in current.processes}
    if missing:
        raise StartError(f"the platform runs without {', '.join(sorted(missing))}: run `causeway down` first")
    shape = wanted.shape
    same = (current.data_plane, tuple(current.regions)) == (str(shape.data_plane), shape.regions)
    if wanted.only is None and not same:
        where = f"in {', '.join(current.regions)}" if current.regions else "without a mesh"
        raise StartError(f"the platform runs {where}: run `causeway down` first")


def _unready(current: Report) -> str:
    parts = [f"{p.name} ({p.detail or p.state})" for p in current.processes if not p.ready]
    return ", ".join(parts) or "the supervisor has not said anything"


def _why_failed(layout: Layout, code: int, began: float) -> str:
    current = report.read(layout)
    if current.failure and current.updated >= began:
        return current.failure
    if code == 0:
        return "another command stopped it"
    if code == EXIT_HELD:
        return "another command was stopping this platform; try again"
    lines = logs.tail(layout.log("supervisor"), 5)
    return f"the supervisor ended with code {code}" + "".join(f"\n  {line}" for line in lines)


def _ask_to_stop(layout: Layout, supervisor: Identity, limit: float, show: Show) -> None:
    deadline = time.monotonic() + limit
    # A stopped (SIGSTOP) supervisor sees its SIGTERM only once it is continued.
    for number in (signal.SIGTERM, signal.SIGCONT):
        _send(supervisor, number)
    while procfs.alive(supervisor):
        if time.monotonic() > deadline:
            _send(supervisor, signal.SIGKILL)
            while procfs.alive(supervisor):
                time.sleep(0.02)
            return
        show(report.read(layout))
        time.sleep(0.05)


def _send(target: Identity, number: signal.Signals) -> None:
    if procfs.alive(target):
        try:
            os.kill(target.pid, number)
        except ProcessLookupError:
            pass


def _mark_stopped(layout: Layout) -> None:
    from mesh.local import state

    last = state.load(layout.state)
    if last is not None and last.phase != "failed":
        state.save(layout.state, state.PlatformState(phase="stopped", boot=procfs.boot_id()))


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turns SIGINT, SIGTERM and SIGHUP into a question, so that none can strike between two steps."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
