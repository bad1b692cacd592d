"""AuthorizationPolicies that count for a workload, in our own words.

https://istio.io/latest/docs/reference/config/security/authorization-policy/ and
https://istio.io/latest/docs/reference/config/security/conditions/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mesh.ir.security import Attribute, Condition, Effect, Policy, Rule
from mesh.manifests import security as api
from mesh.manifests.manifests import Manifest
from mesh.manifests.security import AuthorizationPolicy
from mesh.resolve import labels as words
from mesh.resolve import origins

_KEYS = {
    "source.ip": Attribute.SOURCE_IP,
    "remote.ip": Attribute.REMOTE_IP,
    "source.namespace": Attribute.NAMESPACE,
    "source.principal": Attribute.PRINCIPAL,
    "source.serviceAccount": Attribute.SERVICE_ACCOUNT,
    "request.auth.principal": Attribute.REQUEST_PRINCIPAL,
    "request.auth.audiences": Attribute.REQUEST_AUDIENCE,
    "request.auth.presenter": Attribute.REQUEST_PRESENTER,
    "destination.ip": Attribute.DESTINATION_IP,
    "destination.port": Attribute.PORT,
    "connection.sni": Attribute.SNI,
}
_KEYED = {
    "request.headers": Attribute.HEADER,
    "request.auth.claims": Attribute.CLAIM,
}
_FILTER = "experimental.envoy.filters."
_LOCAL = "cluster.local"
"""In a policy: whatever the mesh's trust domain is."""


class TrustDomains:
    """The names that the mesh's trust domain has or had; a principal of one is a principal of all."""

    def __init__(self, domain: str, aliases: Iterable[str]) -> None:
        self._all = tuple(dict.fromkeys((domain, *aliases)))

    def expand(self, principals: Iterable[str]) -> tuple[str, ...]:
        """`principals` in every name of the trust domain; patterns and other domains stay as they are."""
        found: dict[str, None] = {}
        for principal in principals:
            domain, slash, rest = principal.partition("/")
            if slash and (domain in self._all or domain == _LOCAL):
                found.update((f"{name}/{rest}", None) for name in self._all)
            else:
                found[principal] = None
        return tuple(found)


class Authorizations:
    """All AuthorizationPolicies, ready to be asked."""

    def __init__(
        self, manifests: Sequence[Manifest[AuthorizationPolicy]], root_namespace: str, domains: TrustDomains
    ) -> None:
        self._root = root_namespace
        ordered = sorted(manifests, key=lambda one: (one.created, one.namespace, one.name))
        self._policies = words.Selections(
            (one.namespace, words.pairs(one.spec.selector), _policy(one, domains)) for one in ordered
        )

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Policy, ...]:
        """The policies that select a workload: the root namespace's, then its own's, the oldest first."""
        return tuple(
            policy
            for owner in dict.fromkeys((self._root, namespace))
            for policy in self._policies.applying(owner, labels)
        )


def _policy(manifest: Manifest[AuthorizationPolicy], domains: TrustDomains) -> Policy:
    spec = manifest.spec
    action = spec.action or api.Action.ALLOW
    provider = spec.provider.name if spec.provider else None
    return Policy(
        name=f"{manifest.namespace}/{manifest.name}",
        effect=Effect(action.value),
        rules=tuple(_rule(rule, manifest, domains) for rule in spec.rules),
        provider=(provider or "") if action is api.Action.CUSTOM else "",
        dry_run=manifest.annotations.get(words.DRY_RUN) == "true",
        origin=origins.of(manifest),
    )


def _rule(rule: api.Rule, manifest: Manifest[AuthorizationPolicy], domains: TrustDomains) -> Rule:
    sources = tuple(_source(one.source, manifest.namespace, domains) for one in rule.from_ if one.source)
    operations = tuple(_operation(one.operation) for one in rule.to if one.operation)
    return Rule(
        sources=sources,
        operations=operations,
        conditions=tuple(
            condition for when in rule.when for condition in _when(when, manifest.namespace, domains)
        ),
        origin=origins.of(manifest, rule),
    )


def _source(source: api.Source, namespace: str, domains: TrustDomains) -> tuple[Condition, ...]:
    accounts = _accounts(source.service_accounts, namespace)
    not_accounts = _accounts(source.not_service_accounts, namespace)
    principals, not_principals = domains.expand(source.principals), domains.expand(source.not_principals)
    return (
        *_both(Attribute.PRINCIPAL, principals, not_principals),
        *_both(Attribute.REQUEST_PRINCIPAL, source.request_principals, source.not_request_principals),
        *_both(Attribute.NAMESPACE, source.namespaces, source.not_namespaces),
        *_both(Attribute.SERVICE_ACCOUNT, accounts, not_accounts),
        *_both(Attribute.TRUST_DOMAIN, source.trust_domains, source.not_trust_domains),
        *_both(Attribute.SOURCE_IP, source.ip_blocks, source.not_ip_blocks),
        *_both(Attribute.REMOTE_IP, source.remote_ip_blocks, source.not_remote_ip_blocks),
    )


def _operation(operation: api.Operation) -> tuple[Condition, ...]:
    return (
        *_both(Attribute.HOST, operation.hosts, operation.not_hosts),
        *_both(Attribute.PORT, operation.ports, operation.not_ports),
        *_both(Attribute.METHOD, operation.methods, operation.not_methods),
        *_both(Attribute.PATH, operation.paths, operation.not_paths),
    )


def _when(when: api.Condition, namespace: str, domains: TrustDomains) -> tuple[Condition, ...]:
    key = when.key or ""
    values, excepted = when.values, when.not_values
    if key in _KEYS:
        attribute = _KEYS[key]
        if attribute is Attribute.PRINCIPAL:
            values, excepted = domains.expand(values), domains.expand(excepted)
        if attribute is Attribute.SERVICE_ACCOUNT:
            values, excepted = _accounts(values, namespace), _accounts(excepted, namespace)
        return _both(attribute, values, excepted)
    if key.startswith(_FILTER):
        return _both(Attribute.FILTER, values, excepted, key.removeprefix(_FILTER))
    name, bracket, rest = key.partition("[")
    if bracket and name in _KEYED:
        path = rest.removesuffix("]")
        return _both(_KEYED[name], values, excepted, path)
    raise ValueError(f"{when.at}: {key!r} is no attribute of conditions")


def _both(
    attribute: Attribute, values: Sequence[str], excepted: Sequence[str], key: str = ""
) -> tuple[Condition, ...]:
    found = []
    if values:
        found.append(Condition(attribute, tuple(values), key))
    if excepted:
        found.append(Condition(attribute, tuple(excepted), key, invert=True))
    return tuple(found)


def _accounts(names: Iterable[str], namespace: str) -> tuple[str, ...]:
    """`name` is of the policy's own namespace, else `namespace/name`."""
    return tuple(name if "/" in name else f"{namespace}/{name}" for name in names)
