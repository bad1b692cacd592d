"""PeerAuthentication, RequestAuthentication and AuthorizationPolicy
(https://istio.io/latest/docs/reference/config/security/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from mesh.manifests.common import ONLY_GATEWAY_API, WorkloadSelector
from mesh.manifests.message import Message, UInt32


class MutualTLSMode(enum.Enum):
    """What a sidecar accepts."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTLS(Message):
    """What a sidecar accepts."""

    mode: MutualTLSMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAuthentication(Message):
    """Whether sidecars ask for mutual TLS."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: Mapping[UInt32, MutualTLS] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTHeader(Message):
    """A header that carries a token."""

    name: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimToHeader(Message):
    """A header made of a claim."""

    header: str | None = None
    claim: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTRule(Message):
    """Whose tokens are accepted."""

    rejected: ClassVar = {
        "spaceDelimitedClaims": "only Istio's own space-delimited claims (scope, permission) are split"
    }

    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    jwks_uri: str | None = None
    jwks: str | None = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str | None = None
    forward_original_token: bool | None = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAuthentication(Message):
    """Which tokens are accepted. It refuses bad ones; asking for one is AuthorizationPolicy's."""

    rejected: ClassVar = {"targetRef": ONLY_GATEWAY_API, "targetRefs": ONLY_GATEWAY_API}

    selector: WorkloadSelector | None = None
    jwt_rules: tuple[JWTRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Message):
    """Who calls; all of it must hold."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    """Since Istio 1.30."""
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Message):
    """What is called; all of it must hold."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition(Message):
    """A further attribute; see https://istio.io/latest/docs/reference/config/security/conditions/."""

    key: str | None = None
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFrom(Message):
    """A source, in the list that a rule has."""

    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTo(Message):
    """An operation, in the list that a rule has."""

    operation: Operation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Message):
    """Matches when one of `from`, one of `to` and all of `when` match; what is absent matches."""

    from_: tuple[RuleFrom, ...] = ()
    to: tuple[RuleTo, ...] = ()
    when: tuple[Condition, ...] = ()


class Action(enum.Enum):
    """What a match means."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPolicyProvider(Message):
    """Who decides a CUSTOM policy."""

    name: str | None = None
    """Of MeshConfig's extensionProviders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPolicy(Message):
    """Who may call what."""

    rejected: ClassVar = {"targetRef": ONLY_GATEWAY_API, "targetRefs": ONLY_GATEWAY_API}

    selector: WorkloadSelector | None = None
    rules: tuple[Rule, ...] = ()
    action: Action | None = None
    """None: ALLOW."""
    provider: AuthorizationPolicyProvider | None = None
