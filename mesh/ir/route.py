"""Which request goes where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from mesh.ir.cluster import HashOn
from mesh.ir.origin import Origin
from mesh.ir.values import ClaimMatcher, NamedMatcher, StringMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """All of it must hold; what is None or empty holds always."""

    path: StringMatcher | None = None
    """EXACT, PREFIX or REGEX."""
    method: StringMatcher | None = None
    scheme: StringMatcher | None = None
    authority: StringMatcher | None = None
    headers: tuple[NamedMatcher, ...] = ()
    query: tuple[NamedMatcher, ...] = ()
    claims: tuple[ClaimMatcher, ...] = ()
    """Known to gateways alone, which look for the route again once they have checked the token."""
    name: str = ""
    """Of the match, for logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """What is done to headers; values may use Envoy's formatters (%REQ(…)%)."""

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One of the clusters a route spreads over."""

    cluster: str
    weight: int | None = None
    """Relative to the route's others; None: there never were others, and what it does to headers comes after
    what the route does."""
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When a call is tried again, and where."""

    attempts: int
    """Beyond the first; 0: none."""
    per_try_timeout: timedelta | None = None
    conditions: tuple[str, ...] = ()
    """Envoy's words, gRPC's among them: "connect-failure", "unavailable", …"""
    statuses: tuple[int, ...] = ()
    """HTTP status codes."""
    ignore_previous_hosts: bool = True
    remote_localities: bool = False
    """The next try may go to another priority (`retryRemoteLocalities`)."""
    backoff: timedelta | None = None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Trouble made on purpose."""

    delay: timedelta | None = None
    delay_percent: float = 0.0
    abort_http: int | None = None
    abort_grpc: int | None = None
    """A gRPC status code."""
    abort_percent: float = 0.0
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy of requests, whose answers are thrown away."""

    cluster: str
    percent: float = 100.0
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Who may call from a browser."""

    origins: tuple[StringMatcher, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: timedelta | None = None
    credentials: bool | None = None
    forward_unmatched_preflights: bool | None = None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What the upstream sees instead."""

    path: str | None = None
    """Replaces the matched prefix, or the whole path of an exact match."""
    regex: str | None = None
    substitution: str = ""
    authority: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """The client is sent elsewhere."""

    path: str | None = None
    prefix: str | None = None
    """Replaces the matched prefix."""
    authority: str | None = None
    port: int | None = None
    scheme: str | None = None
    code: int = 301


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    """Answered by the proxy itself."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Sent on to a cluster."""

    destinations: tuple[Destination, ...]
    """At least one."""
    timeout: timedelta | None = None
    """None: no limit of the route's own."""
    retries: Retries | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    hash_on: tuple[HashOn, ...] = ()
    rate_limits: tuple[Mapping[str, object], ...] = ()


Action = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule: what matches, and what is done."""

    name: str = ""
    match: RouteMatch
    action: Action
    fault: Fault | None = None
    cors: Cors | None = None
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """The routes of some authorities; the first that matches wins."""

    name: str
    """`session.causeway.svc.cluster.local:8080`, as Istio names them."""
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    require_tls: bool = False
    """Plaintext requests are redirected (`httpsRedirect`)."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """What a listener routes by; no domain is in two of its virtual hosts."""

    name: str
    """`8080` for a sidecar's outbound port, `http.8080` or `https.443.<port name>.<gateway>` for a gateway's,
    `inbound|9443||` for a sidecar's inbound."""
    hosts: tuple[VirtualHost, ...]
