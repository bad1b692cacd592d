"""What an operator or a drill asks of a region, and how it is told that it was done.

The wish is a file that the supervisor follows; the answer stands in its account (`PlatformState.regions`). So
a command may come and go, and a supervisor that is busy loses no wish. Only the last wish for a region
counts.
"""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Mapping

from mesh.local import report, state
from mesh.local.files import write_json
from mesh.local.layout import Layout
from mesh.local.state import PlatformState


class Wish(enum.StrEnum):
    """What a region should be doing."""

    RUN = "run"
    """Everything runs; what was stopped, killed or frozen comes back."""
    DRAIN = "drain"
    """It gets no new calls; those under way go on."""
    STOP = "stop"
    """Drained, then stopped in order."""
    KILL = "kill"
    """SIGKILL to all of it at once, and nothing comes back."""
    FREEZE = "freeze"
    """SIGSTOP to all of it at once."""


class RegionError(Exception):
    """A region is unknown, the platform does not run, or the wish was not carried out in time."""


def ask(layout: Layout, region: str, wish: Wish) -> None:
    """Ask, and return at once. Raises RegionError when the platform has no such region or does not run."""
    found = _state(layout)
    if region not in found.regions:
        known = ", ".join(sorted(found.regions)) or "none: it was started without a mesh"
        raise RegionError(f"there is no region {region!r}; regions are {known}")
    write_json(layout.regions, {**load(layout), region: str(wish)}, mode=0o644)


def bring(layout: Layout, region: str, wish: Wish, *, limit: float = 90.0) -> float:
    """Ask, and wait until it is done; when that was, in seconds since the epoch.

    For RUN it is done when all of the region is ready again, for KILL and FREEZE when the signals have been
    sent. Raises RegionError.
    """
    asked = time.time()
    ask(layout, region, wish)
    deadline = time.monotonic() + limit
    while True:
        found = _state(layout)
        status = found.regions.get(region)
        if status is not None and status.wish == wish and (status.done_at or 0.0) >= asked:
            return status.done_at or 0.0
        if time.monotonic() > deadline:
            waiting = [item.name for item in found.processes if item.region == region and not item.ready]
            raise RegionError(f"{region} did not {wish} within {limit:g} s: {', '.join(waiting)}")
        time.sleep(0.02)


def load(layout: Layout) -> Mapping[str, Wish]:
    """What was last asked; damaged entries are left out."""
    try:
        document = json.loads(layout.regions.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: Wish(value) for name, value in document.items() if value in tuple(Wish)}


def _state(layout: Layout) -> PlatformState:
    if report.read(layout).supervisor is None:
        raise RegionError("the platform is not running")
    try:
        found = state.load(layout.state)
    except state.StateError as error:
        raise RegionError(str(error)) from error
    if found is None:
        raise RegionError("the platform is not running")
    return found
