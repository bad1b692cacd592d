"""The environment each Python service is started with. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from mesh.local import addresses, issuer, postgres, proxyless, triton, valkey
from mesh.local.layout import Layout
from mesh.local.names import SIDECAR, DataPlane, Member, in_region
from mesh.local.plan import LOOPBACK, Plan
from mesh.local.settings import ROOT, Settings
from mesh.local.workloads import CALLS, INGRESS_IDENTITY, service_host

ISTIO = ROOT / "istio"
"""The manifests that a cluster applies."""

MODULES = {
    "policy": "services.policy",
    "session": "services.session",
    "retrieval": "services.retrieval",
    "indexer": "services.retrieval.indexer",
    "gateway": "services.gateway",
}

WORKERS = "CAUSEWAY_WORKERS"
"""Processes of a service that share its port; 0 for one per core."""

_NEEDS = {
    "policy": ("postgres", "valkey"),
    "session": ("postgres",),
    "retrieval": ("postgres", "relay", "valkey", "milvus"),
    "indexer": ("postgres", "relay", "valkey", "milvus"),
    "gateway": (),
}
_IDENTITY = {"indexer": "retrieval"}
"""Whose database role and Valkey user a process uses, when not its own."""


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """Runs a module with this interpreter, without the current folder on its path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_path() -> dict[str, str]:
    """Lets children import what this process imports, installed or not."""
    folders = [ROOT, ROOT / "gen/python"]
    return {
        "PYTHONPATH": ":".join(str(folder) for folder in folders if folder.is_dir()),
        "PYTHONUNBUFFERED": "1",
    }


def sharing(settings: Settings, regions: Iterable[str]) -> set[str]:
    """The services, as `gateway@us-west-2`, that have several workers on one port."""
    return {
        in_region(service, region)
        for service in MODULES
        for region in regions
        if settings.environment(service, region).get(WORKERS, str(settings.workers)) != "1"
    }


def common(settings: Settings, layout: Layout, port: int, region: str) -> dict[str, str]:
    """What every service is told."""
    return {
        **python_path(),
        "CAUSEWAY_LISTEN": f"{LOOPBACK}:{port}",
        WORKERS: str(settings.workers),
        "CAUSEWAY_DRAIN": settings.drain,
        "CAUSEWAY_LOG_LEVEL": settings.log_level,
        "CAUSEWAY_REGION": region or settings.region,
        "CAUSEWAY_AUTH_ISSUER": issuer.ISSUER,
        "CAUSEWAY_AUTH_AUDIENCE": issuer.AUDIENCE,
        "CAUSEWAY_AUTH_JWKS_URI": layout.jwks.as_uri(),
    }


def peer(name: str, target: str) -> dict[str, str]:
    """Where a peer is dialled and what it is called."""
    key = f"CAUSEWAY_{name.upper()}"
    return {f"{key}_TARGET": target, f"{key}_AUTHORITY": service_host(name)}


def database(layout: Layout, port: int, role: str, prefix: str = "CAUSEWAY_POSTGRES") -> dict[str, str]:
    """How to connect to PostgreSQL as `role`."""
    return {
        f"{prefix}_DSN": postgres.dsn(port, role),
        f"{prefix}_PASSWORD_FILE": str(postgres.password_file(layout, role)),
    }


def environment(member: Member, settings: Settings, layout: Layout, plan: Plan) -> dict[str, str]:
    """The whole environment of a service's process, beyond the base one."""
    name, region = member.program, member.region
    identity = _IDENTITY.get(name, name)
    env = common(settings, layout, plan.port(name, region), region)
    if name == "indexer":
        env["CAUSEWAY_WORKERS"] = "1"
    for need in _NEEDS[name]:
        match need:
            case "postgres":
                env |= database(layout, plan.port("postgres"), identity)
            case "relay":
                env |= database(layout, plan.port("postgres"), "retrieval_relay", "CAUSEWAY_RELAY_POSTGRES")
            case "valkey":
                env["CAUSEWAY_VALKEY_URL"] = valkey.url(plan.port("valkey"), identity)
                env["CAUSEWAY_VALKEY_PASSWORD_FILE"] = str(valkey.password_file(layout, identity))
            case "milvus":
                env["CAUSEWAY_MILVUS_URI"] = f"http://{LOOPBACK}:{plan.port('milvus')}"
    if name == "gateway":
        env["CAUSEWAY_RESUME_KEY_FILE"] = str(resume_key(layout))
    if name == "policy" and plan.shape.has_mesh:
        env["CAUSEWAY_EDGE_ENABLED"] = "true"
        env["CAUSEWAY_EDGE_CALLERS"] = INGRESS_IDENTITY.uri
    for called in CALLS.get(name, ()):
        env |= peer(called, plan.target(name, called, region))
    if plan.shape.data_plane is DataPlane.PROXYLESS and name in CALLS:
        env["GRPC_XDS_BOOTSTRAP"] = str(layout.proxy(in_region(SIDECAR + name, region)) / proxyless.FILE)
    return {**env, **settings.environment(name, region)}


def resume_key(layout: Layout) -> Path:
    """The key by which gateways of all regions know one another's word for what a client has already read."""
    return layout.password("gateway-resume")


def migrations(layout: Layout, port: int) -> dict[str, str]:
    """The environment of the one-shot that brings the schema up to date, as the tables' owner."""
    return {**python_path(), **database(layout, port, postgres.OWNER)}


def control(member: Member, settings: Settings, layout: Layout, plan: Plan) -> dict[str, str]:
    """The environment of a region's control plane."""
    region = member.region
    return {
        **python_path(),
        "CAUSEWAY_MESH_LISTEN": f"{plan.address('control', region)}:{addresses.XDS}",
        "CAUSEWAY_MESH_REGION": region,
        "CAUSEWAY_MESH_MANIFESTS": ",".join(str(path) for path in manifests(layout, region)),
        "CAUSEWAY_MESH_PKI": str(layout.pki),
        "CAUSEWAY_MESH_STATUS": str(layout.control_status(region)),
        "CAUSEWAY_LOG_LEVEL": settings.log_level,
        **settings.environment("control", region),
    }


def manifests(layout: Layout, region: str) -> tuple[Path, ...]:
    """What a region's control plane reads: what a cluster there would apply (`istio/clusters`), with this
    machine's topology in the place of what only a cluster has. A region without an overlay gets one
    written."""
    overlay = ISTIO / "overlays" / region
    own = (overlay,) if overlay.is_dir() else (ISTIO / "base", layout.overlays / f"{region}.yaml")
    return (ISTIO / "mesh.yaml", *own, layout.topology)


def watchdog(member: Member, settings: Settings, layout: Layout, plan: Plan) -> dict[str, str]:
    """The environment of the canary that watches a Triton's models, from beside it and past the mesh."""
    return {
        **python_path(),
        **peer("triton", f"{LOOPBACK}:{plan.port('triton', member.region)}"),
        "CAUSEWAY_WATCHDOG_STATUS": str(layout.watchdog_status(member.name)),
        "CAUSEWAY_WATCHDOG_MODELS": ",".join(triton.MODELS),
        "CAUSEWAY_LOG_LEVEL": settings.log_level,
        **settings.environment("watchdog", member.region),
    }
