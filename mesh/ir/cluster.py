"""Upstreams: who can be called, how one of them is chosen, and when one is left out."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta

from mesh.ir.metrics import NamedService, Party
from mesh.ir.origin import Origin, default
from mesh.ir.values import NOWHERE, Locality, StringMatcher


class Balancing(enum.Enum):
    """How a host is chosen."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    """The address the caller dialled."""
    RING_HASH = "RING_HASH"
    MAGLEV = "MAGLEV"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashOn:
    """What a consistent hash is taken of; exactly one is set."""

    header: str = ""
    query_parameter: str = ""
    cookie: str = ""
    cookie_path: str = ""
    cookie_ttl: timedelta | None = None
    """Zero: for the session. A cookie without it is only read."""
    source_ip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """How a host is chosen among the healthy ones of a priority."""

    policy: Balancing = Balancing.LEAST_REQUEST
    hash_on: HashOn | None = None
    """For RING_HASH and MAGLEV. It is carried out by the route."""
    minimum_ring_size: int | None = None
    table_size: int | None = None
    """Of MAGLEV: a prime number."""
    warmup: timedelta | None = None
    """A new host gets its full share only after this long."""
    warmup_aggression: float | None = None
    warmup_minimum_percent: int | None = None
    locality_weighted: bool = False
    """Localities have weights (`distribute`)."""
    origin: Origin = field(default_factory=lambda: default("load balancer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When a host that answers badly is left out."""

    consecutive_5xx: int | None = 5
    """None: off."""
    consecutive_gateway_errors: int | None = None
    """502, 503, 504 and connections that break; None: off."""
    consecutive_local_origin_failures: int | None = None
    split_local_origin: bool = False
    """Whether failures to connect are counted apart from the host's own answers."""
    interval: timedelta = timedelta(seconds=10)
    base_ejection: timedelta = timedelta(seconds=30)
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    """Below it, all hosts are used whatever their health: Envoy's panic threshold."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Asking the host itself, over gRPC health or by connecting."""

    interval: timedelta
    timeout: timedelta
    unhealthy_after: int = 1
    healthy_after: int = 1
    grpc_service: str | None = None
    """Service name asked for; None: only connects."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """Limits on connections and requests to a cluster; None: Envoy's maximum (2^32-1)."""

    max_connections: int | None = None
    connect_timeout: timedelta = timedelta(seconds=10)
    tcp_keepalive_probes: int | None = None
    tcp_keepalive_time: timedelta | None = None
    tcp_keepalive_interval: timedelta | None = None
    max_connection_duration: timedelta | None = None
    idle_timeout_tcp: timedelta | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    idle_timeout: timedelta | None = None
    max_concurrent_streams: int | None = None
    upgrade_to_http2: bool = False
    use_client_protocol: bool = False
    origin: Origin = field(default_factory=lambda: default("connection pool"))


class UpstreamTlsMode(enum.Enum):
    """How the connection to a host is secured."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """The client's side of TLS to a cluster."""

    mode: UpstreamTlsMode
    identities: tuple[str, ...] = ()
    """SPIFFE IDs (or, outside the mesh, subject alternative names) of which the server must prove one."""
    sni: str = ""
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    """SIMPLE and MUTUAL; without it the system's roots."""
    skip_verify: bool = False
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One workload's port."""

    address: str
    """An IP address, or a name for a cluster found by DNS."""
    port: int
    locality: Locality = NOWHERE
    weight: int = 1
    tls: bool = True
    """Whether it has a sidecar that speaks mutual TLS."""
    workload: str = ""
    """`namespace/name` of its WorkloadEntry."""
    draining: bool = False
    """Keeps its streams and gets no new ones."""
    party: Party | None = None
    """Who it is, where metrics ask for it."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGroup:
    """Hosts of one locality at one priority."""

    locality: Locality
    priority: int
    """0 first; groups of a lower one are used while it is healthy. Priorities of a cluster have no gaps."""
    weight: int | None
    """Share among the localities of this priority; None: by the number of hosts."""
    hosts: tuple[Host, ...]


class Discovery(enum.Enum):
    """How the hosts of a cluster are found."""

    EDS = "EDS"
    """Told over xDS: `hosts` become a ClusterLoadAssignment of the cluster's name."""
    STATIC = "STATIC"
    """Part of the cluster."""
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """DNS where one address is taken at a time."""
    ORIGINAL_DST = "ORIGINAL_DST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One upstream."""

    name: str
    """`outbound|8080|v1|session.causeway.svc.cluster.local`, `inbound|9443||`, as Istio names them."""
    service: str
    """Host of the service; empty for the application behind a sidecar."""
    reached_as: tuple[str, ...] = ()
    """Of an application: hosts of the services by which callers reach it. EnvoyFilters name it by them."""
    discovery: Discovery
    groups: tuple[HostGroup, ...] = ()
    """Priorities ascending, localities in order within one. A cluster may have no hosts: calls get 503."""
    http2: bool = False
    """HTTP/2 without negotiation: gRPC."""
    balancer: LoadBalancer = field(default_factory=LoadBalancer)
    outlier: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    pool: ConnectionPool = field(default_factory=ConnectionPool)
    tls: UpstreamTls | None = None
    """None: plaintext. With ISTIO_MUTUAL, hosts whose `tls` is False are dialled in plaintext."""
    names: tuple[StringMatcher, ...] = ()
    """Further subject alternative names accepted."""
    named: NamedService | None = None
    """Which service it leads to, where metrics ask for it."""
    origin: Origin
    """The DestinationRule, else what declared the service."""
