"""The whole mesh of `causeway up` over two regions, from the manifests in istio/ and the supervisor's own
files: every control plane and every Envoy is real, and small servers stand where the applications would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2
from support.mesh_echo import Client, Echo
from support.mesh_processes import ControlPlane, Proxy, RefusedError, eventually

from mesh.local import addresses, assembly, services
from mesh.local.issuer import AUDIENCE, ISSUER, Issuer
from mesh.local.layout import Layout
from mesh.local.mesh_files import MeshFiles
from mesh.local.names import DEFAULT_REGIONS, PROXIED, DataPlane, Shape, in_region
from mesh.local.topology_files import PLATFORM_HOST
from mesh.local.workloads import Workload, service_host
from mesh.xds.protos import external_auth_pb2, rls_pb2
from services.common.errors import DomainError
from services.policy.decisions import RoleTable
from services.policy.edge import Edge, EdgeRequest
from services.policy.envoy.authorization import allowed, denied
from services.policy.envoy.claims import claims_of

HEALTH = "/grpc.health.v1.Health/Check"
ASK = "/envoy.service.auth.v3.Authorization/Check"
LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

Sources = Callable[[Layout, str], Sequence[Path]]
"""What a region's control plane reads: files, and folders with a kustomization or without."""


def _healthy(_: bytes) -> bytes:
    serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
    return bytes(serving.SerializeToString())


def _decided(request: bytes) -> bytes:
    """As the policy service decides."""
    attributes = external_auth_pb2.CheckRequest.FromString(request).attributes
    http = attributes.request.http
    asked = EdgeRequest(
        path=http.path, claims=claims_of(attributes.metadata_context, "payload"), headers=tuple(http.headers)
    )
    try:
        answer = allowed(Edge(RoleTable(), ISSUER, AUDIENCE).admit(asked))
    except DomainError as error:
        answer = denied(error, "", grpc_client=True)
    return bytes(answer.SerializeToString())


def _within(_: bytes) -> bytes:
    answer = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)
    return bytes(answer.SerializeToString())


SERVES = {HEALTH: _healthy, ASK: _decided, LIMIT: _within}
"""What proxies ask a server, and what it answers when all is well."""


class Platform:
    """See the module. Made by `running`."""

    def __init__(self, home: Path, sources: Sources, data_plane: DataPlane, shared: Collection[str]) -> None:
        self._sources = sources
        self.layout = Layout(home)
        self.layout.create()
        self.shape = Shape(DEFAULT_REGIONS, data_plane)
        self.plan = assembly.make_plan(self.layout, self.shape)
        self.issuer = Issuer(self.layout)
        self.issuer.publish()
        self.files = MeshFiles(self.layout, self.plan, shared)
        self.workloads: dict[str, Workload] = {item.process: item for item in self.plan.workloads}
        self.echoes: dict[str, Echo] = {}
        self.proxies: dict[str, Proxy] = {}
        self.controls: list[ControlPlane] = []

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything, and wait until all are in step."""
        for region in self.shape.regions:
            for app in PROXIED:
                name = in_region(app, region)
                echo = self.echoes[name] = Echo(name, region, port=self.plan.port(app, region))
                echo.serves = SERVES
                await echo.start()
                stack.push_async_callback(echo.stop)
        self.files.write()
        for region in self.shape.regions:
            sources = self._sources(self.layout, region)
            address = self.plan.address("control", region)
            control = ControlPlane(self.layout.home, region, address, sources, self.layout.pki)
            control.start()
            stack.callback(control.kill)
            self.controls.append(control)
        # First, so that each proxy goes to its own: the other region's has the other region's manifests.
        for control in self.controls:
            await eventually(control.serving, f"control plane {control.region}")
        for process, workload in self.workloads.items():
            proxy = self.proxies[process] = Proxy(
                self.layout.proxy(process), workload.address, workload.region
            )
            proxy.start()
            stack.callback(proxy.kill)
        await eventually(self.in_step, "proxies in step")

    async def taken_over(self, what: str) -> None:
        """Wait until every control plane uses the manifests as they are now."""
        for control in self.controls:
            version = control.expected()

            async def used(control: ControlPlane = control, version: str = version) -> bool:
                return control.uses(version)

            await eventually(used, f"{what} in {control.region}")

    async def in_step(self) -> bool:
        """Whether every proxy that runs has taken all that its own control plane sent it; the front has
        none. Raises RefusedError when one has refused."""
        synced = set()
        for control in self.controls:
            for item in control.status()["proxies"]:
                if item["problem"] or item["state"] == "nacked":
                    raise RefusedError(item)
                if item["connected"] and item["state"] == "synced":
                    synced.add((item["namespace"], item["name"], control.region))
        running = [name for name, proxy in self.proxies.items() if proxy.process.poll() is None]
        homes = {control.region for control in self.controls if control.runs}
        for name in running:
            workload = self.workloads[name]
            wanted = homes & {workload.region} or homes
            if not any((workload.namespace, workload.name, home) in synced for home in wanted):
                return False
        return all([await self.proxies[name].settled() for name in running])

    def token(self, *roles: str) -> str:
        """What a caller shows."""
        return f"Bearer {self.issuer.mint('acme', 'ada', roles or ('admin',), 600)}"

    @asynccontextmanager
    async def outside(self, address: str = "", name: str = PLATFORM_HOST) -> AsyncIterator[Client]:
        """A client of the front, or of another address."""
        credentials = grpc.ssl_channel_credentials(self.layout.ca.read_bytes())
        options = [("grpc.ssl_target_name_override", name), ("grpc.enable_retries", 0)]
        target = address or self.plan.front
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            yield Client(channel)

    @asynccontextmanager
    async def inside(self, caller: str, region: str, app: str) -> AsyncIterator[Client]:
        """An application that calls another by way of its own sidecar."""
        target = self.plan.target(caller, app, region)
        options = [("grpc.default_authority", service_host(app))]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            yield Client(channel)

    def ingress(self, region: str) -> str:
        """Where a region's ingress takes calls from outside."""
        return f"{self.plan.address('ingress', region)}:{addresses.HTTPS}"

    def of_region(self, region: str) -> list[Proxy]:
        """Every proxy of a region, its ingress included."""
        return [self.proxies[name] for name, item in self.workloads.items() if item.region == region]


@asynccontextmanager
async def running(
    home: Path,
    sources: Sources = services.manifests,
    data_plane: DataPlane = DataPlane.SIDECAR,
    shared: Collection[str] = (),
) -> AsyncIterator[Platform]:
    """The mesh in step; whatever was started is ended on leaving. `sources` are what the control planes read
    in place of what `causeway up` has them read; `shared` are the services with several workers."""
    async with AsyncExitStack() as stack:
        platform = Platform(home, sources, data_plane, shared)
        await platform.open(stack)
        yield platform
