"""How the platform is doing, as `causeway status` tells it.

The supervisor's account is compared with the machine before it is repeated: a process that has just died, or
a supervisor that died or hangs, must never be reported as ready.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from mesh.local import lock, procfs, state
from mesh.local.layout import Layout
from mesh.local.procfs import Identity
from mesh.local.state import PlatformState, ProcessStatus, RegionStatus
from mesh.local.sync import MeshSync, Sync

_FULL = 1_000_000
"""Free bytes below which nothing can be relied on to be written."""

STALE_AFTER = 5.0
"""Seconds without news after which the supervisor counts as hung. It writes at least every second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is true now."""

    phase: str
    """absent, starting, running, stopping, stopped, failed or unsupervised."""
    supervisor: Identity | None
    updated: float = 0.0
    failure: str = ""
    problem: str = ""
    """What is wrong with the supervisor itself."""
    started_in: float | None = None
    processes: list[ProcessStatus] = field(default_factory=list)
    data_plane: str = "none"
    regions: Mapping[str, RegionStatus] = field(default_factory=dict)
    front: str = ""
    """`address:port` that people are given; empty without a mesh."""

    @property
    def ready(self) -> bool:
        """Every process is ready and supervised."""
        healthy = self.phase == "running" and self.supervisor is not None and not self.problem
        return healthy and bool(self.processes) and all(process.ready for process in self.processes)


def read(layout: Layout) -> Report:
    """The platform in `layout` now. Never raises for a damaged or missing state file: that is told."""
    holder = lock.holder(layout.lock)
    try:
        last = state.load(layout.state)
    except state.StateError as error:
        return Report(phase="failed" if holder is None else "starting", supervisor=holder, problem=str(error))
    if last is None:
        return Report(phase="absent" if holder is None else "starting", supervisor=holder)
    if holder is not None and shutil.disk_usage(layout.home).free < _FULL:
        # The supervisor then cannot write either, so its account may be old.
        return replace(
            judge(last, holder, now=last.updated, boot=procfs.boot_id()),
            problem=f"the disk of {layout.home} is full",
        )
    return judge(last, holder, now=time.time(), boot=procfs.boot_id())


def judge(last: PlatformState, holder: Identity | None, *, now: float, boot: str) -> Report:
    """Compare the supervisor's last account with what is alive."""
    ours = last.boot == boot
    phase, problem = last.phase, ""
    if holder is None and phase in ("starting", "running", "stopping"):
        phase, problem = "unsupervised", "the supervisor has died: run `causeway up` or `causeway down`"
    elif holder is not None and holder != last.supervisor:
        # A new supervisor has the lock and has not written yet.
        return Report(phase="starting", supervisor=holder)
    elif holder is not None and now - last.updated > STALE_AFTER:
        problem = f"the supervisor has not answered for {now - last.updated:.0f} s"
    processes = [_checked(process, ours=ours, supervised=holder is not None) for process in last.processes]
    return Report(
        phase=phase,
        supervisor=holder,
        updated=last.updated,
        failure=last.failure,
        problem=problem,
        started_in=last.started_in,
        processes=processes,
        data_plane=last.data_plane,
        regions=last.regions,
        front=last.front,
    )


def to_json(report: Report, mesh: MeshSync | None = None) -> dict[str, object]:
    """The document of `causeway status --json`; `mesh` is what the control planes say."""
    synced = mesh.proxies if mesh else {}
    stats = procfs.all_stats()
    return {
        "ready": report.ready,
        "phase": report.phase,
        "detail": report.problem or report.failure,
        "started_in": report.started_in,
        "supervisor": {
            "pid": report.supervisor.pid if report.supervisor else None,
            "memory_bytes": procfs.proportional_memory(report.supervisor.pid) if report.supervisor else None,
        },
        "data_plane": report.data_plane,
        "front": report.front,
        "regions": {name: asdict(status) for name, status in report.regions.items()},
        "manifest_problems": list(mesh.problems) if mesh else [],
        "processes": [
            {**_process_json(process, stats), **_sync_json(synced.get(process.name))}
            for process in report.processes
        ],
    }


def _checked(process: ProcessStatus, *, ours: bool, supervised: bool) -> ProcessStatus:
    identity = process.identity
    if identity is not None and not (ours and procfs.alive(identity)):
        process.pid = process.ticks = None
        if ours and supervised and process.one_shot and process.state == "starting":
            # As it should; whether its work is done, its supervisor will say in a moment.
            process.detail = "has just ended"
        else:
            process.state, process.ready, process.detail = "dead", False, "has just ended"
    if not supervised:
        process.ready = False
    return process


def _sync_json(sync: Sync | None) -> dict[str, object]:
    return {} if sync is None else {"configuration": asdict(sync)}


def _process_json(process: ProcessStatus, stats: list[procfs.Stat]) -> dict[str, object]:
    return {
        "name": process.name,
        "region": process.region,
        "state": process.state,
        "ready": process.ready,
        "pid": process.pid,
        "host": process.host,
        "port": process.port,
        "restarts": process.restarts,
        "since": datetime.fromtimestamp(process.since, UTC).isoformat(timespec="milliseconds"),
        "memory_bytes": procfs.tree_memory(process.pid, stats) if process.pid else None,
        "started_in": process.started_in,
        "detail": process.detail,
        "last_exit": process.last_exit,
        "last_log": process.last_log,
    }
