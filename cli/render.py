"""Turns reports into lines of text. Pure, so that what people read can be tested."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.local.addresses import HTTPS
from mesh.local.names import split
from mesh.local.report import Report
from mesh.local.state import ProcessStatus, RegionStatus
from mesh.local.sync import MeshSync, Sync

_MARKS = {"ready": "●", "done": "●", "failed": "✗", "dead": "✗", "restarting": "✗", "unready": "✗"}


def age(seconds: float) -> str:
    """A duration in its two largest useful units: 4 s, 3 min, 2 h 5 min."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60 % 60, whole // 3600
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d"


def size(count: int | None) -> str:
    """Bytes as people read them."""
    return "" if count is None else f"{count / 1e6:.0f} MB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned to the left, two spaces apart."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def headline(report: Report) -> str:
    """One line that says whether the platform is ready, and if not, why."""
    if report.problem:
        return f"not ready: {report.problem}"
    if report.ready:
        took = "" if report.started_in is None else f", started in {report.started_in:.1f} s"
        return f"ready{took}"
    if report.phase == "failed":
        return f"not running: the last start failed: {report.failure}"
    if report.phase in ("absent", "stopped"):
        return "not running: start it with `causeway up`"
    bad = [process.name for process in report.processes if not process.ready]
    return f"not ready ({report.phase})" + (f": {', '.join(bad)}" if bad else "")


def process_rows(
    processes: Sequence[ProcessStatus],
    now: float,
    memory: dict[str, int | None] | None = None,
    mesh: MeshSync | None = None,
) -> list[list[str]]:
    """A header and one row for each process."""
    synced = mesh.proxies if mesh else {}
    rows = [["", "PROCESS", "STATE", "FOR", "PID", "ADDRESS", "RESTARTS", "MEMORY", "DETAIL"]]
    rows.extend(
        [
            _MARKS.get(process.state, "○"),
            process.name,
            process.state,
            age(now - process.since),
            str(process.pid or ""),
            _address(process),
            str(process.restarts or ""),
            size((memory or {}).get(process.name)),
            _detail(process, synced.get(process.name)),
        ]
        for process in processes
    )
    if memory is None:
        rows = [[*row[:7], row[8]] for row in rows]
    return rows


def status(
    report: Report,
    now: float,
    memory: dict[str, int | None] | None = None,
    mesh: MeshSync | None = None,
) -> list[str]:
    """The whole answer of `causeway status`."""
    lines = [headline(report)]
    if report.front:
        where = ", ".join(_region(name, status) for name, status in report.regions.items())
        lines.append(f"one address for people: https://{report.front}; regions: {where}")
        doors = [process for process in report.processes if split(process.name)[0] == "ingress"]
        if doors:
            # Their rows in the table show Envoy's own interface.
            own = ", ".join(f"https://{door.host}:{HTTPS} ({door.region})" for door in doors)
            lines.append(f"the regions' own: {own}")
    if report.processes:
        lines += table(process_rows(report.processes, now, memory, mesh))
    if mesh:
        lines += [f"manifests: {problem}" for problem in mesh.problems]
        lines += [f"certificates: {problem}" for problem in mesh.certificates]
        lines += [f"the control plane of {region} says nothing" for region in mesh.silent]
    for process in report.processes:
        if not process.ready and process.last_log:
            lines.append(f"{process.name} last said:")
            lines += [f"  {line}" for line in process.last_log]
    return lines


def _region(name: str, status: RegionStatus) -> str:
    words = {"run": "", "drain": "draining", "stop": "stopped", "kill": "killed", "freeze": "frozen"}
    word = words.get(status.wish, status.wish)
    return f"{name} ({word})" if word else name


def _address(process: ProcessStatus) -> str:
    """The port alone on the usual loopback address."""
    if not process.port:
        return ""
    return str(process.port) if process.host == "127.0.0.1" else f"{process.host}:{process.port}"


def _detail(process: ProcessStatus, sync: Sync | None) -> str:
    if process.detail:
        return process.detail
    if sync is not None and process.ready:
        elsewhere = process.region and sync.control_plane not in ("", process.region)
        where = f" by {sync.control_plane}" if elsewhere else ""
        return f"{sync.state}{where}" + (f": {sync.reason}" if sync.reason else "")
    if process.ready and process.restarts and process.last_exit:
        return f"last end: {process.last_exit}"
    return ""
