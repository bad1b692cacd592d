"""DestinationRule (https://istio.io/latest/docs/reference/config/networking/destination-rule/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from mesh.manifests.common import PortSelector, WorkloadSelector
from mesh.manifests.message import Int32, Message, OneOf, UInt32, UInt64


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash(Message):
    """A consistent hash over a ring."""

    minimum_ring_size: UInt64 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MagLev(Message):
    """A consistent hash over a table."""

    table_size: UInt64 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPCookie(Message):
    """A cookie whose value is hashed."""

    rejected: ClassVar = {"attributes": "cookies that the proxy makes have only name, path and lifetime"}

    name: str | None = None
    path: str | None = None
    ttl: timedelta | None = None
    """Zero: a session cookie. Without it the cookie is only read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentHashLB(Message):
    """The same key goes to the same host."""

    rejected: ClassVar = {"minimumRingSize": "Istio has deprecated it: write ringHash.minimumRingSize"}
    one_ofs = (
        OneOf(
            ("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name"), required=True
        ),
        OneOf(("ring_hash", "maglev")),
    )

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None


class SimpleLB(enum.Enum):
    """How a host is chosen."""

    UNSPECIFIED = "UNSPECIFIED"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribute(Message):
    """Shares of the traffic from one locality to others."""

    from_: str | None = None
    """`region/zone/subzone`; `*` in place of a trailing part."""
    to: Mapping[str, UInt32] = field(default_factory=dict)
    """Percentages, which add up to 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover(Message):
    """The region that takes over."""

    from_: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityLoadBalancerSetting(Message):
    """Preference for what is near; without outlierDetection it does nothing."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    """Label names, or `name=value`, in order of weight."""
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupConfiguration(Message):
    """A new host gets its full share only after a while."""

    duration: timedelta | None = None
    minimum_percent: float | None = None
    aggression: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerSettings(Message):
    """How a host is chosen."""

    rejected: ClassVar = {"warmupDurationSecs": "Istio has deprecated it: write warmup.duration"}
    refused_values: ClassVar = {"simple": {"LEAST_CONN": "Istio has deprecated it: write LEAST_REQUEST"}}
    one_ofs = (OneOf(("simple", "consistent_hash")),)

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    """Replaces MeshConfig's as a whole."""
    warmup: WarmupConfiguration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive(Message):
    """Probes of idle connections."""

    probes: UInt32 | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPSettings(Message):
    """Limits of connections."""

    max_connections: Int32 | None = None
    connect_timeout: timedelta | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: timedelta | None = None
    idle_timeout: timedelta | None = None


class H2UpgradePolicy(enum.Enum):
    """Whether HTTP/1.1 becomes HTTP/2 on the way."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings(Message):
    """Limits of requests."""

    http1_max_pending_requests: Int32 | None = None
    http2_max_requests: Int32 | None = None
    max_requests_per_connection: Int32 | None = None
    max_retries: Int32 | None = None
    idle_timeout: timedelta | None = None
    h2_upgrade_policy: H2UpgradePolicy | None = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: Int32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPoolSettings(Message):
    """Limits of connections and requests to a service."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection(Message):
    """When a host that answers badly is left out."""

    rejected: ClassVar = {
        "consecutiveErrors": "Istio has removed it: write consecutive5xxErrors or consecutiveGatewayErrors"
    }

    split_external_local_origin_errors: bool | None = None
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = None
    interval: timedelta | None = None
    base_ejection_time: timedelta | None = None
    max_ejection_percent: Int32 | None = None
    min_health_percent: Int32 | None = None


class ClientTLSMode(enum.Enum):
    """How a connection to a host is secured."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLSSettings(Message):
    """The client's side of TLS."""

    rejected: ClassVar = {
        "credentialName": "a client's certificate is in files: clientCertificate, privateKey, caCertificates",
        "caCrl": "revocation lists are not checked: certificates are short-lived instead",
    }

    mode: ClientTLSMode | None = None
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: str | None = None
    insecure_skip_verify: bool | None = None


_NO_TUNNEL = "connections are not tunnelled in HTTP CONNECT"
_NO_PROXY_PROTOCOL = "the PROXY protocol is not spoken to upstreams"
_NO_RETRY_BUDGET = "retries under way are limited by connectionPool.http.maxRetries instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortTrafficPolicy(Message):
    """Policy for one port; it replaces the policy above as a whole."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy(Message):
    """How a service is called."""

    rejected: ClassVar = {
        "tunnel": _NO_TUNNEL,
        "proxyProtocol": _NO_PROXY_PROTOCOL,
        "retryBudget": _NO_RETRY_BUDGET,
    }

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset(Message):
    """Some hosts of a service, by labels."""

    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRule(Message):
    """How a service is called, and its subsets."""

    host: str | None = None
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: WorkloadSelector | None = None
