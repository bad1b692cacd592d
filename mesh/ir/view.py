"""Everything one proxy is to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.ir.cluster import Cluster
from mesh.ir.listener import Listener
from mesh.ir.patch import Patch
from mesh.ir.route import RouteTable
from mesh.ir.values import NOWHERE, Locality


class ProxyKind(enum.Enum):
    """What a proxy is."""

    SIDECAR = "sidecar"
    """Stands before one workload and speaks for it."""
    GATEWAY = "router"
    """Has no application: an ingress, or the front that stands for a global load balancer."""
    PROXYLESS = "grpc"
    """A gRPC client that is its own proxy (`xds:///`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Who asks. All of it comes from its WorkloadEntry and certificate, never from what it says of itself."""

    name: str
    """`gateway-us-west-2`: the name of its WorkloadEntry."""
    namespace: str
    kind: ProxyKind
    service_account: str
    trust_domain: str = "cluster.local"
    locality: Locality = NOWHERE
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    """Where it listens, and where others reach it."""

    @property
    def spiffe_id(self) -> str:
        """https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md, in the form that Istio uses."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyView:
    """The whole configuration of one proxy. Equal inputs make equal views, in the same order."""

    proxy: Proxy
    clusters: tuple[Cluster, ...] = ()
    """Ordered by name."""
    route_tables: tuple[RouteTable, ...] = ()
    """Ordered by name; every table that a listener names is here."""
    listeners: tuple[Listener, ...] = ()
    """Ordered by name."""
    credentials: tuple[str, ...] = ()
    """Names of the gateway certificates it may have, beside its own identity."""
    patches: tuple[Patch, ...] = ()
    """In Istio's order: by namespace (root first), priority, creation, name."""
