"""Clears up after a supervisor that died, before the next one starts or when `down` finds none.

Call only while holding the platform's lock: nothing running then belongs to a living supervisor.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mesh.local import interlock, leftovers, placement, procfs, state
from mesh.local.layout import Layout
from mesh.local.state import PlatformState

_log = logging.getLogger(__name__)


def clear(layout: Layout) -> int:
    """End every process an earlier supervisor left, and remove its shared memory; how many processes.

    A damaged state file is set aside: processes are then recognised by their mark and their folder alone.
    """
    found = leftovers.find(layout.home, _recorded(layout), owned_folders(layout))
    count = leftovers.end(found)
    swept: list[str] = []
    for prefix in shm_prefixes(layout):
        swept += leftovers.sweep_shared_memory(prefix)
    for folder in owned_folders(layout):
        interlock.release(folder / ("postgres" if folder == layout.home / "data" else "data"))
    if count or swept:
        _log.warning(
            "ended %d processes and removed %d shared memory files of an earlier run", count, len(swept)
        )
    return count


def owned_folders(layout: Layout) -> list[Path]:
    """Folders in which only this platform's servers work."""
    outside = placement.recorded_outside(layout)
    return [layout.home / "data", *([outside] if outside else [])]


def shm_prefixes(layout: Layout) -> list[str]:
    """Prefixes of this platform's names in /dev/shm."""
    from mesh.local import triton

    try:
        return triton.shm_prefixes(layout)
    except ImportError:
        # An installation without Triton has never made any.
        return []


def record_failure(layout: Layout, reason: str) -> None:
    """Leave word, for whoever waits for the start, why it failed."""
    try:
        state.save(layout.state, PlatformState(phase="failed", failure=reason, boot=procfs.boot_id()))
    except OSError as error:
        _log.error("cannot write the state file: %s", error)


def _recorded(layout: Layout) -> list[procfs.Identity]:
    try:
        last = state.load(layout.state)
    except state.StateError as error:
        _log.warning("%s; it is kept as %s", error, state.set_aside(layout.state).name)
        return []
    if last is None or last.boot != procfs.boot_id():
        return []
    return [process.identity for process in last.processes if process.identity]
