"""One supervisor per state folder: an flock that ends with its holder, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mesh.local import procfs
from mesh.local.procfs import Identity


class HeldError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of the platform, and say who holds it. Raises HeldError at once when it is taken.

    The file stays behind: removing it would let two holders lock two files of the same name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError(str(path)) from error
        me = procfs.identify(os.getpid())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{me.pid} {me.ticks}\n".encode() if me else b"", 0)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two readers asking at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path, *, patience: float = 1.0) -> Identity | None:
    """The process that holds the lock; None when nobody does.

    A new holder names itself a moment after locking, so an unusable name is read again for `patience`
    seconds.
    """
    deadline = time.monotonic() + patience
    while is_held(path):
        with contextlib.suppress(OSError, ValueError):
            pid, ticks = path.read_text("ascii").split()
            named = Identity(int(pid), int(ticks))
            if procfs.alive(named):
                return named
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return None
