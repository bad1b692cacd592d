"""The supervisor's account of its platform, on disk: `state.json`.

One writer (the supervisor, holding the lock), any number of readers. Readers see a whole file, old or new,
and must compare `updated` with the clock: a supervisor that hangs or dies stops updating it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mesh.local.files import write_json
from mesh.local.procfs import Identity

VERSION = 1


class StateError(Exception):
    """The state file cannot be understood."""


@dataclass(slots=True, kw_only=True)
class ProcessStatus:
    """How one process is doing."""

    name: str
    state: str = "waiting"
    """waiting, starting, ready, unready, restarting, stopping, stopped, done or failed."""
    ready: bool = False
    pid: int | None = None
    ticks: int | None = None
    """Start time of `pid`, see `procfs`."""
    one_shot: bool = False
    """Whether it ends when its work is done."""
    region: str = ""
    """Empty for what stands outside regions."""
    host: str = "127.0.0.1"
    port: int | None = None
    restarts: int = 0
    since: float = field(default_factory=time.time)
    """When `state` became what it is, seconds since the epoch."""
    detail: str = ""
    """Why it is not ready, in words."""
    last_exit: str = ""
    """How its last life ended, for example "signal SIGKILL"."""
    last_log: list[str] = field(default_factory=list)
    """The last lines it logged before that end."""
    started_in: float | None = None
    """Seconds its last start took to become ready."""

    @property
    def identity(self) -> Identity | None:
        """The recorded process, when there is one."""
        return None if self.pid is None or self.ticks is None else Identity(self.pid, self.ticks)


@dataclass(slots=True, kw_only=True)
class RegionStatus:
    """What was last asked of a region."""

    wish: str
    """See `regions.Wish`."""
    done_at: float | None = None
    """When it had been carried out, seconds since the epoch; None while it is under way."""


@dataclass(slots=True, kw_only=True)
class PlatformState:
    """The whole account."""

    phase: str = "starting"
    """starting, running, stopping, stopped or failed."""
    supervisor: Identity | None = None
    boot: str = ""
    """Boot id under which the recorded pids mean something."""
    updated: float = 0.0
    failure: str = ""
    """Why the platform gave up starting."""
    started_in: float | None = None
    """Seconds from the supervisor's start to everything being ready."""
    processes: list[ProcessStatus] = field(default_factory=list)
    data_plane: str = "none"
    """See `names.DataPlane`."""
    regions: dict[str, RegionStatus] = field(default_factory=dict)
    """By name, in start order; empty without a mesh."""
    front: str = ""
    """`address:port` that people are given; empty without a mesh."""

    @property
    def ready(self) -> bool:
        """Every process is ready, and the platform is not being stopped."""
        return self.phase == "running" and bool(self.processes) and all(p.ready for p in self.processes)


def save(path: Path, state: PlatformState) -> None:
    """Write `state` in one step, stamped with the time."""
    state.updated = time.time()
    write_json(path, {"version": VERSION, **asdict(state)}, mode=0o644)


def load(path: Path) -> PlatformState | None:
    """The account in `path`; None when there is none. Raises StateError when it is damaged."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    try:
        return _decode(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError(f"{path} is damaged ({type(error).__name__}: {error})") from error


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, for a person to look at; its new name."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}-{os.getpid()}")
    path.replace(aside)
    return aside


def _decode(document: Any) -> PlatformState:
    if not isinstance(document, dict):
        raise TypeError("not an object")
    if document.pop("version") != VERSION:
        raise ValueError("written by another version")
    supervisor = document.pop("supervisor")
    items = document.pop("processes")
    regions = {name: RegionStatus(**item) for name, item in document.pop("regions", {}).items()}
    if not all(isinstance(item["name"], str) and isinstance(item["pid"], int | None) for item in items):
        raise TypeError("a process without a proper name or pid")
    processes = [ProcessStatus(**item) for item in items]
    return PlatformState(
        supervisor=Identity(**supervisor) if supervisor else None,
        processes=processes,
        regions=regions,
        **document,
    )
