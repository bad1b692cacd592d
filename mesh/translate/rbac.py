"""Istio's AuthorizationPolicies as Envoy's RBAC filters, for requests and for bare connections.

The rules of evaluation (https://istio.io/latest/docs/concepts/security/#implicit-enablement):
1. CUSTOM policies that match: the provider is asked, and may refuse.
2. AUDIT policies only note.
3. A DENY policy that matches refuses.
4. With ALLOW policies, one of them must match; without any, everything else is allowed.

On a bare connection, conditions about requests cannot hold. An ALLOW rule that has one is left out, so that
less is allowed; in a DENY, AUDIT or CUSTOM rule only that condition is left out, so that more is denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mesh.ir.security import Condition, Effect, Policy, Rule, Security
from mesh.translate import ext_authz
from mesh.translate.names import (
    EXT_AUTHZ,
    NETWORK_EXT_AUTHZ,
    NETWORK_RBAC,
    RBAC,
    policy_id,
)
from mesh.translate.packing import Proto
from mesh.translate.rbac_terms import HTTP_ONLY, permission, principal
from mesh.xds.protos import http_rbac_pb2, network_rbac_pb2, rbac_pb2

_ACTIONS = {
    Effect.ALLOW: rbac_pb2.RBAC.ALLOW,
    Effect.DENY: rbac_pb2.RBAC.DENY,
    Effect.AUDIT: rbac_pb2.RBAC.LOG,
    Effect.CUSTOM: rbac_pb2.RBAC.DENY,
}
_DRY_RUN = {
    Effect.ALLOW: "istio_dry_run_allow_",
    Effect.DENY: "istio_dry_run_deny_",
    Effect.AUDIT: "",
    Effect.CUSTOM: "istio_dry_run_custom_",
}
_BAD_PROVIDER = "-deny-due-to-bad-CUSTOM-action"
_TCP_STATS = "tcp."


class Filter(NamedTuple):
    """A filter's name and configuration, not packed yet."""

    name: str
    config: Proto


def custom_filters(security: Security, *, http: bool) -> list[Filter]:
    """For CUSTOM policies: by provider, a filter that notes what matches and one that then asks."""
    found: list[Filter] = []
    policies = [policy for policy in security.policies if policy.effect is Effect.CUSTOM]
    for provider in sorted({policy.provider for policy in policies}):
        ours = [policy for policy in policies if policy.provider == provider]
        found += _ask(provider, ours, security, http=http)
    return found


def filters(security: Security, *, http: bool) -> list[Filter]:
    """For AUDIT, DENY and ALLOW policies, in that order."""
    found: list[Filter] = []
    for effect in (Effect.AUDIT, Effect.DENY, Effect.ALLOW):
        policies = [policy for policy in security.policies if policy.effect is effect]
        if policies:
            found.append(_enforce(effect, policies, http=http))
    return found


def _enforce(effect: Effect, policies: Sequence[Policy], *, http: bool) -> Filter:
    enforced = [policy for policy in policies if not policy.dry_run]
    tried = [policy for policy in policies if policy.dry_run]
    return _filter(
        rules=rules(effect, enforced, http=http) if enforced else None,
        shadow=rules(effect, tried, http=http) if tried else None,
        prefix=_DRY_RUN[effect] if tried else "",
        http=http,
    )


def _ask(provider: str, policies: Sequence[Policy], security: Security, *, http: bool) -> Iterator[Filter]:
    enforced = [policy for policy in policies if not policy.dry_run]
    tried = [policy for policy in policies if policy.dry_run]
    if tried:
        shadow = rules(Effect.CUSTOM, tried, http=http)
        yield _filter(rules=None, shadow=shadow, prefix=_DRY_RUN[Effect.CUSTOM], http=http)
    if not enforced:
        return
    matching = rules(Effect.CUSTOM, enforced, http=http)
    authorizer = security.authorizers.get(provider)
    if authorizer is None:
        # Nobody to ask: what would have been asked about is denied.
        denied = rbac_pb2.RBAC(
            action=rbac_pb2.RBAC.DENY,
            policies={name + _BAD_PROVIDER: matching.policies[name] for name in matching.policies},
        )
        yield _filter(rules=denied, shadow=None, prefix="", http=http)
        return
    if http:
        asking: Filter | None = Filter(EXT_AUTHZ, ext_authz.http_filter(authorizer, RBAC))
    else:
        config = ext_authz.network_filter(authorizer, NETWORK_RBAC)
        asking = None if config is None else Filter(NETWORK_EXT_AUTHZ, config)
    if asking is not None:
        yield _filter(rules=None, shadow=matching, prefix=ext_authz.NOTE, http=http)
        yield asking


def _filter(*, rules: Proto | None, shadow: Proto | None, prefix: str, http: bool) -> Filter:
    """`rules` that are None and rules without policies differ: the latter, if they allow, allow nobody."""
    if http:
        return Filter(
            RBAC, http_rbac_pb2.RBAC(rules=rules, shadow_rules=shadow, shadow_rules_stat_prefix=prefix)
        )
    return Filter(
        NETWORK_RBAC,
        network_rbac_pb2.RBAC(
            rules=rules, shadow_rules=shadow, shadow_rules_stat_prefix=prefix, stat_prefix=_TCP_STATS
        ),
    )


def rules(effect: Effect, policies: Iterable[Policy], *, http: bool) -> Proto:
    """The policies of one effect, each rule under a name of its own."""
    made: dict[str, Proto] = {}
    for policy in policies:
        if not policy.rules:
            made[policy_id(policy, 0)] = _never()
        for index, rule in enumerate(policy.rules):
            translated = translate_rule(rule, effect, http=http)
            if translated is not None:
                made[policy_id(policy, index)] = translated
    return rbac_pb2.RBAC(action=_ACTIONS[effect], policies=made)


def translate_rule(rule: Rule, effect: Effect, *, http: bool) -> Proto | None:
    """An RBAC policy: one of its permissions and one of its principals must match. None when it is left
    out."""
    operations = rule.operations or ((),)
    sources = rule.sources or ((),)
    if not http:
        if effect is Effect.ALLOW and _about_requests(rule):
            return None
        operations = tuple(_about_connections(group) for group in operations)
        sources = tuple(_about_connections(group) for group in sources)
    conditions = rule.conditions if http else _about_connections(rule.conditions)
    return rbac_pb2.Policy(
        permissions=[_all_permissions((*group, *conditions)) for group in operations],
        principals=[_all_principals((*group, *conditions)) for group in sources],
    )


def _about_requests(rule: Rule) -> bool:
    groups = (*rule.sources, *rule.operations, rule.conditions)
    return any(condition.attribute in HTTP_ONLY for group in groups for condition in group)


def _about_connections(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(condition for condition in conditions if condition.attribute not in HTTP_ONLY)


def _all_permissions(conditions: Iterable[Condition]) -> Proto:
    terms = [term for condition in conditions if (term := permission(condition)) is not None]
    return rbac_pb2.Permission(
        and_rules=rbac_pb2.Permission.Set(rules=terms or [rbac_pb2.Permission(any=True)])
    )


def _all_principals(conditions: Iterable[Condition]) -> Proto:
    terms = [term for condition in conditions if (term := principal(condition)) is not None]
    return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=terms or [rbac_pb2.Principal(any=True)]))


def _never() -> Proto:
    """What a policy without rules means: it matches nothing."""
    return rbac_pb2.Policy(
        permissions=[rbac_pb2.Permission(not_rule=rbac_pb2.Permission(any=True))],
        principals=[rbac_pb2.Principal(not_id=rbac_pb2.Principal(any=True))],
    )
