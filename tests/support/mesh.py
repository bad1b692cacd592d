"""A mesh in a folder: a certificate authority, real control planes, real Envoys on loopback addresses, and
small servers behind them.

What a test says in Istio's words is written into the control planes' folder; `apply` returns when every Envoy
has it in use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from support.mesh_echo import Client, Echo
from support.mesh_manifests import WEST, Instance, host, topology
from support.mesh_processes import ControlPlane, Proxy, RefusedError, eventually

from mesh.local import addresses
from mesh.local.files import write_atomic
from mesh.local.workloads import Role, Workload
from mesh.pki.bootstrap import ensure
from mesh.pki.gateways import GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity


class Mesh:
    """See the module. Made by `running`."""

    def __init__(self, folder: Path, instances: Sequence[Instance], regions: Sequence[str]) -> None:
        self.folder = folder
        self.instances = {instance.name: instance for instance in instances}
        self.pki = folder / "pki"
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        names = [f"control@{region}" for region in regions]
        self.network = addresses.choose([*names, *self.instances], None)
        self.controls = {
            region: ControlPlane(
                folder, region, self.network.address(f"control@{region}"), [self.manifests], self.pki
            )
            for region in regions
        }
        self.proxies = {
            name: Proxy(folder / name, self.network.address(name), instance.region)
            for name, instance in self.instances.items()
            if instance.proxied
        }
        self.echoes: dict[str, Echo] = {}
        self._clients: dict[tuple[str, str], Client] = {}

    @property
    def control(self) -> ControlPlane:
        """The first one."""
        return next(iter(self.controls.values()))

    def asks(self, instance: Instance) -> ControlPlane:
        """The control plane that a proxy is with: its own, or another if that came up first. Raises
        LookupError when it is with none."""
        for control in self.controls.values():
            if control.runs and control.of(instance)["connected"]:
                return control
        raise LookupError(f"{instance.workload} is with no control plane")

    def report(self, instance: Instance) -> Any:
        """What that says of the proxy."""
        return self.asks(instance).of(instance)

    # Manifests.

    def write(self, name: str, *manifests: str) -> bool:
        """Replace one file of manifests, in one step; whether it says something new."""
        path, text = self.manifests / f"{name}.yaml", "---\n".join(manifests) or "# nothing\n"
        if path.exists() and path.read_text() == text:
            return False
        write_atomic(path, text.encode())
        return True

    async def apply(self, *manifests: str) -> None:
        """Have these manifests, beside the topology and in place of those before, in use everywhere."""
        self.place()
        self.write("test", *manifests)
        for echo in self.echoes.values():
            echo.well()
        await self.settled()

    def place(self, *, draining: str = "", without: str = "") -> None:
        """Say where the workloads are: one of them may drain, or be no more."""
        ports = {name: echo.port for name, echo in self.echoes.items()}
        everyone = list(self.instances.values())
        said = topology(everyone, self.network, ports, draining=draining, without=without)
        self.write("topology", said)

    async def settled(self) -> None:
        """Wait until every running proxy uses what the manifests say, and nothing else."""
        version = self.control.expected()
        await eventually(lambda: self._settled(version), "proxies in step")

    async def _settled(self, version: str) -> bool:
        reports: dict[str, list[Any]] = {}
        for control in self.controls.values():
            if control.runs:
                if not control.uses(version):
                    return False
                for item in control.status()["proxies"]:
                    if item["problem"] or item["state"] == "nacked":
                        raise RefusedError(item)
                    reports.setdefault(item["name"], []).append(item)
        for name, proxy in self.proxies.items():
            if proxy.process.poll() is None:
                mine = reports[self.instances[name].workload]
                if not any(item["connected"] and item["state"] == "synced" for item in mine):
                    return False
                if not await proxy.settled():
                    return False
        return True

    # Callers.

    def client(self, caller: str, app: str = "echo") -> Client:
        """The calls of an instance's application to a service, by way of its sidecar."""
        known = self._clients.get((caller, app))
        if known is None:
            target = f"{self.network.address(caller)}:{addresses.EGRESS}"
            options = [("grpc.default_authority", host(app)), ("grpc.max_reconnect_backoff_ms", 200)]
            known = self._clients[caller, app] = Client(grpc.aio.insecure_channel(target, options=options))
        return known

    def identity(self, identity: Identity) -> Path:
        """A folder with an identity of this mesh (`IdentityFiles`)."""
        folder = self.folder / "identities" / f"{identity.namespace}-{identity.service_account}"
        ensure(RegionalAuthority.open(self.pki, next(iter(self.controls))), identity, folder)
        return folder

    # Life.

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything, and wait until it is in step."""
        stack.push_async_callback(self._close)
        self._certify()
        for name, instance in self.instances.items():
            if instance.ingress:
                continue
            echo = self.echoes[name] = Echo(name, instance.region)
            if not instance.proxied:
                echo.address, echo.port = self.network.address(name), addresses.INBOUND
            await echo.start()
            stack.push_async_callback(echo.stop)
        self.place()
        for control in self.controls.values():
            control.start()
            stack.callback(control.kill)
        for name, proxy in self.proxies.items():
            self._prepare(name, proxy)
            proxy.start()
            stack.callback(proxy.kill)
        for control in self.controls.values():
            await eventually(control.serving, f"control plane {control.region}")
        await self.settled()

    async def _close(self) -> None:
        for client in self._clients.values():
            await client.channel.close()

    def _certify(self) -> None:
        root = RootAuthority(self.pki, "cluster.local")
        root.open_or_create()
        for region in self.controls:
            root.ensure_region(region)
            GatewayCertificates(self.pki, region).ensure("api", ["api.causeway.local"])

    def _prepare(self, name: str, proxy: Proxy) -> None:
        instance = self.instances[name]
        workload = Workload(
            role=Role.INGRESS if instance.ingress else Role.SIDECAR,
            app=name,
            region=instance.region,
            address=proxy.address,
        )
        order = sorted(self.controls.values(), key=lambda control: control.region != instance.region)
        targets = [control.listen for control in order]
        proxy.prepare(workload, targets, self.identity(instance.identity))


@asynccontextmanager
async def running(
    folder: Path, instances: Sequence[Instance], regions: Sequence[str] = (WEST,)
) -> AsyncIterator[Mesh]:
    """A mesh in step. Whatever was started is ended on leaving, however it is left."""
    async with AsyncExitStack() as stack:
        mesh = Mesh(folder, instances, regions)
        await mesh.open(stack)
        yield mesh
