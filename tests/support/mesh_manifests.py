"""Manifests for tests: as a person writes them, and as the supervisor says where workloads run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.local import addresses
from mesh.local.addresses import Network
from mesh.local.topology_files import Document, manifest
from mesh.local.yaml_writer import Plain, documents
from mesh.pki.svid import Identity

WEST, EAST = "us-west-2", "us-east-1"
_VERSIONS = {
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "Telemetry": "telemetry.istio.io/v1",
    "IstioOperator": "install.istio.io/v1alpha1",
}


def yaml(kind: str, name: str, spec: str, namespace: str = "causeway") -> str:
    """A manifest as a person writes it."""
    version = _VERSIONS.get(kind, "networking.istio.io/v1")
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
    return head + textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ") + "\n"


def host(app: str) -> str:
    """The name a service is called by."""
    return f"{app}.causeway.svc.cluster.local"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A workload: a server with its sidecar, a server without one, or an ingress."""

    name: str
    app: str
    region: str = WEST
    zone: str = "a"
    version: str = "v1"
    account: str = ""
    """Its service account; the app's name unless given."""
    proxied: bool = True
    ingress: bool = False
    gateway_ports: Mapping[str, int] | None = None

    @property
    def workload(self) -> str:
        """Of its WorkloadEntry and its proxy."""
        return f"{self.name}-{self.region}"

    @property
    def namespace(self) -> str:
        """Where it lives."""
        return "causeway-ingress" if self.ingress else "causeway"

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return Identity(self.namespace, self.account or self.app)


def topology(
    instances: Sequence[Instance],
    network: Network,
    ports: Mapping[str, int],
    *,
    draining: str = "",
    without: str = "",
) -> str:
    """Where workloads run, as the supervisor would say it. `ports` are those of the applications; one
    instance may drain, and one be no more."""
    sidecars = [item for item in instances if not item.ingress]
    found: list[Document] = []
    for app in dict.fromkeys(item.app for item in sidecars):
        port: Document = {
            "number": 8080,
            "name": "grpc",
            "protocol": "GRPC",
            "targetPort": addresses.INBOUND,
        }
        spec: Document = {
            "hosts": [host(app)],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [port],
            "workloadSelector": {"labels": {"app": app}},
        }
        found.append(manifest("ServiceEntry", "causeway", app, spec))
    there = [item for item in instances if item.name != without]
    found += [_entry(item, network.address(item.name), draining=item.name == draining) for item in there]
    found += [
        _sidecar(item, network.address(item.name), ports[item.name]) for item in sidecars if item.proxied
    ]
    return documents(found)


def _entry(item: Instance, address: str, *, draining: bool) -> Document:
    labels: dict[str, Plain] = {"app": item.app, "version": item.version, "instance": item.name}
    if item.ingress:
        labels["istio"] = "ingressgateway"
    if draining:
        labels["istio.io/draining"] = "true"
    labels["security.istio.io/tlsMode"] = "istio" if item.proxied else "disabled"
    ports: Document = item.gateway_ports or {"grpc": addresses.INBOUND}
    spec: Document = {
        "address": address,
        "ports": ports,
        "labels": labels,
        "serviceAccount": item.account or item.app,
        "locality": f"{item.region}/{item.region}{item.zone}",
    }
    return manifest("WorkloadEntry", item.namespace, item.workload, spec)


def _sidecar(item: Instance, address: str, port: int) -> Document:
    ingress: Document = {
        "port": {"number": addresses.INBOUND, "protocol": "GRPC", "name": "grpc"},
        "bind": address,
        "captureMode": "NONE",
        "defaultEndpoint": f"127.0.0.1:{port}",
    }
    egress: Document = {
        "port": {"number": addresses.EGRESS, "protocol": "GRPC", "name": "grpc"},
        "bind": address,
        "captureMode": "NONE",
        "hosts": ["./*"],
    }
    spec: Document = {
        "workloadSelector": {"labels": {"instance": item.name}},
        "ingress": [ingress],
        "egress": [egress],
    }
    return manifest("Sidecar", "causeway", item.workload, spec)
