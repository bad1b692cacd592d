"""Notices changes of files: from the kernel at once, and by looking now and then where the kernel says
nothing."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

QUIET = 0.002
"""Seconds without a further change after which a change is told: writers replace several files at a time."""
LONGEST = 0.05
"""Seconds after which it is told although changes go on."""
LOOK = 2.0
"""Seconds between two looks for what the kernel did not tell, as on network file systems."""

# linux/inotify.h
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED, _IS_FOLDER = 0x4000, 0x8000, 0x40000000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF

_OF_FOLDERS = _DELETE_SELF | _MOVE_SELF | _OVERFLOW | _IGNORED | _IS_FOLDER
_EVENT = struct.Struct("iIII")

Fingerprint = frozenset[tuple[str, int, int, int]]


class Watcher:
    """Watches files and folders, and what is in them. Use it as an async context manager."""

    def __init__(self, paths: Iterable[Path], *, look: float = LOOK) -> None:
        self._paths = set(paths)
        self._look = look
        self._also: set[str] = set()
        """All that was named beside them."""
        self._covered: set[Path] = set()
        """Named, but in a folder that is watched as a whole."""
        self._watched: dict[Path, int] = {}
        self._descriptor = -1
        self._last = 0.0
        """When the kernel last told of a change, by the loop's clock."""
        self._folders_changed = False

    async def __aenter__(self) -> Watcher:
        self._event = asyncio.Event()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            log.warning("inotify is not available; looking for changes", extra={"every": self._look})
        else:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        self._follow()
        self._seen: Fingerprint | None = fingerprint(self._paths)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def also(self, paths: Iterable[str | Path]) -> None:
        """Watch these as well."""
        fresh_names = {os.fspath(path) for path in paths} - self._also
        if not fresh_names:
            return
        self._also |= fresh_names
        named = set(map(Path, fresh_names)) - self._paths - self._covered
        covered = {
            path
            for path in named
            if path.parent in self._watched and not self._paths.isdisjoint(path.parents)
        }
        self._covered |= covered
        fresh = named - covered
        if fresh:
            self._paths |= fresh
            self._follow()
            if self._seen is not None:
                self._seen |= fingerprint(fresh)

    async def changed(self) -> None:
        """Return when something changed since the last return.

        After what the kernel told, it returns once more at the next look: what the files were like is not
        asked at the time of a change, which is to be told soon, but then.
        """
        while True:
            try:
                async with asyncio.timeout(self._look):
                    await self._event.wait()
            except TimeoutError:
                self._follow()
                now = fingerprint(self._paths)
                if now == self._seen:
                    continue
                self._seen = now
                return
            await self._settle()
            if self._folders_changed:
                self._follow()
            self._seen = None
            return

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + LONGEST
        left = QUIET
        while left > 0:
            await asyncio.sleep(left)
            left = min(self._last + QUIET, latest) - loop.time()
        self._event.clear()

    def _read(self) -> None:
        try:
            # What happened to which file does not matter: everything is compared by content anyway.
            told = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        self._folders_changed = self._folders_changed or _of_folders(told)
        self._last = asyncio.get_running_loop().time()
        self._event.set()

    def _follow(self) -> None:
        """Have the kernel tell of every folder concerned; a file is watched by its folder, since writers
        replace files."""
        self._folders_changed = False
        if self._descriptor < 0:
            return
        wanted: set[Path] = set()
        for path in self._paths:
            folder = path if path.is_dir() else path.parent
            wanted.add(folder)
            if path.is_dir():
                wanted.update(Path(root) for root, _, _ in os.walk(path))
        for folder in wanted:
            # Again for those known: a folder that was replaced has the same name and another inode. For the
            # rest the kernel answers with the number it gave before.
            number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK)
            if number >= 0:
                self._watched[folder] = number
            elif self._watched.pop(folder, None) is not None:
                log.info("a watched folder is gone", extra={"folder": str(folder)})


def _of_folders(told: bytes) -> bool:
    """Whether one of the kernel's events is of a folder, or some were lost (inotify(7))."""
    place = 0
    while place < len(told):
        _, mask, _, length = _EVENT.unpack_from(told, place)
        if mask & _OF_FOLDERS:
            return True
        place += _EVENT.size + length
    return False


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Name, size, time and inode of every file below `paths`; what is not there is left out."""
    found: set[tuple[str, int, int, int]] = set()
    waiting = [os.fspath(path) for path in paths]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        _add(found, entry.path)
                    elif not entry.is_symlink():
                        waiting.append(entry.path)
        except NotADirectoryError:
            _add(found, path)
        except OSError:
            continue
    return frozenset(found)


def _add(found: set[tuple[str, int, int, int]], file: str) -> None:
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of files are asked after at each change
    except OSError:
        return
    found.add((file, status.st_size, status.st_mtime_ns, status.st_ino))
