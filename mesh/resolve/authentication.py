"""PeerAuthentication and RequestAuthentication: which of them count for a workload.

https://istio.io/latest/docs/concepts/security/#authentication-policies,
pilot/pkg/security/authn/policy_applier.go (`ComposePeerAuthentication`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from mesh.ir.origin import Origin, default
from mesh.ir.security import JwtIssuer, MutualTls
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.message import Message
from mesh.manifests.security import (
    JWTRule,
    MutualTLS,
    MutualTLSMode,
    PeerAuthentication,
    RequestAuthentication,
)
from mesh.resolve import labels as words
from mesh.resolve import origins
from mesh.resolve.names import cluster_name
from mesh.resolve.scope import Scopes

M = TypeVar("M", bound=Message)

_JWKS_TIMEOUT = timedelta(seconds=5)
_MODES = {
    MutualTLSMode.STRICT: MutualTls.STRICT,
    MutualTLSMode.PERMISSIVE: MutualTls.PERMISSIVE,
    MutualTLSMode.DISABLE: MutualTls.DISABLE,
}
_NOTHING_SAID = default("mutual TLS: PERMISSIVE where no PeerAuthentication says otherwise")


class PeerAuthentications:
    """All PeerAuthentications, ready to be asked."""

    def __init__(self, manifests: Manifests, root_namespace: str) -> None:
        self._root = root_namespace
        self._policies = words.Selections(
            (one.namespace, words.pairs(one.spec.selector), one)
            for one in _oldest_first(manifests.of(PeerAuthentication))
        )

    def mode(self, namespace: str, labels: Mapping[str, str], port: int) -> tuple[MutualTls, Origin]:
        """What a workload's port accepts: what is said for the port, else for the workload, its namespace,
        the mesh; UNSET means what is said above. `port` is the workload's own, not the service's."""
        mode, origin = MutualTls.PERMISSIVE, _NOTHING_SAID
        for owner in (self._root, namespace):
            for manifest in self._policies.wide(owner)[:1]:
                mode, origin = _said(manifest.spec.mtls, manifest, (mode, origin))
        if namespace != self._root:
            for manifest in self._policies.selecting(namespace, labels)[:1]:
                mode, origin = _said(manifest.spec.mtls, manifest, (mode, origin))
                mode, origin = _said(manifest.spec.port_level_mtls.get(port), manifest, (mode, origin))
        return mode, origin


def _said(
    mutual: MutualTLS | None, manifest: Manifest[PeerAuthentication], above: tuple[MutualTls, Origin]
) -> tuple[MutualTls, Origin]:
    if mutual is None or mutual.mode is None or mutual.mode is MutualTLSMode.UNSET:
        return above
    return _MODES[mutual.mode], origins.of(manifest, mutual, "mode")


class RequestAuthentications:
    """All RequestAuthentications, ready to be asked."""

    def __init__(self, manifests: Manifests, root_namespace: str, scopes: Scopes) -> None:
        self._root = root_namespace
        self._scopes = scopes
        self._manifests = words.Selections(
            (one.namespace, words.pairs(one.spec.selector), one)
            for one in _oldest_first(manifests.of(RequestAuthentication))
        )

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[JwtIssuer, ...]:
        """The rules of every one that selects a workload: the root namespace's, then its own's."""
        return tuple(
            _issuer(rule, manifest, namespace, self._scopes)
            for owner in dict.fromkeys((self._root, namespace))
            for manifest in self._manifests.applying(owner, labels)
            for rule in manifest.spec.jwt_rules
        )


def _issuer(
    rule: JWTRule, manifest: Manifest[RequestAuthentication], namespace: str, scopes: Scopes
) -> JwtIssuer:
    return JwtIssuer(
        issuer=rule.issuer or "",
        jwks=rule.jwks or "",
        jwks_uri=rule.jwks_uri or "",
        jwks_cluster=jwks_cluster(rule.jwks_uri or "", namespace, scopes),
        audiences=rule.audiences,
        from_headers=tuple((header.name or "", header.prefix or "") for header in rule.from_headers),
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        forward=bool(rule.forward_original_token),
        output_payload_header=rule.output_payload_to_header or "",
        claims_to_headers=tuple((one.header or "", one.claim or "") for one in rule.output_claim_to_headers),
        timeout=rule.timeout or _JWKS_TIMEOUT,
        origin=origins.of(manifest, rule),
    )


def jwks_cluster(uri: str, namespace: str, scopes: Scopes) -> str:
    """The cluster of the service that a key set's URI names; empty when the registry has no such service."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    service = scopes.lookup(parts.hostname, namespace)
    if service is None or service.port(port) is None:
        return ""
    return cluster_name(service.host, port)


def _oldest_first(manifests: Iterable[Manifest[M]]) -> list[Manifest[M]]:
    return sorted(manifests, key=lambda one: (one.created, one.namespace, one.name))
