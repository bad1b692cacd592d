"""`causeway bench start`: how soon a platform is ready, and what memory its processes take.

One region without a mesh, and two regions with it, which is what `make demo` starts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.bench.harness import Run
from loadtest.bench.platform import running, temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.stats import summarise
from mesh.local.layout import Layout
from mesh.local.names import DEFAULT_REGIONS, SINGLE, DataPlane, Shape

READY_SECONDS = 20.0
MESH_READY_SECONDS = 30.0
MESH = Shape(DEFAULT_REGIONS, DataPlane.SIDECAR)
SETTLE_SECONDS = 3.0
"""After a start, before memory is read: what was needed only for starting is given back by then."""
MODELS = "models"
"""The folder in a platform's state that holds what was built."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start."""

    seconds: float
    """From launching the supervisor until every process is ready."""
    stages: Mapping[str, float]
    """Seconds that each process took by itself."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """MiB by process."""


def run(run: Run) -> None:
    """Starts in an empty folder, in new folders with the models built, and a second time in such a folder."""
    fresh: list[Start] = []
    again: list[Start] = []
    mesh: list[Start] = []
    with temporary_home() as layout:
        first = _start(run, layout, "an empty folder")
        models = layout.home / MODELS
        for _ in range(run.choose(3, 1)):
            with temporary_home() as other:
                _move(models, other.home / MODELS)
                fresh.append(_start(run, other, "a new folder, models built"))
                again.append(_start(run, other, "a folder that was used before"))
                _move(other.home / MODELS, models)
            with temporary_home() as other:
                _move(models, other.home / MODELS)
                mesh.append(_start(run, other, "a new folder, two regions with the mesh", MESH))
                _move(other.home / MODELS, models)
    _report(run, first, fresh, again)
    _report_mesh(run, mesh)


def _start(run: Run, layout: Layout, what: str, shape: Shape = SINGLE) -> Start:
    run.progress.stage(f"starting in {what}")
    began = time.monotonic()
    with running(run, layout, shape=shape) as platform:
        ready = time.monotonic() - began
        # Those that do their work once and end are not timed by the supervisor.
        timed = {process.name: process.started_in for process in platform.report().processes}
        stages = {name: seconds for name, seconds in timed.items() if seconds}
        time.sleep(SETTLE_SECONDS)
        return Start(ready, stages, platform.memory())


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise BenchError(f"cannot move the models that were built: {error}") from error


def _report(run: Run, first: Start, fresh: list[Start], again: list[Start]) -> None:
    add = run.report.add
    add(
        "start to ready, new folder, models built",
        summarise([start.seconds for start in fresh]),
        "s",
        maximum=READY_SECONDS,
        note="from launching the supervisor until every process is ready; files are in the disk's cache",
    )
    add(
        "start to ready, empty folder",
        first.seconds,
        "s",
        maximum=READY_SECONDS,
        note="the very first start: builds the models as well",
    )
    add("start to ready, folder used before", summarise([start.seconds for start in again]), "s")
    for name in fresh[0].stages:
        add(f"start of {name}", summarise([start.stages.get(name, 0.0) for start in fresh]), "s")
    total = summarise([sum(start.memory.values()) for start in fresh])
    add("memory of all processes", total, "MiB", note="PSS: a shared page is counted in proportion")
    for name in fresh[0].memory:
        add(f"memory of {name}", summarise([start.memory.get(name, 0.0) for start in fresh]), "MiB")


def _report_mesh(run: Run, starts: list[Start]) -> None:
    """Without the single processes: there are sixty of them."""
    run.report.add(
        "start to ready, two regions with the mesh, new folder, models built",
        summarise([start.seconds for start in starts]),
        "s",
        maximum=MESH_READY_SECONDS,
    )
    total = summarise([sum(start.memory.values()) for start in starts])
    run.report.add("memory of all processes, two regions with the mesh", total, "MiB")
