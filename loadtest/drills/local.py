"""A platform of our own to harm: two regions on this machine, in a temporary folder, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import grpc.aio

from loadtest.bench.platform import START_LIMIT, configure, temporary_home
from loadtest.bench.progress import Progress
from loadtest.bench.signals import undisturbed
from loadtest.drills.caller import CallFailedError
from loadtest.drills.client import CONNECTIONS, GrpcCaller, Metadata
from loadtest.drills.platform import DrillError, NotPossibleError
from mesh.local import addresses, admin, daemon, names, procfs, regions, report, sync
from mesh.local.files import write_atomic
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.names import SIDECAR, in_region
from mesh.local.regions import Wish
from mesh.local.state import ProcessStatus
from mesh.local.topology_files import PLATFORM_HOST, manifest
from mesh.local.workloads import TRUST_DOMAIN
from mesh.local.yaml_writer import Plain, documents
from mesh.pki.root import RootAuthority

TENANT = "drill"
WORDS_A_SECOND = 10
"""Of each stream: what the bundled model gives each of several readers on two cores."""
SETTLE = 2.0
"""Seconds in which every proxy hears of a new root or certificate."""
LIMIT = 60.0
_PATIENCE = 2.0
"""Seconds for a call that only shows who answers."""
_FEW = 20
"""Calls that show whether regions take turns."""
_MARK: Mapping[str, Plain] = {"key": "x-causeway-drill", "value": "changed"}
STILL = 0.05
"""Seconds that a slow region moves, between the times when it stands still."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.ssl_target_name_override", PLATFORM_HOST),
    ("grpc.default_authority", PLATFORM_HOST),
    # A call waits for a connection rather than failing because one is being made.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@contextmanager
def started(progress: Progress, real: bool) -> Iterator[LocalPlatform]:
    """A platform in two regions that is ready; everything of it is deleted at the end.

    Raises DrillError when it does not start.
    """
    _sweep(_left_behind())
    with temporary_home() as layout:
        model = "generator" if real else "synthetic"
        configure(
            layout,
            {
                "models": {
                    "CAUSEWAY_TRITON_SYNTHETIC": "1",
                    "CAUSEWAY_TRITON_SYNTHETIC_INTERVAL": str(round(1000 / WORDS_A_SECOND)),
                },
                # A tenant's quota and limits must not end the drill.
                "policy": {"CAUSEWAY_QUOTA_TOKENS": "1000000000"},
                "gateway": {"CAUSEWAY_MODELS_GENERATOR": model},
            },
        )
        progress.stage("starting a platform in two regions")
        shape = names.shape_for(None, None, names.DataPlane.SIDECAR)
        try:
            found = daemon.up(layout, None, limit=START_LIMIT, tied=True, shape=shape)
        except daemon.InterruptedStartError:
            raise KeyboardInterrupt from None
        except daemon.StartError as error:
            raise DrillError(f"the platform did not start: {error}") from error
        platform = LocalPlatform(layout, shape.regions, found.report.front, synthetic=not real)
        try:
            yield platform
        finally:
            with undisturbed():
                platform.clean_up()
                progress.stage("stopping")
                daemon.down(layout)
                if found.child is not None:
                    found.child.wait(timeout=10)


