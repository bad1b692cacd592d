"""PeerAuthentication, RequestAuthentication and AuthorizationPolicy."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from mesh.manifests.checks import ranges
from mesh.manifests.checks.authorization import check_condition, check_operation, check_source
from mesh.manifests.checks.http import check_header_name
from mesh.manifests.checks.names import check_selector
from mesh.manifests.findings import Findings
from mesh.manifests.message import shown
from mesh.manifests.security import (
    Action,
    AuthorizationPolicy,
    JWTRule,
    PeerAuthentication,
    RequestAuthentication,
    Rule,
)


def check_peer_authentication(policy: PeerAuthentication, findings: Findings) -> None:
    """Ports have modes of their own only for chosen workloads."""
    check_selector(policy, "selector", policy.selector, findings)
    chosen = policy.selector is not None and policy.selector.match_labels
    if "port_level_mtls" in policy.places:
        if not policy.port_level_mtls:
            findings.field(policy, "port_level_mtls", "must name at least one port")
        elif not chosen:
            findings.field(policy, "port_level_mtls", "goes with a selector alone")
    for port in policy.port_level_mtls:
        if not 1 <= port <= 65535:
            findings.field(policy, "port_level_mtls", f"must be from 1 to 65535, not {port}", str(port))


def check_request_authentication(policy: RequestAuthentication, findings: Findings) -> None:
    """Issuers with keys."""
    check_selector(policy, "selector", policy.selector, findings)
    for rule in policy.jwt_rules:
        _check_jwt_rule(rule, findings)


def _check_jwt_rule(rule: JWTRule, findings: Findings) -> None:
    if rule.issuer is None:
        findings.field(rule, "issuer", "is missing")
    for name in ("audiences", "from_params", "from_cookies"):
        _check_no_empty(rule, name, findings)
    if rule.jwks is None and rule.jwks_uri is None:
        findings.check(rule.at, "must have jwks or jwksUri: keys are not discovered from the issuer")
    if rule.jwks is not None and rule.jwks_uri is not None:
        findings.field(rule, "jwks_uri", "only one of jwks, jwksUri may be there")
    if rule.jwks_uri is not None and not _is_http_uri(rule.jwks_uri):
        findings.field(rule, "jwks_uri", f"`{shown(rule.jwks_uri)}` is not an http or https URI with a host")
    if rule.jwks is not None and not _is_key_set(rule.jwks):
        findings.field(rule, "jwks", "is not a JSON Web Key Set (RFC 7517) with at least one key")
    for header in rule.from_headers:
        if header.name is None:
            findings.field(header, "name", "is missing")
        else:
            check_header_name(header, "name", header.name, findings)
    if rule.output_payload_to_header is not None:
        check_header_name(rule, "output_payload_to_header", rule.output_payload_to_header, findings)
    for claim in rule.output_claim_to_headers:
        for name in ("header", "claim"):
            if getattr(claim, name) is None:
                findings.field(claim, name, "is missing")
        if claim.header is not None:
            check_header_name(claim, "header", claim.header, findings)
    ranges.check_duration(rule, "timeout", rule.timeout, findings)


def _check_no_empty(rule: JWTRule, name: str, findings: Findings) -> None:
    for index, value in enumerate(getattr(rule, name)):
        if not value:
            findings.field(rule, name, "is empty", index)


def _is_http_uri(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


def _is_key_set(text: str) -> bool:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return False
    found = keys.get("keys") if isinstance(keys, dict) else None
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(key, dict) and "kty" in key for key in found)
    )


def check_authorization_policy(policy: AuthorizationPolicy, findings: Findings) -> None:
    """Rules that can match, and a provider exactly for CUSTOM."""
    check_selector(policy, "selector", policy.selector, findings)
    action = policy.action or Action.ALLOW
    if action in (Action.CUSTOM, Action.DENY) and not policy.rules:
        findings.field(
            policy, "rules", f"is missing: {action.value} without rules never holds; `- {{}}` holds always"
        )
    if action is Action.CUSTOM:
        if policy.provider is None or policy.provider.name is None:
            findings.field(
                policy, "provider", "is missing: it names an entry of meshConfig.extensionProviders"
            )
    elif policy.provider is not None:
        findings.field(policy, "provider", f"goes with CUSTOM alone, not with {action.value}")
    for rule in policy.rules:
        _check_rule(rule, action, findings)


def _check_rule(rule: Rule, action: Action, findings: Findings) -> None:
    for name in ("from_", "to"):
        if name in rule.places and not getattr(rule, name):
            findings.field(rule, name, "is empty: leave it out to match all")
    for each in rule.from_:
        if each.source is None:
            findings.field(each, "source", "is missing")
        else:
            check_source(each.source, custom=action is Action.CUSTOM, findings=findings)
    for to in rule.to:
        if to.operation is None:
            findings.field(to, "operation", "is missing")
        else:
            check_operation(to.operation, findings)
    for condition in rule.when:
        check_condition(condition, custom=action is Action.CUSTOM, findings=findings)
