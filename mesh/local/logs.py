"""The log of each process: bounded by copy-and-truncate, read from its end.

Children hold their log open for appending and write to it themselves, so a supervisor that hangs or dies
never blocks them (a pipe would). The price is that lines written between the copy and the truncation,
microseconds, are lost at a rotation.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LIMIT = 16 * 1024 * 1024
"""Bytes after which a log is rotated; one earlier generation is kept, so each log takes at most about
twice this."""

LINE = 2000
"""Characters of a line that are shown."""


def size(path: Path) -> int:
    """Bytes in the log now; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Move the contents to `<name>.1` when the log has outgrown `limit`; whether it did.

    When there is no room for the copy, both generations are dropped: a full disk needs the space most.
    """
    if size(path) <= limit:
        return False
    earlier = path.with_name(path.name + ".1")
    try:
        shutil.copyfile(path, earlier)
    except OSError:
        earlier.unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def tail(path: Path, count: int, *, start: int = 0, window: int = 64 * 1024) -> list[str]:
    """The last `count` non-empty lines, looking no further back than `start` and `window` bytes."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            begin = max(start if start <= end else 0, end - window, 0)
            file.seek(begin)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip()[:LINE] for line in text.splitlines() if line.strip()]
    return lines[-count:]
