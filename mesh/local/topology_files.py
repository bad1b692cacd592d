"""Writes down where workloads run, in Istio's own words, for the control planes to read.

A cluster learns this from its Services and pods; machines outside Kubernetes, and this one, are described by
ServiceEntry and WorkloadEntry. A Sidecar per workload stands in for what iptables does in a pod: which
address the proxy listens on, and where the application is. Rendering is pure; `write` keeps the folder in
step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from mesh.local import addresses, front_files
from mesh.local.files import write_atomic
from mesh.local.names import FRONT, in_region
from mesh.local.workloads import (
    CALLS,
    FRONT_NAMESPACE,
    INGRESS_NAMESPACE,
    NAMESPACE,
    SERVICE_PORTS,
    Role,
    Workload,
    service_host,
)
from mesh.local.yaml_writer import Plain, documents

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"

PLATFORM_HOST = "api.causeway.local"
"""What people call the platform; a region's own ingress is `us-west-2.api.causeway.local`."""

INGRESS_CREDENTIAL = "causeway-ingress"
FRONT_CREDENTIAL = "causeway-front"
"""Names of the certificates that people's clients see."""

REGION_LABEL = "topology.kubernetes.io/region"
DRAINING_LABEL = "istio.io/draining"

_COMMENT = "Written by `causeway up`, and written anew whenever the platform changes: edits are lost."

Document = Mapping[str, Plain]


def render(
    workloads: Iterable[Workload],
    issuer: str,
    jwks: str,
    draining: Collection[str] = (),
    shared: Collection[str] = (),
) -> dict[str, str]:
    """File name to text, for the whole topology.

    `issuer` and `jwks` are the development issuer's name and public keys; `draining` names regions whose
    workloads keep their streams and get no new ones; `shared` names services, as `gateway@us-west-2`, whose
    port several workers share.
    """
    every = tuple(workloads)
    regions = list(dict.fromkeys(workload.region for workload in every if workload.region))
    files: dict[str, list[Document]] = {"services.yaml": _services(), "issuer.yaml": _issuer(issuer, jwks)}
    for region in regions:
        here = [workload for workload in every if workload.region == region]
        files[f"workloads-{region}.yaml"] = [_entry(item, draining=region in draining) for item in here]
        files[f"sidecars-{region}.yaml"] = [
            _sidecar(item, shared=in_region(item.app, region) in shared)
            for item in here
            if item.role is Role.SIDECAR
        ]
    fronts = [workload for workload in every if workload.role is Role.FRONT]
    files["workloads-front.yaml"] = [_entry(front, draining=False) for front in fronts]
    files["front.yaml"] = front_files.manifests([PLATFORM_HOST], FRONT_CREDENTIAL)
    return {name: documents(items, _COMMENT) for name, items in files.items()}


def gateways(regions: Collection[str]) -> dict[str, str]:
    """The Gateway of each region, for regions that have no overlay of their own in `istio/overlays`."""
    return {f"{region}.yaml": documents([_gateway(region)], _COMMENT) for region in regions}


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Make `folder` hold exactly these manifests; the names of the files that changed.

    Each file changes in one step, and one that says the same already is left alone: whoever watches the
    folder sees only what is new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            write_atomic(path, text.encode(), mode=0o644)
            changed.append(name)
    for stale in sorted(folder.glob("*.yaml")):
        if stale.name not in files:
            stale.unlink()
            changed.append(stale.name)
    return changed


def manifest(kind: str, namespace: str, name: str, spec: Document, api: str = NETWORKING) -> Document:
    """One manifest."""
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _services() -> list[Document]:
    https = _port(443, "https", "HTTPS", addresses.HTTPS)
    # What arrives at this port is HTTP/2 inside the mesh's own mutual TLS.
    https_mesh = _port(8443, "https-mesh", "GRPC", addresses.HTTPS_MESH)
    return [
        *(
            _service(app, NAMESPACE, [_port(number, "grpc", "GRPC", addresses.INBOUND)], INGRESS_NAMESPACE)
            for app, number in SERVICE_PORTS.items()
        ),
        _service("ingress", INGRESS_NAMESPACE, [https, https_mesh], FRONT_NAMESPACE),
        _service(FRONT, FRONT_NAMESPACE, [https]),
    ]


def _port(number: int, name: str, protocol: str, target: int) -> Document:
    return {"number": number, "name": name, "protocol": protocol, "targetPort": target}


