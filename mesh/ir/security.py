"""Who may call, and how callers prove who they are."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from mesh.ir.origin import Origin
from mesh.ir.values import StringMatcher


class MutualTls(enum.Enum):
    """What a sidecar's inbound port accepts."""

    STRICT = "STRICT"
    """Only mutual TLS with a SPIFFE identity of the trust domain."""
    PERMISSIVE = "PERMISSIVE"
    """That, or plaintext."""
    DISABLE = "DISABLE"
    """Only plaintext."""


class Effect(enum.Enum):
    """What a policy's match means. Evaluated in Istio's order: CUSTOM, DENY, ALLOW; AUDIT only notes."""

    CUSTOM = "CUSTOM"
    DENY = "DENY"
    ALLOW = "ALLOW"
    AUDIT = "AUDIT"


class Attribute(enum.Enum):
    """What a condition looks at."""

    PRINCIPAL = "principal"
    """`cluster.local/ns/causeway/sa/gateway`: the peer's SPIFFE ID without its scheme."""
    NAMESPACE = "namespace"
    """Of the peer."""
    SERVICE_ACCOUNT = "serviceAccount"
    """`namespace/name` of the peer."""
    TRUST_DOMAIN = "trustDomain"
    """Of the peer; a `*` stands for any part of it."""
    REQUEST_PRINCIPAL = "requestPrincipal"
    """`issuer/subject` of the JWT."""
    REQUEST_AUDIENCE = "requestAudience"
    REQUEST_PRESENTER = "requestPresenter"
    CLAIM = "claim"
    """Of the JWT; `key` is its path."""
    SOURCE_IP = "sourceIp"
    """The peer's address, a CIDR."""
    REMOTE_IP = "remoteIp"
    """The client's address as X-Forwarded-For or the PROXY protocol tell it, a CIDR."""
    HEADER = "header"
    """`key` is its name."""
    HOST = "host"
    PORT = "port"
    METHOD = "method"
    PATH = "path"
    """May use the templates `{*}` (one segment) and `{**}` (any number)."""
    DESTINATION_IP = "destinationIp"
    SNI = "sni"
    FILTER = "filter"
    """Envoy dynamic metadata, `experimental.envoy.filters.<filter>`; `key` is `filter` and the path in
    brackets."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute equals one of `values`, or, when `invert`, none of them."""

    attribute: Attribute
    values: tuple[str, ...]
    """Istio's forms: exact, `prefix*`, `*suffix`, `*` for present; CIDRs and port numbers as text."""
    key: str = ""
    invert: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches when one of `sources` and one of `operations` and all of `conditions` match.

    A source or an operation is a set of conditions that must all hold; an empty tuple of them matches anyone.
    """

    sources: tuple[tuple[Condition, ...], ...]
    operations: tuple[tuple[Condition, ...], ...]
    conditions: tuple[Condition, ...]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An AuthorizationPolicy that applies to this proxy."""

    name: str
    """`namespace/name`."""
    effect: Effect
    rules: tuple[Rule, ...]
    """None: nothing matches, so an ALLOW policy without rules lets nobody in."""
    provider: str = ""
    """Of a CUSTOM policy: the name in MeshConfig's extensionProviders."""
    dry_run: bool = False
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtIssuer:
    """Whose tokens are accepted. A token of nobody here is refused; no token passes."""

    issuer: str
    jwks: str = ""
    """The key set itself."""
    jwks_uri: str = ""
    jwks_cluster: str = ""
    """Cluster the URI is fetched through."""
    audiences: tuple[str, ...] = ()
    from_headers: tuple[tuple[str, str], ...] = ()
    """Header and prefix; empty: `authorization: Bearer `."""
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    forward: bool = False
    """Whether the token travels on to the application (`forwardOriginalToken`)."""
    output_payload_header: str = ""
    claims_to_headers: tuple[tuple[str, str], ...] = ()
    """Header and claim."""
    timeout: timedelta = timedelta(seconds=5)
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuthorizer:
    """Envoy's ext_authz over gRPC or HTTP, from MeshConfig's extensionProviders."""

    name: str
    cluster: str
    grpc: bool = True
    timeout: timedelta | None = None
    fail_open: bool = False
    status_on_error: int = 403
    path_prefix: str = ""
    include_request_headers: tuple[str, ...] = ()
    headers_to_upstream: tuple[str, ...] = ()
    headers_to_downstream: tuple[str, ...] = ()
    max_body_bytes: int = 0
    """0: the body is not sent."""
    allow_partial_body: bool = False
    pack_body_as_bytes: bool = False
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What stands between an inbound connection and the application."""

    issuers: tuple[JwtIssuer, ...] = ()
    policies: tuple[Policy, ...] = ()
    authorizers: Mapping[str, ExternalAuthorizer]
    """Those the CUSTOM policies name."""


class ServerTlsMode(enum.Enum):
    """How a gateway's port is secured."""

    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """The server's side of TLS at a gateway."""

    mode: ServerTlsMode
    credential: str = ""
    """Name of the secret with certificate and key (`credentialName`)."""
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    names: tuple[StringMatcher, ...] = ()
    """Subject alternative names of which the client's certificate must have one."""
    minimum_version: str = ""
    """`TLSV1_2` and the like; empty: 1.2."""
    maximum_version: str = ""
    cipher_suites: tuple[str, ...] = ()
    origin: Origin