@dataclass(slots=True)
class LocalPlatform:
    """A platform on this machine."""

    layout: Layout
    regions: Sequence[str]
    front: str
    synthetic: bool = True
    _held: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _slowed: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _cut: dict[str, list[str]] = field(default_factory=dict)
    _token: tuple[float, Metadata] = (0.0, ())

    async def spread(self) -> None:
        """Health checks find a region by and by: its ingress by the front, its services by each ingress."""
        host = self.front.rpartition(":")[0]
        query = "/stats?filter=^cluster\\.outbound.*ingress.*\\.membership_healthy$"
        caller = self.caller()
        deadline = time.monotonic() + LIMIT
        while True:
            healthy = [
                line.rpartition(": ")[2]
                for line in (await admin.get(host, addresses.ADMIN, query)).splitlines()
            ]
            answered: Counter[str] = Counter()
            for _ in range(_FEW):
                with suppress(CallFailedError):
                    answered[await caller.unary(_PATIENCE)] += 1
            share = _FEW // len(self.regions) // 2
            if (
                set(healthy) == {str(len(self.regions))}
                and min(answered[region] for region in self.regions) >= share
            ):
                return
            if time.monotonic() > deadline:
                raise DrillError(
                    f"the regions do not share the calls: {dict(answered)}, {healthy} are healthy"
                )
            await asyncio.sleep(0.1)

    def caller(self) -> GrpcCaller:
        """A client at the front, over TLS."""
        credentials = grpc.ssl_channel_credentials(self.layout.ca.read_bytes())
        channels = [
            grpc.aio.secure_channel(self.front, credentials, options=_OPTIONS) for _ in range(CONNECTIONS)
        ]
        return GrpcCaller(channels, self._metadata)

    def _metadata(self) -> Metadata:
        minted, metadata = self._token
        if time.time() - minted > 600:
            token = Issuer(self.layout).mint(TENANT, "drill", ["editor"], 3600)
            metadata = (("authorization", f"Bearer {token}"),)
            self._token = (time.time(), metadata)
        return metadata

    # Regions.

    async def kill(self, region: str) -> float:
        """SIGKILL to all of it at once."""
        return await self._bring(region, Wish.KILL)

    async def freeze(self, region: str) -> float:
        """SIGSTOP to all of it at once."""
        return await self._bring(region, Wish.FREEZE)

    async def drain(self, region: str) -> float:
        """Its workloads are marked as draining; when every proxy has heard of it, it is done."""
        return await self._bring(region, Wish.DRAIN)

    async def restore(self, region: str) -> None:
        """Everything runs and is ready."""
        slowed = self._slowed.pop(region, None)
        if slowed is not None:
            await _end(slowed)
            _signal(self._processes(region), signal.SIGCONT)
        if regions.load(self.layout).get(region, Wish.RUN) is not Wish.RUN:
            await self._bring(region, Wish.RUN)

    async def _bring(self, region: str, wish: Wish) -> float:
        try:
            return await asyncio.to_thread(regions.bring, self.layout, region, wish)
        except regions.RegionError as error:
            raise DrillError(str(error)) from error

    async def slow(self, region: str, seconds: float) -> float:
        """It stands still for so long, moves a little, and stands still again."""
        processes = self._processes(region)

        async def stutter() -> None:
            while True:
                _signal(processes, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                _signal(processes, signal.SIGCONT)
                await asyncio.sleep(STILL)

        self._slowed[region] = asyncio.create_task(stutter())
        return time.time()

    async def cut(self, region: str) -> float:
        """Its addresses lead nowhere: what is sent there is dropped, connections stay as they are.

        A new connection is refused at once, by this one machine's kernel: between machines it would wait.
        """
        program = _ip_program()
        if program is None:
            raise NotPossibleError("packets can be dropped only by root, with the program `ip`")
        network = addresses.load(self.layout.network)
        if network is None:
            raise DrillError("the platform has no addresses")
        here = [network.address(name) for name in network.hosts if names.split(name)[1] == region]
        self._cut[region] = here
        for address in here:
            await _ip(program, "add", address)
        return time.time()

    async def mend(self, region: str) -> None:
        """They lead there again."""
        program = _ip_program()
        for address in self._cut.pop(region, []):
            if program is not None:
                await _ip(program, "del", address)

    # Control planes and proxies.

    async def kill_control(self, region: str) -> float:
        """Killed, and killed again whenever the supervisor brings it back."""
        name = in_region("control", region)
        at = time.time()
        self._kill(name)

        async def hold() -> None:
            while True:
                await asyncio.sleep(0.02)
                self._kill(name)

        self._held[region] = asyncio.create_task(hold())
        return at

    async def start_control(self, region: str) -> float:
        """The supervisor may bring it back."""
        held = self._held.pop(region, None)
        if held is not None:
            await _end(held)
        return await self._ready(in_region("control", region), since=time.time())

    async def restart_proxy(self, app: str, region: str) -> float:
        """Killed; the supervisor starts it anew."""
        name, at = in_region(SIDECAR + app, region), time.time()
        self._kill(name)
        return await self._ready(name, since=at)

    async def synced(self) -> bool:
        """By what the control planes that run say."""
        running = [name for name in self.regions if name not in self._held]
        found = sync.read(self.layout, running).proxies
        wanted = {
            item.name
            for item in report.read(self.layout).processes
            if (item.name.startswith(SIDECAR) or names.split(item.name)[0] in ("ingress", names.FRONT))
            and item.pid
        }
        return all(name in found and found[name].state == "synced" for name in wanted)

    async def change(self) -> None:
        """A header more for the answers that ingresses and callers' sidecars pass on."""
        # Not of inbound listeners: those of an old one would be drained, and streams with them.
        patches: list[Plain] = [
            {
                "applyTo": "VIRTUAL_HOST",
                "match": {"context": context},
                "patch": {"operation": "MERGE", "value": {"response_headers_to_add": [{"header": _MARK}]}},
            }
            for context in ("SIDECAR_OUTBOUND", "GATEWAY")
        ]
        written = manifest(
            "EnvoyFilter",
            "istio-system",
            "drill",
            {"configPatches": patches},
            api="networking.istio.io/v1alpha3",
        )
        write_atomic(self.layout.topology / "drill.yaml", documents([written]).encode(), mode=0o644)

    # Certificates.

    async def rotate_leaf(self) -> float:
        """Each region's authority is replaced, and with it all that it has signed."""
        at = time.time()
        authority = RootAuthority(self.layout.pki, TRUST_DOMAIN)
        for region in self.regions:
            (self.layout.pki / "regions" / region / "authority.pem").unlink(missing_ok=True)
            authority.ensure_region(region)
        await asyncio.sleep(SETTLE)
        return at

    async def rotate_root(self) -> float:
        """Introduced, switched to, and the old one retired, each once all proxies have heard of the last."""
        authority = RootAuthority(self.layout.pki, TRUST_DOMAIN)
        authority.introduce()
        await asyncio.sleep(SETTLE)
        authority.switch()
        await asyncio.sleep(SETTLE)
        authority.retire(timedelta(0))
        await asyncio.sleep(SETTLE)
        return time.time()

    # What is under this.

    def clean_up(self) -> None:
        """Routes and stopped processes must not outlive the drill. May be called without an event loop."""
        for here in self._cut.values():
            _sweep(here)
        self._cut.clear()
        for region in self._slowed:
            _signal(self._processes(region), signal.SIGCONT)

    def _processes(self, region: str) -> list[ProcessStatus]:
        return [item for item in report.read(self.layout).processes if item.region == region and item.pid]

    def _kill(self, name: str) -> None:
        for item in report.read(self.layout).processes:
            if item.name == name and item.identity is not None and procfs.alive(item.identity):
                with suppress(ProcessLookupError):
                    os.kill(item.identity.pid, signal.SIGKILL)

    async def _ready(self, name: str, since: float) -> float:
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for item in report.read(self.layout).processes:
                if item.name == name and item.ready and item.since >= since:
                    return item.since
            await asyncio.sleep(0.02)
        raise DrillError(f"{name} was not ready again after {LIMIT:g} s")


def _signal(processes: Sequence[ProcessStatus], number: signal.Signals) -> None:
    """To their whole families: each leads a session of its own."""
    for item in processes:
        if item.identity is not None and procfs.alive(item.identity):
            with suppress(ProcessLookupError):
                os.killpg(item.identity.pid, number)


def _ip_program() -> str | None:
    return shutil.which("ip") if os.geteuid() == 0 else None


def _left_behind() -> list[str]:
    """Loopback addresses that lead nowhere: only a drill makes them so."""
    program = _ip_program()
    if program is None:
        return []
    listed = subprocess.run(
        [program, "route", "show", "table", "local", "type", "blackhole"],
        check=False,
        capture_output=True,
        text=True,
    )
    words = [line.split() for line in listed.stdout.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[1].startswith("127.")]


def _sweep(addresses_of: Sequence[str]) -> None:
    """Takes away routes that lead these addresses nowhere, as a drill that was killed leaves them."""
    program = _ip_program()
    if program is None:
        return
    for address in addresses_of:
        subprocess.run([program, "route", "del", *_route(address)], check=False, capture_output=True)


def _route(address: str) -> list[str]:
    return ["blackhole", f"{address}/32", "table", "local"]


async def _ip(program: str, verb: str, address: str) -> None:
    child = await asyncio.create_subprocess_exec(
        program, "route", verb, *_route(address), stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    if child.returncode:
        raise NotPossibleError(f"ip route {verb}: {said.decode('utf-8', 'replace').strip()}")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