def _service(app: str, namespace: str, ports: list[Plain], *callers: str) -> Document:
    """A service; `callers` are the namespaces, beside its own, that may know of it."""
    spec: Document = {
        "hosts": [service_host(app, namespace)],
        "exportTo": [".", *callers],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": ports,
        "workloadSelector": {"labels": {"app": app}},
    }
    return manifest("ServiceEntry", namespace, app, spec)


def _entry(workload: Workload, *, draining: bool) -> Document:
    labels: dict[str, Plain] = {
        "app": workload.app,
        "version": "v1",
        "security.istio.io/tlsMode": "istio",
    }
    if workload.region:
        labels[REGION_LABEL] = workload.region
    match workload.role:
        case Role.SIDECAR:
            labels["inject.istio.io/templates"] = "sidecar"
        case Role.INGRESS:
            labels |= {"inject.istio.io/templates": "gateway", "istio": "ingressgateway"}
        case Role.FRONT:
            labels |= {"inject.istio.io/templates": "gateway", "istio": "front"}
    if draining:
        labels[DRAINING_LABEL] = "true"
    spec: dict[str, Plain] = {"address": workload.address}
    if workload.app in SERVICE_PORTS:
        spec["ports"] = {"grpc": addresses.INBOUND}
    elif workload.role is Role.INGRESS:
        spec["ports"] = {"https": addresses.HTTPS, "https-mesh": addresses.HTTPS_MESH}
    elif workload.role is Role.FRONT:
        spec["ports"] = {"https": addresses.HTTPS}
    spec |= {"labels": labels, "serviceAccount": workload.service_account}
    if workload.locality:
        spec["locality"] = workload.locality
    return manifest("WorkloadEntry", workload.namespace, workload.name, spec)


def _sidecar(workload: Workload, *, shared: bool) -> Document:
    spec: dict[str, Plain] = {
        "workloadSelector": {"labels": {"app": workload.app, REGION_LABEL: workload.region}}
    }
    if workload.app in SERVICE_PORTS:
        listener: dict[str, Plain] = {
            "port": {"number": addresses.INBOUND, "protocol": "GRPC", "name": "grpc"},
            "bind": workload.address,
            "captureMode": "NONE",
            "defaultEndpoint": f"127.0.0.1:{workload.app_port}",
        }
        if shared:
            # The kernel gives each connection to one worker: with all calls on one, the others are idle.
            listener["connectionPool"] = {"http": {"maxConcurrentStreams": 1}}
        spec["ingress"] = [listener]
    spec["egress"] = _egress(workload)
    return manifest("Sidecar", workload.namespace, workload.name, spec)


def _egress(workload: Workload) -> list[Plain]:
    """A listener for each port that the application dials, with the services it calls there and no others."""
    called = CALLS.get(workload.app, ())
    listeners: list[Plain] = []
    for number in sorted({SERVICE_PORTS[app] for app in called}):
        hosts = [f"./{service_host(app)}" for app in called if SERVICE_PORTS[app] == number]
        listeners.append(
            {
                "port": {"number": number, "protocol": "GRPC", "name": f"grpc-{number}"},
                "bind": workload.address,
                "captureMode": "NONE",
                "hosts": hosts,
            }
        )
    return listeners or [{"hosts": ["~/*"]}]


def _gateway(region: str) -> Document:
    hosts: list[Plain] = [PLATFORM_HOST, f"{region}.{PLATFORM_HOST}"]
    https: Document = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": hosts,
        "tls": {
            "mode": "SIMPLE",
            "credentialName": INGRESS_CREDENTIAL,
            "minProtocolVersion": "TLSV1_2",
        },
    }
    https_mesh: Document = {
        "port": {"number": 8443, "name": "https-mesh", "protocol": "HTTPS"},
        "hosts": hosts,
        "tls": {"mode": "ISTIO_MUTUAL"},
    }
    spec: Document = {"selector": {"istio": "ingressgateway"}, "servers": [https, https_mesh]}
    return manifest("Gateway", INGRESS_NAMESPACE, "ingress", spec)


def _issuer(issuer: str, jwks: str) -> list[Document]:
    """What istio/clusters/common/issuer.yaml says, with the keys themselves: nothing here serves the issuer's
    URI."""
    spec: Document = {
        "selector": {"matchLabels": {"istio": "ingressgateway"}},
        "jwtRules": [
            {
                "issuer": issuer,
                "audiences": ["causeway"],
                "jwks": jwks,
                "forwardOriginalToken": True,
            }
        ],
    }
    return [manifest("RequestAuthentication", INGRESS_NAMESPACE, "issuer", spec, SECURITY)]
