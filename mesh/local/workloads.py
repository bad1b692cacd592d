"""The workloads of a mesh: who has an address, an identity and a proxy. Pure.

A workload is what a pod is in a cluster: one application with its sidecar, or a gateway, which is a proxy
without an application. Its process is the proxy's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.local import addresses
from mesh.local.addresses import Network
from mesh.local.names import FRONT, PROXIED, SIDECAR, Shape, in_region
from mesh.pki.svid import Identity

TRUST_DOMAIN = "cluster.local"
NAMESPACE = "causeway"
INGRESS_NAMESPACE = "causeway-ingress"
FRONT_NAMESPACE = "causeway-front"
INGRESS_IDENTITY = Identity(INGRESS_NAMESPACE, "ingress", TRUST_DOMAIN)
"""Who asks the policy service on behalf of callers from outside."""

SERVICE_PORTS = {"policy": 8080, "session": 8080, "retrieval": 8080, "gateway": 8080, "triton": 8001}
"""Ports of the services that applications offer, as in a cluster."""

CALLS = {
    "gateway": ("policy", "session", "retrieval", "triton"),
    "retrieval": ("triton",),
    "indexer": ("triton",),
}
"""Whom an application calls; the rest of the mesh is none of its sidecar's business."""

_ACCOUNTS = {"indexer": "retrieval"}
"""Service accounts that are not named like the program."""


class Role(enum.Enum):
    """What a workload's proxy does."""

    SIDECAR = "sidecar"
    INGRESS = "ingress"
    FRONT = "front"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload with a proxy."""

    role: Role
    app: str
    """gateway, session, …, ingress or front."""
    region: str
    """Empty for the front: it stands where the cloud's load balancer does."""
    address: str
    """Its own loopback address."""
    app_port: int | None = None
    """Where at 127.0.0.1 the application listens; None for a gateway."""

    @property
    def name(self) -> str:
        """Of its WorkloadEntry: `gateway-us-west-2`."""
        return f"{self.app}-{self.region}" if self.region else self.app

    @property
    def process(self) -> str:
        """Of its proxy: `envoy-gateway@us-west-2`, `ingress@us-west-2`, `front`."""
        return in_region(SIDECAR + self.app if self.role is Role.SIDECAR else self.app, self.region)

    @property
    def namespace(self) -> str:
        """Where it lives."""
        match self.role:
            case Role.SIDECAR:
                return NAMESPACE
            case Role.INGRESS:
                return INGRESS_NAMESPACE
            case Role.FRONT:
                return FRONT_NAMESPACE

    @property
    def service_account(self) -> str:
        """Whom it acts as."""
        return _ACCOUNTS.get(self.app, self.app)

    @property
    def identity(self) -> Identity:
        """Who it is to others."""
        return Identity(self.namespace, self.service_account, TRUST_DOMAIN)

    @property
    def zone(self) -> str:
        """The one zone a region has here."""
        return f"{self.region}a" if self.region else ""

    @property
    def locality(self) -> str:
        """Region and zone as a WorkloadEntry has them."""
        return f"{self.region}/{self.zone}" if self.region else ""

    @property
    def node_id(self) -> str:
        """What its proxy calls itself, in Istio's form."""
        kind = "sidecar" if self.role is Role.SIDECAR else "router"
        return f"{kind}~{self.address}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"

    @property
    def client_node_id(self) -> str:
        """What its application calls itself when it is its own proxy."""
        return f"grpc~{self.address}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"


def address_names(shape: Shape) -> tuple[str, ...]:
    """Who needs an address, control planes included, in a stable order."""
    regional = ("control", "ingress", *PROXIED)
    return (FRONT, *(in_region(program, region) for region in shape.regions for program in regional))


def workloads(shape: Shape, network: Network, ports: Mapping[str, int]) -> tuple[Workload, ...]:
    """Every workload that has a proxy. `ports` are those of the applications at 127.0.0.1."""
    found = [Workload(role=Role.FRONT, app=FRONT, region="", address=network.address(FRONT))]
    for region in shape.regions:
        ingress = network.address(in_region("ingress", region))
        found.append(Workload(role=Role.INGRESS, app="ingress", region=region, address=ingress))
        for app in PROXIED:
            process = in_region(app, region)
            found.append(
                Workload(
                    role=Role.SIDECAR,
                    app=app,
                    region=region,
                    address=network.address(process),
                    app_port=ports[process],
                )
            )
    return tuple(found)


def control_planes(shape: Shape, network: Network, region: str) -> tuple[str, ...]:
    """`address:port` of every control plane, that of `region` first; the front prefers the first region's."""
    order = sorted(shape.regions, key=lambda other: (other != region, shape.regions.index(other)))
    return tuple(f"{network.address(in_region('control', name))}:{addresses.XDS}" for name in order)


def service_host(app: str, namespace: str = NAMESPACE) -> str:
    """The name a service is called by."""
    return f"{app}.{namespace}.svc.cluster.local"
