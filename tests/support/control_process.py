"""`python -m mesh.control` as a process, with the manifests of two workloads, their sidecars, and a call."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support import ads_envoy
from support.ads_envoy import Envoy, free_port

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
