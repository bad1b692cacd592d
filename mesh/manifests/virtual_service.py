"""VirtualService (https://istio.io/latest/docs/reference/config/networking/virtual-service/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from mesh.manifests.common import Destination, Percent, StringMatch
from mesh.manifests.message import Int32, Message, OneOf, UInt32


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPMatchRequest(Message):
    """All of it must hold."""

    rejected: ClassVar = {"statPrefix": "statistics are kept by route name and cluster, not by match"}

    name: str | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch] = field(default_factory=dict)
    without_headers: Mapping[str, StringMatch] = field(default_factory=dict)
    port: UInt32 | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str | None = None
    gateways: tuple[str, ...] = ()
    query_params: Mapping[str, StringMatch] = field(default_factory=dict)
    ignore_uri_case: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderOperations(Message):
    """What is done to headers."""

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers(Message):
    """What is done to the headers of requests and of responses."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRouteDestination(Message):
    """One of the destinations that a route spreads over."""

    destination: Destination | None = None
    weight: Int32 | None = None
    headers: Headers | None = None


class RedirectPortSelection(enum.Enum):
    """Which port a redirect names when none is written."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRedirect(Message):
    """The client is sent elsewhere."""

    one_ofs = (OneOf(("port", "derive_port")),)

    uri: str | None = None
    """A path, or `%PREFIX()%` and a rest that replaces the matched prefix."""
    authority: str | None = None
    port: UInt32 | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: str | None = None
    redirect_code: UInt32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPBody(Message):
    """A body that the proxy itself sends."""

    one_ofs = (OneOf(("string", "bytes_"), required=True),)

    string: str | None = None
    bytes_: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPDirectResponse(Message):
    """Answered by the proxy itself."""

    status: UInt32 | None = None
    body: HTTPBody | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRewrite(Message):
    """The path is rewritten by a pattern."""

    match: str | None = None
    rewrite: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRewrite(Message):
    """What the upstream sees instead."""

    uri: str | None = None
    authority: str | None = None
    uri_regex_rewrite: RegexRewrite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRetry(Message):
    """When a call is tried again, and where."""

    attempts: Int32 | None = None
    """Beyond the first."""
    per_try_timeout: timedelta | None = None
    retry_on: str | None = None
    """Envoy's conditions and HTTP status codes, separated by commas."""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPFaultInjectionDelay(Message):
    """Requests are held up."""

    rejected: ClassVar = {
        "percent": "Istio has deprecated it: write percentage",
        "exponentialDelay": "Istio hides it and does not carry it out: write fixedDelay",
    }

    fixed_delay: timedelta | None = None
    percentage: Percent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPFaultInjectionAbort(Message):
    """Requests are refused."""

    rejected: ClassVar = {
        "percent": "Istio has removed it: write percentage",
        "http2Error": "Istio hides it and does not carry it out: write httpStatus or grpcStatus",
    }
    one_ofs = (OneOf(("http_status", "grpc_status"), required=True),)

    http_status: Int32 | None = None
    grpc_status: str | None = None
    """A name, as in `UNAVAILABLE`."""
    percentage: Percent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPFaultInjection(Message):
    """Trouble made on purpose."""

    delay: HTTPFaultInjectionDelay | None = None
    abort: HTTPFaultInjectionAbort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPMirrorPolicy(Message):
    """A copy of requests."""

    destination: Destination | None = None
    percentage: Percent | None = None


class UnmatchedPreflights(enum.Enum):
    """What is done with a preflight request from an origin that is not allowed."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsPolicy(Message):
    """Who may call from a browser."""

    rejected: ClassVar = {"allowOrigin": "Istio has deprecated it: write allowOrigins with exact"}

    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: UnmatchedPreflights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRoute(Message):
    """One rule: what matches, and what is done."""

    rejected: ClassVar = {
        "delegate": "routes are not put together from several VirtualServices: write them into one",
        "mirrorPercent": "Istio has deprecated it: write mirrorPercentage",
        "websocketUpgrade": "Istio has removed it: upgrades are always passed on",
        "appendHeaders": "Istio has removed it: write headers.request.add",
        "appendRequestHeaders": "Istio has removed it: write headers.request.add",
        "appendResponseHeaders": "Istio has removed it: write headers.response.add",
        "removeRequestHeaders": "Istio has removed it: write headers.request.remove",
        "removeResponseHeaders": "Istio has removed it: write headers.response.remove",
    }

    name: str | None = None
    match: tuple[HTTPMatchRequest, ...] = ()
    """One of them must match; without any, all do."""
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    rewrite: HTTPRewrite | None = None
    timeout: timedelta | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirror_percentage: Percent | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDestination(Message):
    """One of the destinations that connections are spread over."""

    destination: Destination | None = None
    weight: Int32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSMatchAttributes(Message):
    """Which TLS connections."""

    sni_hosts: tuple[str, ...] = ()
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str | None = None
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSRoute(Message):
    """Where TLS connections go that are not ended here."""

    match: tuple[TLSMatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class L4MatchAttributes(Message):
    """Which connections."""

    rejected: ClassVar = {"sourceSubnet": "Istio hides it and does not carry it out"}

    destination_subnets: tuple[str, ...] = ()
    port: UInt32 | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str | None = None
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPRoute(Message):
    """Where connections go."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService(Message):
    """Which request to some hosts goes where."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    """`mesh` for all sidecars, else `[namespace/]name`; empty: `mesh`."""
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
