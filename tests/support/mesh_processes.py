"""Real Envoys and control planes as processes, and waiting for them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from support.mesh_manifests import Instance

from mesh.control.wiring import pipeline
from mesh.local import addresses, admin, binaries, envoy
from mesh.local.files import write_json
from mesh.local.workloads import Workload
from mesh.pki.bootstrap import IdentityFiles

LIMIT = 30.0
"""Seconds that anything may take on a machine that is busy with other things."""


class RefusedError(Exception):
    """A proxy does not take what a test says, or cannot be given it."""


async def eventually(check: Callable[[], Awaitable[object]], what: str, limit: float = LIMIT) -> float:
    """Wait until `check` gives something true; the seconds that took."""
    began = time.monotonic()
    while True:
        reason: object = ""
        try:
            if await check():
                return time.monotonic() - began
        except (OSError, ValueError, LookupError, AssertionError, grpc.aio.AioRpcError) as error:
            reason = f": {type(error).__name__}: {error}"
        assert time.monotonic() < began + limit, f"{what} did not come true in {limit:g} s{reason}"
        await asyncio.sleep(0.05)


class Proxy:
    """An Envoy process of an instance."""

    def __init__(self, folder: Path, address: str, region: str) -> None:
        self.folder = folder
        self.address = address
        self.region = region
        self.log = folder / "envoy.log"

    def prepare(self, workload: Workload, control_planes: Sequence[str], identity: Path) -> None:
        """Write what it starts with; it asks its control planes, in this order, for all else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document = envoy.bootstrap(workload, control_planes, self.folder)
        write_json(self.folder / envoy.BOOTSTRAP_FILE, document)
        files = IdentityFiles(identity)
        chain, key = files.certificate.read_text(), files.key.read_text()
        write_json(self.folder / envoy.IDENTITY_FILE, envoy.identity(chain, key))
        write_json(self.folder / envoy.TRUST_FILE, envoy.trust(files.trust.read_text()))

    def start(self) -> None:
        """Start it."""
        command = list(envoy.command(binaries.envoy(), self.folder, "warning"))
        command[command.index("--drain-time-s") + 1] = "1"
        with self.log.open("ab") as output:
            environment = {**os.environ, "CAUSEWAY_REGION": self.region}
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait()

    async def ask(self, target: str) -> str:
        """What its own interface answers."""
        return await admin.get(self.address, addresses.ADMIN, target)

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges by name."""
        lines = (await self.ask(f"/stats?filter={pattern}")).splitlines()
        found = (line.rpartition(": ") for line in lines if ": " in line)
        return {name: int(value) for name, _, value in found if value.isdigit()}

    async def settled(self) -> bool:
        """Whether it uses all it was given, and nothing that it was given before."""
        if (await self.ask("/ready")).strip() != "LIVE":
            return False
        busy = await self.stats(
            "listener_manager.total_(listeners_(warming|draining)|filter_chains_draining)|warming_clusters"
        )
        return not any(busy.values())


class ControlPlane:
    """`python -m mesh.control` for one region."""

    def __init__(self, folder: Path, region: str, address: str, sources: Sequence[Path], pki: Path) -> None:
        self.region = region
        self._sources = sources
        self.listen = f"{address}:{addresses.XDS}"
        self.status_file = folder / f"status-{region}.json"
        self.log = folder / f"control-{region}.log"
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CAUSEWAY_")},
            "CAUSEWAY_MESH_LISTEN": self.listen,
            "CAUSEWAY_MESH_REGION": region,
            "CAUSEWAY_MESH_MANIFESTS": ",".join(map(str, sources)),
            "CAUSEWAY_MESH_PKI": str(pki),
            "CAUSEWAY_MESH_STATUS": str(self.status_file),
        }

    def start(self) -> None:
        """Start it. What an earlier one said of itself is forgotten."""
        self.status_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "mesh.control"]
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait()

    def status(self) -> Any:
        """What its status file says."""
        return json.loads(self.status_file.read_text())

    def of(self, instance: Instance) -> Any:
        """What it says of a proxy."""
        return next(item for item in self.status()["proxies"] if item["name"] == instance.workload)

    def expected(self) -> str:
        """The version of its manifests as they are now: that it says so shows that they are in use, which a
        time does not. Raises BadManifests."""
        steps = pipeline()
        return steps.version(steps.read(self._sources, None))

    def uses(self, version: str) -> bool:
        """Whether manifests of a version are in use, and nothing was found wrong since."""
        said = self.status()["manifests"]
        return bool(said["version"] == version and not said["problems"])

    @property
    def runs(self) -> bool:
        """Whether its process does."""
        return self.process.poll() is None

    async def serving(self) -> bool:
        """Whether it has made something of the manifests."""
        assert self.runs, self.log.read_text()[-3000:]
        return bool(self.status()["manifests"]["version"])
