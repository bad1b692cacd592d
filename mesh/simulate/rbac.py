"""Envoy's RBAC: may this caller do this?

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mesh.simulate import matchers
from mesh.simulate.logic import Truth, every, negate, some
from mesh.simulate.messages import Proto, type_name, unpack, which
from mesh.simulate.request import Facts

_URI_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"

PEER_PRINCIPAL = "io.istio.peer_principal"
"""Filter state in which Istio's proxies keep the peer's identity."""


class Action(enum.Enum):
    """What a matching policy means; the numbers are those of the API."""

    ALLOW = 0
    DENY = 1
    LOG = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a set of policies says."""

    allowed: Truth
    policy: str = ""
    """The policy that matched, or, when it is not known, one that might."""
    action: Action = Action.ALLOW
    near: tuple[str, ...] = ()
    """Policies that let this caller in, but not for this."""

    @property
    def says(self) -> str:
        """In words."""
        if self.allowed is None:
            return f"depends on what is not known here (policy {self.policy})"
        if self.action is Action.LOG:
            return f"noted by {self.policy}" if self.policy else "not noted"
        if self.action is Action.DENY:
            return "no policy denies it" if self.allowed else f"denied by {self.policy}"
        if self.allowed:
            return f"allowed by {self.policy}"
        if self.near:
            return f"denied: {', '.join(self.near)} admits this caller, but not for this"
        return "denied: no policy allows this caller"


def judge(rules: Proto, facts: Facts) -> Verdict:
    """envoy.config.rbac.v3.RBAC. Policies are taken in the order of their names, as Envoy takes them."""
    action = Action(rules.action)
    possible = ""
    near: list[str] = []
    for name in sorted(rules.policies):
        policy = rules.policies[name]
        may = every([permitted(policy, facts), known(policy, facts), _condition(policy)])
        if may is True:
            return Verdict(action is not Action.DENY, name, action)
        if may is None:
            possible = possible or name
        elif known(policy, facts) is True:
            near.append(name)
    if possible:
        return Verdict(True if action is Action.LOG else None, possible, action)
    return Verdict(action is not Action.ALLOW, "", action, tuple(near))


def permitted(policy: Proto, facts: Facts) -> Truth:
    """Whether what is asked is among a policy's permissions."""
    return some(permission(item, facts) for item in policy.permissions)


def known(policy: Proto, facts: Facts) -> Truth:
    """Whether the caller is among a policy's principals."""
    return some(principal(item, facts) for item in policy.principals)


def _condition(policy: Proto) -> Truth:
    """A CEL expression is not evaluated here."""
    return None if policy.HasField("condition") or policy.HasField("checked_condition") else True


def permission(rule: Proto, facts: Facts) -> Truth:
    """envoy.config.rbac.v3.Permission."""
    kind = which(rule, "rule")
    inner: Any = getattr(rule, kind) if kind else None
    if kind == "any":
        return bool(inner)
    if kind == "and_rules":
        return every(permission(item, facts) for item in rule.and_rules.rules)
    if kind == "or_rules":
        return some(permission(item, facts) for item in rule.or_rules.rules)
    if kind == "not_rule":
        return negate(permission(rule.not_rule, facts))
    if kind == "header":
        return False if facts.request is None else matchers.header(inner, facts)
    if kind == "url_path":
        return matchers.path(inner, facts)
    if kind == "uri_template":
        return _uri_template(rule.uri_template, facts)
    if kind == "destination_ip":
        return matchers.cidr(inner, facts.connection.address)
    if kind == "destination_port":
        return bool(facts.connection.port == inner)
    if kind == "destination_port_range":
        return bool(inner.start <= facts.connection.port < inner.end)
    if kind == "requested_server_name":
        return matchers.string(inner, facts.connection.tls.sni if facts.connection.tls else "")
    return _shared(rule, kind, facts)


