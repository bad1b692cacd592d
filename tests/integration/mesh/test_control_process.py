"""`python -m mesh.control` as it is run: from Istio's manifests to calls between two sidecars."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support import ads_envoy
from support.ads_envoy import Envoy, eventually, free_port

from mesh.ir.view import Proxy, ProxyKind
from mesh.pki import bootstrap
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity
from mesh.xds.nodes import node_id

REGION = "us-west-2"
HOST = "echo.causeway.svc.cluster.local"


class Region:
    """A folder with manifests and an authority, and the addresses of two workloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        self.pki = folder / "pki"
        root = RootAuthority(self.pki, "cluster.local")
        root.open_or_create()
        root.ensure_region(REGION)
        self.port = free_port()
        block = random.randint(70, 120)
        self.addresses = {"caller": f"127.{block}.7.1", "echo": f"127.{block}.7.2"}

    def write(self, app_port: int, *, timeout: str = "5s") -> None:
        """The whole mesh."""
        common = textwrap.dedent(f"""\
            apiVersion: networking.istio.io/v1
            kind: ServiceEntry
            metadata: {{name: echo, namespace: causeway}}
            spec:
              hosts: [{HOST}]
              location: MESH_INTERNAL
              resolution: STATIC
              ports: [{{number: 8080, name: grpc, protocol: GRPC, targetPort: 9443}}]
              workloadSelector: {{labels: {{app: echo}}}}
            ---
            apiVersion: security.istio.io/v1
            kind: PeerAuthentication
            metadata: {{name: default, namespace: causeway}}
            spec: {{mtls: {{mode: STRICT}}}}
            ---
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            metadata: {{name: echo, namespace: causeway}}
            spec:
              selector: {{matchLabels: {{app: echo}}}}
              action: ALLOW
              rules: [{{from: [{{source: {{principals: [cluster.local/ns/causeway/sa/caller]}}}}]}}]
            ---
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: {{name: echo, namespace: causeway}}
            spec:
              hosts: [{HOST}]
              http: [{{route: [{{destination: {{host: {HOST}}}}}], timeout: {timeout}}}]
            """)
        parts = [common]
        for name, address in self.addresses.items():
            parts.append(
                textwrap.dedent(f"""\
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                metadata: {{name: {name}, namespace: causeway}}
                spec:
                  address: {address}
                  ports: {{grpc: 9443}}
                  labels:
                    app: {name}
                    security.istio.io/tlsMode: istio
                    inject.istio.io/templates: sidecar
                  serviceAccount: {name}
                  locality: {REGION}/{REGION}a
                """)
            )
        parts.append(
            textwrap.dedent(f"""\
            apiVersion: networking.istio.io/v1
            kind: Sidecar
            metadata: {{name: caller, namespace: causeway}}
            spec:
              workloadSelector: {{labels: {{app: caller}}}}
              egress:
              - port: {{number: 8080, protocol: GRPC, name: grpc}}
                bind: {self.addresses["caller"]}
                captureMode: NONE
                hosts: ["./*"]
            ---
            apiVersion: networking.istio.io/v1
            kind: Sidecar
            metadata: {{name: echo, namespace: causeway}}
            spec:
              workloadSelector: {{labels: {{app: echo}}}}
              ingress:
              - port: {{number: 9443, protocol: GRPC, name: grpc}}
                bind: {self.addresses["echo"]}
                captureMode: NONE
                defaultEndpoint: 127.0.0.1:{app_port}
              egress: [{{hosts: ["~/*"]}}]
            """)
        )
        self.replace("mesh.yaml", "---\n".join(parts))

    def replace(self, name: str, text: str) -> None:
        """A manifest, in one step."""
        temporary = self.folder / name
        temporary.write_text(text)
        temporary.replace(self.manifests / name)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("CAUSEWAY_")},
            "CAUSEWAY_MESH_LISTEN": f"127.0.0.1:{self.port}",
            "CAUSEWAY_MESH_REGION": REGION,
            "CAUSEWAY_MESH_MANIFESTS": str(self.manifests),
            "CAUSEWAY_MESH_PKI": str(self.pki),
            "CAUSEWAY_MESH_STATUS": str(self.folder / "status.json"),
            **more,
        }

    def status(self) -> Any:
        return json.loads((self.folder / "status.json").read_text())

    def envoy(self, stack: ExitStack, name: str) -> Envoy:
        """The sidecar of a workload."""
        identity = self.folder / "identities" / name
        authority = RegionalAuthority.open(self.pki, REGION)
        bootstrap.ensure(authority, Identity("causeway", name), identity, life=timedelta(hours=1))
        proxy = Proxy(
            name=name,
            namespace="causeway",
            kind=ProxyKind.SIDECAR,
            service_account=name,
            address=self.addresses[name],
        )
        admin = free_port()
        document = ads_envoy.bootstrap(node_id(proxy), identity, admin, self.port)
        return stack.enter_context(ads_envoy.running(self.folder / f"envoy-{name}", document, admin))

    @asynccontextmanager
    async def control(self, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The control plane's process; killed on leaving, unless it has ended."""
        with (self.folder / "control.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mesh.control", env=self.environment(**more), stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """A server behind a sidecar; its port."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def call(region: Region, seconds: float = 2.0) -> bool:
    """Whether the caller's application reaches the other through both sidecars."""
    options = [("grpc.default_authority", HOST)]
    target = f"{region.addresses['caller']}:8080"
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from error
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def states(region: Region) -> dict[str, str]:
    return {proxy["name"]: proxy["state"] for proxy in region.status()["proxies"]}


async def both_synced(region: Region) -> bool:
    return states(region) == {"caller": "synced", "echo": "synced"}


async def test_manifests_become_calls_and_calls_survive_the_control_plane(
    region: Region, stack: ExitStack
) -> None:
    async with application() as port:
        region.write(port)
        async with region.control() as process:
            for name in region.addresses:
                region.envoy(stack, name)
            await eventually(lambda: call(region), what="a call through both sidecars")
            await eventually(lambda: both_synced(region), what="synced")

            region.replace("bad.yaml", "kind: VirtualService\nspec: {hosts: [x], nonsense: 1}\n")

            async def reported() -> bool:
                return bool(region.status()["manifests"]["problems"])

            await eventually(reported, what="the report of a bad file")
            problem = region.status()["manifests"]["problems"][0]
            assert problem["file"].endswith("bad.yaml")
            assert problem["line"] > 0
            assert region.status()["manifests"]["last_good"]
            assert await call(region)
            (region.manifests / "bad.yaml").unlink()

            async def good() -> bool:
                return not region.status()["manifests"]["problems"]

            await eventually(good, what="the end of the report")
            process.kill()
            await process.wait()
        assert await call(region), "calls go on without a control plane"
        (region.folder / "status.json").unlink()
        region.write(port, timeout="6s")
        async with region.control() as process:
            took = await eventually(lambda: both_synced(region), what="synced again")
            assert await call(region)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 5.0) == 0
    # The process has to start as well, here beside other tests; a drill has the exact figure.
    assert took < 8.0


EXTRA = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: extra, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {{context: {context}}}
    patch:
      operation: {operation}
      value: {value}
"""
BAD_FILTERS = {
    "no such field": (
        {"context": "ANY", "operation": "MERGE", "value": "{no_such_field: 1}"},
        10,
        "spec.configPatches[0].patch.value.no_such_field",
        "envoy.config.cluster.v3.Cluster has no field no_such_field",
    ),
    "there already, on one of the two": (
        {"context": "SIDECAR_OUTBOUND", "operation": "ADD", "value": f"{{name: outbound|8080||{HOST}}}"},
        6,
        "spec.configPatches[0]",
        f"there is a CLUSTER outbound|8080||{HOST} already",
    ),
}


@pytest.mark.parametrize("said, line, path, words", BAD_FILTERS.values(), ids=BAD_FILTERS.keys())
async def test_an_envoy_filter_that_cannot_be_applied_changes_nothing(
    region: Region, stack: ExitStack, said: dict[str, str], line: int, path: str, words: str
) -> None:
    """Whether reading shows it or only a proxy's translation: the last good manifests stay, for proxies that
    are connected, for one that comes later, and on disk."""
    async with application() as port:
        region.write(port)
        async with region.control():
            region.envoy(stack, "caller")
            await eventually(lambda: told(region, "kept"), what="the copy of the good manifests")
            await eventually(lambda: state(region, "caller", "synced"), what="synced")
            good = region.status()["manifests"]

            region.replace("filter.yaml", EXTRA.format(**said))
            await eventually(lambda: told(region, "problems"), what="the report of a bad filter")
            # What was good in the same folder waits with it.
            region.write(port, timeout="6s")
            (problem,) = region.status()["manifests"]["problems"]
            assert problem["file"].endswith("filter.yaml")
            assert (problem["line"], problem["path"]) == (line, path)
            assert words in problem["message"]
            assert region.status()["manifests"]["last_good"]
            assert region.status()["manifests"]["version"] == good["version"]
            assert all(not proxy["problem"] for proxy in region.status()["proxies"])

            region.envoy(stack, "echo")
            await eventually(lambda: call(region), what="a call to a proxy that came later")
            await eventually(lambda: both_synced(region), what="synced")
        (region.folder / "status.json").unlink()
        async with region.control():
            await eventually(lambda: both_synced(region), what="synced, from the copy")
            manifests = region.status()["manifests"]
            assert (manifests["version"], manifests["last_good"]) == (good["version"], True)
            (region.manifests / "filter.yaml").unlink()
            await eventually(lambda: not_told(region, "problems"), what="the end of the report")
            assert not region.status()["manifests"]["last_good"]
            assert region.status()["manifests"]["version"] != good["version"]
            assert await call(region)


async def told(region: Region, what: str) -> bool:
    """Whether the control plane says something of the manifests."""
    return (region.folder / "status.json").exists() and bool(region.status()["manifests"][what])


async def not_told(region: Region, what: str) -> bool:
    return not await told(region, what)


async def state(region: Region, name: str, wanted: str) -> bool:
    return states(region)[name] == wanted


async def test_a_control_plane_that_starts_with_a_bad_file_uses_the_last_good_manifests(
    region: Region, stack: ExitStack
) -> None:
    async with application() as port:
        region.write(port)
        async with region.control():

            async def kept() -> bool:
                return (region.folder / "status.json").exists() and bool(region.status()["manifests"]["kept"])

            await eventually(kept, what="the copy of the good manifests")
        good = region.status()["manifests"]["version"]
        region.replace("bad.yaml", "kind: [\n")
        (region.folder / "status.json").unlink()
        async with region.control():
            for name in region.addresses:
                region.envoy(stack, name)
            await eventually(lambda: call(region), what="a call")
            await eventually(lambda: both_synced(region), what="synced")
            manifests = region.status()["manifests"]
            assert manifests["last_good"]
            assert manifests["version"] == good
            assert manifests["problems"][0]["file"].endswith("bad.yaml")


@pytest.mark.parametrize(
    "settings, code, words",
    [
        ({"CAUSEWAY_MESH_REGION": "eu-north-1"}, 1, "regions/eu-north-1/authority.pem does not exist"),
        ({"CAUSEWAY_MESH_LISTEN": "nonsense"}, 2, "CAUSEWAY_MESH_LISTEN"),
        ({"CAUSEWAY_MESH_MANIFESTS": " , "}, 2, "CAUSEWAY_MESH_MANIFESTS"),
        ({"CAUSEWAY_MESH_COLOUR": "red"}, 2, "CAUSEWAY_MESH_COLOUR"),
        ({"CAUSEWAY_LOG_LEVEL": "loud"}, 2, "loud"),
    ],
)
async def test_wrong_settings_end_it_with_a_sentence(
    region: Region, settings: dict[str, str], code: int, words: str
) -> None:
    region.write(1)
    async with region.control(**settings) as process:
        assert await asyncio.wait_for(process.wait(), 20.0) == code
    said = (region.folder / "control.log").read_text()
    assert words in said
    assert "Traceback" not in said
