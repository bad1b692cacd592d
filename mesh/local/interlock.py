"""Removes the System V shared memory segment that a killed PostgreSQL leaves behind.

PostgreSQL keeps a segment of 56 bytes per cluster to notice a second server on the same data; a server that
is killed cannot remove it. Its number is on line 7 of postmaster.pid ("key id"); the kernel says how many
processes are attached to it (proc_sysvipc(5)).
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_TABLE = Path("/proc/sysvipc/shm")
_IPC_RMID = 0


def release(folder: Path) -> int:
    """Remove the segments of dead clusters directly below `folder` that nobody is attached to; how many."""
    table = _read(_TABLE)
    removed = 0
    for lock in folder.glob("*/postmaster.pid") if folder.is_dir() else []:
        identifier = abandoned(_read(lock), table)
        if identifier is not None and ctypes.CDLL(None).shmctl(identifier, _IPC_RMID, None) == 0:
            removed += 1
    return removed


def abandoned(lock: str, table: str) -> int | None:
    """The segment named in `lock` (the text of postmaster.pid), if `table` knows it by the same key,
    unattached."""
    lines = lock.splitlines()
    words = lines[6].split() if len(lines) > 6 else []
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    for row in table.splitlines()[1:]:
        # Columns: key shmid perms size cpid lpid nattch …
        fields = row.split()
        if fields[:2] == words and fields[6] == "0":
            return int(words[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