def principal(rule: Proto, facts: Facts) -> Truth:
    """envoy.config.rbac.v3.Principal."""
    kind = which(rule, "identifier")
    inner: Any = getattr(rule, kind) if kind else None
    if kind == "any":
        return bool(inner)
    if kind == "and_ids":
        return every(principal(item, facts) for item in rule.and_ids.ids)
    if kind == "or_ids":
        return some(principal(item, facts) for item in rule.or_ids.ids)
    if kind == "not_id":
        return negate(principal(rule.not_id, facts))
    if kind == "authenticated":
        return _authenticated(rule.authenticated, facts)
    if kind in ("source_ip", "direct_remote_ip"):
        return matchers.cidr(inner, facts.connection.source)
    if kind == "remote_ip":
        return matchers.cidr(inner, facts.remote or facts.connection.source)
    if kind == "header":
        return False if facts.request is None else matchers.header(inner, facts)
    if kind == "url_path":
        return matchers.path(inner, facts)
    if kind == "filter_state":
        return _filter_state(rule.filter_state, facts)
    return _shared(rule, kind, facts)


def _shared(rule: Proto, kind: str, facts: Facts) -> Truth:
    if kind == "metadata":
        return matchers.metadata(rule.metadata, facts)
    if kind == "sourced_metadata":
        # 0 is dynamic metadata; a route's own is not used by anything that is generated here.
        dynamic = rule.sourced_metadata.metadata_source == 0
        return matchers.metadata(rule.sourced_metadata.metadata_matcher, facts) if dynamic else None
    return None


def _uri_template(extension: Proto, facts: Facts) -> Truth:
    config = unpack(extension.typed_config)
    if config is None or type_name(extension.typed_config) != _URI_TEMPLATE:
        return None
    return matchers.template(config.path_template, facts)


def _authenticated(rule: Proto, facts: Facts) -> Truth:
    if not facts.connection.secured:
        return False
    if not rule.HasField("principal_name"):
        return True
    return matchers.string(rule.principal_name, facts.connection.principal)


def _filter_state(matcher: Proto, facts: Facts) -> Truth:
    if matcher.key != PEER_PRINCIPAL or which(matcher, "matcher") != "string_match":
        return None
    who = facts.connection.principal
    return matchers.string(matcher.string_match, who) if who else False


def targets(policy: Proto) -> tuple[str, ...]:
    """What a policy permits, for people, such as `POST /service/*`; empty when that is anything."""
    found = dict.fromkeys(pair for item in policy.permissions for pair in _targets(item))
    methods = "|".join(text for kind, text in found if kind == "method")
    paths = [text for kind, text in found if kind == "path"]
    others = [text for kind, text in found if kind == "other"]
    if methods and paths:
        paths = [f"{methods} {path}" for path in paths]
    return (*paths, *([methods] if methods and not paths else []), *others)


def _targets(rule: Proto) -> Iterator[tuple[str, str]]:
    kind = which(rule, "rule")
    if kind in ("and_rules", "or_rules"):
        for inner in getattr(rule, kind).rules:
            yield from _targets(inner)
    elif kind == "not_rule":
        yield from (("other", f"not {text}") for _, text in _targets(rule.not_rule))
    elif kind == "url_path":
        yield "path", matchers.describe(rule.url_path.path)
    elif kind == "header":
        name = rule.header.name
        text = matchers.describe(rule.header.string_match) if rule.header.HasField("string_match") else "…"
        yield ("method", text) if name == ":method" else ("other", f"{name} {text}")
    elif kind == "destination_port":
        yield "other", f"port {rule.destination_port}"
    elif kind == "uri_template":
        yield "path", _template_text(rule.uri_template)
    elif kind not in ("any", ""):
        yield "other", kind.replace("_", " ")


def _template_text(extension: Proto) -> str:
    config = unpack(extension.typed_config)
    return str(config.path_template) if config is not None else "a path template"
