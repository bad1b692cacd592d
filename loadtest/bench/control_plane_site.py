"""Meshes of any size for the benchmark of the control plane: their manifests, and a control plane of its own.

A mesh has 100 services, each with its ServiceEntry, DestinationRule, VirtualService, AuthorizationPolicy and,
when `scoped`, a Sidecar in a file of its own, and its WorkloadEntries in another. Nothing listens at the
workloads' addresses: no call is ever made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from loadtest.bench.report import BenchError
from loadtest.bench.signals import undisturbed
from mesh.local import ports
from mesh.local.files import write_atomic
from mesh.local.layout import Layout
from mesh.local.plan import LOOPBACK
from mesh.local.services import ISTIO, command, python_path
from mesh.local.spawn import base_environ, spawn
from mesh.local.topology_files import REGION_LABEL, SECURITY, Document, manifest
from mesh.local.workloads import NAMESPACE, TRUST_DOMAIN, service_host
from mesh.local.yaml_writer import Plain, documents
from mesh.pki.root import RootAuthority

REGIONS = ("us-west-2", "us-east-1")
SERVICES = 100
CALLED = 5
"""Services that a scoped workload may call."""
PORT, TARGET_PORT = 8080, 9443
STOP_LIMIT = 10.0


def name_of(service: int) -> str:
    """What a service is called."""
    return f"service-{service}"


def workload_name(service: int, number: int) -> str:
    """What one of its workloads is called."""
    return f"{name_of(service)}-{number}"


def address_of(service: int, number: int, version: int = 0) -> str:
    """Where a workload is; another version is another address."""
    return f"10.{service}.{version % 250}.{number}"


def service_manifests(service: int, *, scoped: bool) -> list[Document]:
    """What a service says of itself."""
    name, host = name_of(service), service_host(name_of(service))
    retries: Document = {
        "attempts": 2,
        "perTryTimeout": "2s",
        "retryOn": "connect-failure,refused-stream,unavailable,reset",
        "retryRemoteLocalities": True,
    }
    selector: Document = {"matchLabels": {"app": name}}
    caller = f"{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{name_of((service + 1) % SERVICES)}"
    rule: Document = {
        "host": host,
        "trafficPolicy": {
            "tls": {"mode": "ISTIO_MUTUAL"},
            "connectionPool": {"http": {"http2MaxRequests": 10_000, "maxRetries": 1_000}},
            "loadBalancer": {"simple": "LEAST_REQUEST"},
            "outlierDetection": {"consecutive5xxErrors": 5, "interval": "1s", "maxEjectionPercent": 100},
        },
    }
    entry: Document = {
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": PORT, "name": "grpc", "protocol": "GRPC", "targetPort": TARGET_PORT}],
        "workloadSelector": {"labels": {"app": name}},
    }
    route: Document = {"route": [{"destination": {"host": host}}], "timeout": "6s", "retries": retries}
    access: Document = {
        "selector": selector,
        "action": "ALLOW",
        "rules": [{"from": [{"source": {"principals": [caller]}}]}],
    }
    made = [
        manifest("ServiceEntry", NAMESPACE, name, entry),
        manifest("DestinationRule", NAMESPACE, name, rule),
        manifest("VirtualService", NAMESPACE, name, {"hosts": [host], "http": [route]}),
        manifest("AuthorizationPolicy", NAMESPACE, name, access, SECURITY),
    ]
    if scoped:
        hosts: list[Plain] = [
            f"./{service_host(name_of((service + step) % SERVICES))}" for step in range(CALLED)
        ]
        sidecar: Document = {"workloadSelector": {"labels": {"app": name}}, "egress": [{"hosts": hosts}]}
        made.append(manifest("Sidecar", NAMESPACE, name, sidecar))
    return made


def workload_manifest(service: int, number: int, version: int = 0) -> Document:
    """One workload. Every other one is in the other region."""
    name, region = name_of(service), REGIONS[number % len(REGIONS)]
    labels: Document = {
        "app": name,
        "version": "v1",
        "security.istio.io/tlsMode": "istio",
        "inject.istio.io/templates": "sidecar",
        REGION_LABEL: region,
    }
    spec: Document = {
        "address": address_of(service, number, version),
        "ports": {"grpc": TARGET_PORT},
        "labels": labels,
        "serviceAccount": name,
        "locality": f"{region}/{region}a",
    }
    return manifest("WorkloadEntry", NAMESPACE, workload_name(service, number), spec)


@dataclass(frozen=True, slots=True)
class Site:
    """One mesh in a folder."""

    layout: Layout
    workloads: int
    """A multiple of the number of services."""
    port: int
    """Where its control plane listens."""

    @property
    def each(self) -> int:
        """Workloads of a service."""
        return self.workloads // SERVICES

    @property
    def folder(self) -> Path:
        """The manifests of this mesh."""
        return self.layout.mesh / f"manifests-{self.workloads}"

    @property
    def sources(self) -> tuple[Path, ...]:
        """All that the control plane reads."""
        return (ISTIO / "mesh.yaml", ISTIO / "base/mutual-tls.yaml", self.folder)

    @property
    def target(self) -> str:
        """Where its control plane listens."""
        return f"{LOOPBACK}:{self.port}"

    def write(self, *, scoped: bool = False) -> None:
        """All manifests."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for service in range(SERVICES):
            self._write(f"{name_of(service)}.yaml", service_manifests(service, scoped=scoped))
            self.write_workloads(service)

    def write_workloads(self, service: int, version: int = 0) -> str:
        """A service's workloads, of which the last is at another address in every version; that address."""
        self.replace_workloads(service, self.workloads_file(service, version))
        return address_of(service, self.each - 1, version)

    def replace_workloads(self, service: int, content: bytes) -> None:
        """Puts what `workloads_file` made in the place of a service's workloads."""
        write_atomic(self.folder / f"workloads-{service}.yaml", content, mode=0o644)

    def workloads_file(self, service: int, version: int = 0) -> bytes:
        """What `write_workloads` writes."""
        last = self.each - 1
        made = [workload_manifest(service, number) for number in range(last)]
        return documents([*made, workload_manifest(service, last, version)]).encode()

    def _write(self, name: str, items: list[Document]) -> None:
        write_atomic(self.folder / name, documents(items).encode(), mode=0o644)


