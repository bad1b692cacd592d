"""Private platforms for benchmarks: in a temporary state folder, on free ports, gone afterwards.

They are tied to this process: the supervisor stops everything when it ends, however it ends. A platform that
already runs on this machine is not touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from loadtest.bench.harness import Run
from loadtest.bench.report import BenchError
from loadtest.bench.signals import undisturbed
from mesh.local import daemon, ports, procfs, report
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.names import SINGLE, Shape
from mesh.local.report import Report

PREFIX = "causeway-bench-"
START_LIMIT = 120.0
AUTHORITY = "{}.causeway.svc.cluster.local"

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
)


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that is ready."""

    layout: Layout

    @property
    def ports(self) -> Mapping[str, int]:
        """Port by name."""
        return ports.load(self.layout.ports)

    def target(self, name: str) -> str:
        """Where a process listens."""
        return f"127.0.0.1:{self.ports[name]}"

    def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service, as its peers call it."""
        options = [*_OPTIONS, ("grpc.default_authority", AUTHORITY.format(name))]
        return grpc.aio.insecure_channel(self.target(name), options=options)

    def metadata(
        self, tenant: str = "bench", roles: Sequence[str] = ("editor",)
    ) -> tuple[tuple[str, str], ...]:
        """What authorises a call, for an hour."""
        token = Issuer(self.layout).mint(tenant, "bench", roles, 3600)
        return (("authorization", f"Bearer {token}"),)

    def report(self) -> Report:
        """How it is doing."""
        return report.read(self.layout)

    def memory(self) -> dict[str, float]:
        """MiB (PSS) of every process with its children, and of the supervisor. Raises BenchError when one is
        not ready."""
        now = self.report()
        document = report.to_json(now)
        processes = document["processes"]
        if not isinstance(processes, list) or not document["ready"] or now.supervisor is None:
            raise BenchError("the platform did not stay ready")
        found = {item["name"]: item["memory_bytes"] / 2**20 for item in processes if item["memory_bytes"]}
        return {**found, "supervisor": procfs.proportional_memory(now.supervisor.pid) / 2**20}


@contextmanager
def temporary_home() -> Iterator[Layout]:
    """An empty state folder; what runs in it at the end is stopped, and all of it deleted."""
    _sweep()
    owner = procfs.identify(os.getpid())
    assert owner is not None, "this process runs"  # noqa: S101 - for the type checker
    layout = Layout(Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner.pid}-{owner.ticks}-")))
    try:
        yield layout
    finally:
        with undisturbed():
            daemon.down(layout)
            daemon.purge(layout)


@contextmanager
def running(
    run: Run, layout: Layout, only: Collection[str] | None = None, shape: Shape = SINGLE
) -> Iterator[Platform]:
    """The platform in `layout`, started and ready; stopped at the end, its data kept.

    Raises BenchError when it does not start.
    """
    run.progress.stage("starting " + (", ".join(only) if only else "a platform"))
    try:
        started = daemon.up(
            layout, only, limit=START_LIMIT, show=lambda now: _show(run, now), tied=True, shape=shape
        )
    except daemon.InterruptedStartError:
        raise KeyboardInterrupt from None
    except daemon.StartError as error:
        raise BenchError(f"the platform did not start: {error}") from error
    try:
        yield Platform(layout)
    finally:
        with undisturbed(), run.meter.excluded():
            run.progress.stage("stopping")
            daemon.down(layout)
            if started.child is not None:
                started.child.wait(timeout=10)


def configure(layout: Layout, environment: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the extra environment of processes (`{"gateway": {"CAUSEWAY_…": "…"}}`) for the next start."""
    lines = []
    for process, values in environment.items():
        lines.append(f"[env.{process}]")
        lines += [f'{key} = "{value}"' for key, value in values.items()]
    (layout.home / "config.toml").write_text("\n".join(lines) + "\n", "utf-8")


def _show(run: Run, now: Report) -> None:
    ready = sum(process.ready for process in now.processes)
    waiting = [process.name for process in now.processes if not process.ready]
    run.progress.step(f"{ready} of {len(now.processes)} ready, waiting for {', '.join(waiting[:3])}")


def _sweep() -> None:
    """Deletes the state folders of benchmarks that were killed: their platforms ended with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid, _, ticks = folder.name.removeprefix(PREFIX).partition("-")
        ticks = ticks.partition("-")[0]
        if not pid.isdigit() or not ticks.isdigit() or folder.stat().st_uid != os.getuid():
            continue
        if procfs.alive(procfs.Identity(int(pid), int(ticks))):
            continue
        layout = Layout(folder)
        try:
            daemon.down(layout)
            daemon.purge(layout)
        except (daemon.StopError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
