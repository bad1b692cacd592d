"""The examples in istio/ on a running platform: applied as a folder to one region, with a new version of a
service beside the old one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from support.mesh_echo import Echo
from support.mesh_istio import SERVES, Platform
from support.mesh_processes import Proxy, eventually

from mesh.local import addresses
from mesh.local.files import write_atomic
from mesh.local.layout import Layout
from mesh.local.services import ISTIO
from mesh.local.topology_files import Document, manifest
from mesh.local.workloads import NAMESPACE, Role, Workload
from mesh.local.yaml_writer import documents
from mesh.pki.bootstrap import ensure
from mesh.pki.regional import RegionalAuthority
from mesh.pki.svid import Identity

REGION = "us-west-2"
"""The one that the examples are written for."""
_CLUSTER = f"../../clusters/{REGION}"
_OVERLAY = ISTIO / "overlays" / REGION


def sources(layout: Layout, region: str) -> Sequence[Path]:
    """What a region's control plane reads: `REGION`'s reads what is applied to it."""
    applied, versions = _applied(layout), _versions(layout)
    if not applied.exists():
        applied.mkdir()
        versions.mkdir()
        _apply(applied, "")
    overlay = applied if region == REGION else ISTIO / "overlays" / region
    # Of two Sidecars that select a workload, the one that is read first counts: the new version's own.
    return (ISTIO / "mesh.yaml", overlay, versions, layout.topology)


async def apply(platform: Platform, example: str) -> None:
    """Have an example's folder in use, and no other; with an empty name, none."""
    _apply(_applied(platform.layout), example)
    await platform.taken_over(f"istio/examples/{example}")
    await eventually(platform.in_step, "proxies in step")


@asynccontextmanager
async def another(platform: Platform, app: str, version: str) -> AsyncIterator[Echo]:
    """Another version of a service in `REGION`, in a pod of its own, for as long as the context is open."""
    workload = Workload(
        role=Role.SIDECAR, app=f"{app}-{version}", region=REGION, address=_free_address(platform)
    )
    echo = Echo(workload.process, REGION)
    echo.serves = SERVES
    await echo.start()
    identity = platform.layout.home / workload.name
    ensure(RegionalAuthority.open(platform.layout.pki, REGION), Identity(NAMESPACE, app), identity)
    pod = _versions(platform.layout) / f"{workload.name}.yaml"
    write_atomic(pod, documents(_pod(workload, app, version, echo.port)).encode())
    proxy = Proxy(platform.layout.proxy(workload.process), workload.address, REGION)
    proxy.prepare(workload, platform.plan.control_planes(REGION), identity)
    proxy.start()
    platform.workloads[workload.process], platform.proxies[workload.process] = workload, proxy
    try:
        await platform.taken_over(f"{app} {version}")
        await eventually(platform.in_step, f"{app} {version} in step")
        yield echo
    finally:
        del platform.workloads[workload.process], platform.proxies[workload.process]
        pod.unlink()
        proxy.kill()
        await echo.stop()


def _applied(layout: Layout) -> Path:
    return layout.home / "applied"


def _versions(layout: Layout) -> Path:
    return layout.home / "versions"


def _apply(folder: Path, example: str) -> None:
    """As the example says, over what `causeway up` reads where a cluster has more."""
    overlay = os.path.relpath(_OVERLAY, folder)
    text = f"resources: [{overlay}]\n"
    if example:
        source = ISTIO / "examples" / example
        text = (source / "kustomization.yaml").read_text()
        assert text.count(_CLUSTER) == 1, "an example stands on its region's cluster"
        text = text.replace(_CLUSTER, overlay)
        for part in source.iterdir():
            write_atomic(folder / f"{example}-{part.name}", part.read_bytes())
            text = text.replace(f"path: {part.name}", f"path: {example}-{part.name}")
    write_atomic(folder / "kustomization.yaml", text.encode())


def _free_address(platform: Platform) -> str:
    assert platform.plan.network is not None
    return f"{platform.plan.network.prefix}.{max(platform.plan.network.hosts.values()) + 1}"


def _pod(workload: Workload, app: str, version: str, port: int) -> list[Document]:
    entry: Document = {
        "address": workload.address,
        "ports": {"grpc": addresses.INBOUND},
        "labels": {"app": app, "version": version, "security.istio.io/tlsMode": "istio"},
        "serviceAccount": app,
        "locality": workload.locality,
    }
    inbound: Document = {
        "port": {"number": addresses.INBOUND, "protocol": "GRPC", "name": "grpc"},
        "bind": workload.address,
        "captureMode": "NONE",
        "defaultEndpoint": f"127.0.0.1:{port}",
    }
    sidecar: Document = {
        "workloadSelector": {"labels": {"app": app, "version": version}},
        "ingress": [inbound],
        "egress": [{"hosts": ["~/*"]}],
    }
    return [
        manifest("WorkloadEntry", NAMESPACE, workload.name, entry),
        manifest("Sidecar", NAMESPACE, workload.name, sidecar),
    ]
