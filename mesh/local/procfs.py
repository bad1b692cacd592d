"""Reads /proc: who a process is, whose child it is, what it uses.

A pid alone does not name a process, because the kernel gives it to another one later. A pid together with its
start time (field 22 of /proc/PID/stat, clock ticks since boot) and the boot id does. See proc_pid_stat(5).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of this boot."""

    pid: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that we use."""

    pid: int
    state: str
    ppid: int
    session: int
    ticks: int

    @property
    def identity(self) -> Identity:
        """Pid and start time."""
        return Identity(self.pid, self.ticks)


def stat(pid: int) -> Stat | None:
    """The process now called `pid`; None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may itself hold spaces and brackets: fields are counted from the last bracket.
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> Identity | None:
    """Identity of the running process `pid`; None when it is gone or a zombie."""
    found = stat(pid)
    return found.identity if found and found.state not in "ZX" else None


def alive(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identify(identity.pid) == identity


def all_stats() -> list[Stat]:
    """Every process that can be seen, zombies included."""
    found = (stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [item for item in found if item is not None]


def descendants(pid: int, stats: list[Stat] | None = None) -> list[Stat]:
    """Children of `pid`, their children, and so on."""
    children: dict[int, list[Stat]] = defaultdict(list)
    for item in all_stats() if stats is None else stats:
        children[item.ppid].append(item)
    found: list[Stat] = []
    waiting = [pid]
    while waiting:
        below = children[waiting.pop()]
        found.extend(below)
        waiting.extend(item.pid for item in below)
    return found


def environ(pid: int) -> dict[str, str]:
    """The environment `pid` was started with; empty when it may not be read."""
    try:
        data = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in data.split(b"\0") if b"=" in item)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def working_folder(pid: int) -> Path | None:
    """The current directory of `pid`; None when it may not be read."""
    try:
        return (_PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def boot_id() -> str:
    """Changes at every boot of the machine."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def proportional_memory(pid: int) -> int:
    """Bytes of memory of one process, shared pages counted in proportion (PSS); RSS where PSS is not told."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int((_PROC / str(pid) / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError, ValueError):
        return 0


def tree_memory(pid: int, stats: list[Stat] | None = None) -> int:
    """Bytes of memory of `pid` and everything below it."""
    return proportional_memory(pid) + sum(proportional_memory(item.pid) for item in descendants(pid, stats))
