"""Finds and ends what a dead supervisor left behind, and nothing else.

A process belongs to the platform when any of these holds, each of which survives its parent's death:
- it carries the platform's mark in the environment it was started with;
- it sits in the session of a child recorded with pid and start time, and is not older than that child
  (a session id is not given away while one of its processes lives);
- it works in the platform's own data folder (PostgreSQL overwrites its environment and leaves the session).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from mesh.local import procfs
from mesh.local.procfs import Identity
from mesh.local.spawn import MARK

_SHM = Path("/dev/shm")  # noqa: S108 - it is swept, not written


def find(home: Path, recorded: Iterable[Identity], folders: Iterable[Path] = ()) -> list[Identity]:
    """Live processes of the platform in `home`, this process excepted.

    `recorded` are children of an earlier supervisor in this boot, `folders` the data folders no one else
    works in.
    """
    sessions = {item.pid: item.ticks for item in recorded}
    owned = [os.path.realpath(folder) for folder in folders]
    found: list[Identity] = []
    for item in procfs.all_stats():
        if item.pid == os.getpid() or item.state in "ZX":
            continue
        leader_ticks = sessions.get(item.session)
        in_session = (
            leader_ticks is not None and item.ticks >= leader_ticks and _session_is_ours(item, leader_ticks)
        )
        if in_session or procfs.environ(item.pid).get(MARK) == str(home) or _works_in(item.pid, owned):
            found.append(item.identity)
    return found


def end(processes: Iterable[Identity], *, grace: float = 3.0) -> int:
    """SIGTERM, then after `grace` seconds SIGKILL, to each process that is still the recorded one. How
    many."""
    waiting = [item for item in processes if procfs.alive(item)]
    count = len(waiting)
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for item in waiting:
            _signal(item, number)
        deadline = time.monotonic() + seconds
        while waiting and time.monotonic() < deadline:
            time.sleep(0.02)
            waiting = [item for item in waiting if procfs.alive(item)]
    return count


def sweep_shared_memory(prefix: str, folder: Path = _SHM) -> list[str]:
    """Remove what begins with `prefix` in /dev/shm; the names removed."""
    if not prefix:
        return []
    removed: list[str] = []
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name.startswith(prefix):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _session_is_ours(item: procfs.Stat, leader_ticks: int) -> bool:
    leader = procfs.stat(item.session)
    # Without a leader the id cannot have been given away, since this member still holds it.
    return leader is None or leader.ticks == leader_ticks


def _works_in(pid: int, folders: list[str]) -> bool:
    if not folders:
        return False
    folder = procfs.working_folder(pid)
    return folder is not None and any(
        str(folder) == own or str(folder).startswith(own + "/") for own in folders
    )


def _signal(item: Identity, number: signal.Signals) -> None:
    if procfs.alive(item):
        try:
            os.kill(item.pid, number)
        except (ProcessLookupError, PermissionError):
            pass