def build(layout: Layout, workloads: int, *, scoped: bool = False) -> Site:
    """A mesh of so many workloads, its authority included."""
    layout.create()
    root = RootAuthority(layout.pki, TRUST_DOMAIN)
    root.open_or_create()
    root.ensure_region(REGIONS[0])
    site = Site(layout, workloads, ports.choose(["control"], {})["control"])
    site.write(scoped=scoped)
    return site


@asynccontextmanager
async def control_plane(site: Site) -> AsyncIterator[int]:
    """`python -m mesh.control` over a site; yields its process's number. It ends with this process."""
    layout = site.layout
    environment = {
        **base_environ(layout.home),
        **python_path(),
        "CAUSEWAY_MESH_LISTEN": site.target,
        "CAUSEWAY_MESH_REGION": REGIONS[0],
        "CAUSEWAY_MESH_MANIFESTS": ",".join(str(path) for path in site.sources),
        "CAUSEWAY_MESH_PKI": str(layout.pki),
        "CAUSEWAY_MESH_STATUS": str(layout.control_status(REGIONS[0])),
        "CAUSEWAY_LOG_LEVEL": "warning",
    }
    layout.logs.mkdir(exist_ok=True)
    with layout.log("control").open("ab") as log:
        child = await _start(environment, layout, log)
    try:
        yield child.pid
        if child.returncode is not None:
            raise BenchError(f"the control plane ended: {_tail(layout)}")
    finally:
        with undisturbed():
            await _stop(child)


async def _start(environment: dict[str, str], layout: Layout, log: IO[bytes]) -> asyncio.subprocess.Process:
    return await spawn(command("mesh.control"), env=environment, cwd=layout.home, output=log)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _tail(layout: Layout) -> str:
    return layout.log("control").read_text("utf-8", "replace").strip()[-400:] or "without a word"
