"""Which DestinationRule counts for a client and a service.

https://istio.io/latest/docs/reference/config/networking/destination-rule/ and
pilot/pkg/model/destination_rule.go; precedence as in
https://istio.io/latest/docs/concepts/traffic-management/ and pilot's `PushContext.destinationRule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mesh.manifests import destination_rule as api
from mesh.manifests.destination_rule import DestinationRule, TrafficPolicy
from mesh.manifests.manifests import Manifest, Manifests
from mesh.resolve import labels as words
from mesh.resolve.names import HostTable, full_host
from mesh.resolve.registry import Service
from mesh.resolve.visibility import Visibility, visibility


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Some hosts of a service, and the manifest that names them."""

    spec: api.Subset
    manifest: Manifest[DestinationRule]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rule:
    """One or several DestinationRules of a host that count as one.

    The first one's policy counts, or, if it has none, the next one's; subsets of all are joined, of those
    with one name the first counts.
    """

    host: str
    namespace: str
    manifest: Manifest[DestinationRule]
    """The first."""
    policy: TrafficPolicy | None
    policy_from: Manifest[DestinationRule]
    subsets: tuple[Subset, ...]
    selector: Mapping[str, str] | None
    visible: Visibility

    def subset(self, name: str) -> Subset | None:
        """Its subset of this name."""
        return next((subset for subset in self.subsets if subset.spec.name == name), None)


_Table = dict[str, dict[str, list[Rule]]]
"""Rules by namespace and host."""


class DestinationRules:
    """All DestinationRules, ready to be asked."""

    def __init__(self, manifests: Manifests, root_namespace: str) -> None:
        self._root = root_namespace
        export = manifests.mesh_config.default_destination_rule_export_to
        ordered = sorted(
            manifests.of(DestinationRule), key=lambda one: (one.created, one.name, one.namespace)
        )
        local: _Table = {}
        exported: _Table = {}
        private: _Table = {}
        for manifest in ordered:
            rule = _rule(manifest, export)
            _add(local, rule)
            _add(private if rule.visible.only(rule.namespace) else exported, rule)
        self._local = _tables(local)
        self._exported = _tables(exported)
        self._root_private = _tables(private).get(root_namespace)
        self.labels = frozenset(key for manifest in ordered for key in _asked_labels(manifest.spec))
        """Labels of clients that decide something."""

    def find(self, namespace: str, labels: Mapping[str, str], service: Service) -> Rule | None:
        """The rule that a client in `namespace` with `labels` follows when it calls `service`.

        The client's namespace comes first, then the service's, then the root namespace; in each the most
        specific host. Rules with a workloadSelector count only in the client's own namespace, and before
        those without.
        """
        for candidates in self._candidates(namespace, service):
            if candidates:
                return _chosen(candidates, namespace, labels)
        return None

    def _candidates(self, namespace: str, service: Service) -> Iterable[list[Rule]]:
        own = self._root_private if namespace == self._root else self._local.get(namespace)
        yield (own.find(service.host) if own else None) or []
        for owner in (service.namespace, self._root):
            table = self._exported.get(owner)
            found = (table.find(service.host) if table else None) or []
            yield [rule for rule in found if rule.visible.to(namespace)]


def _chosen(candidates: Iterable[Rule], namespace: str, labels: Mapping[str, str]) -> Rule | None:
    """The first that selects the client, else the last that selects nobody (pilot/pkg/model/sidecar.go,
    `SidecarScope.DestinationRule`)."""
    fallback = None
    for rule in candidates:
        if rule.selector is None:
            fallback = rule
        elif rule.namespace == namespace and words.selects(rule.selector, labels):
            return rule
    return fallback


def _rule(manifest: Manifest[DestinationRule], export: tuple[str, ...]) -> Rule:
    spec = manifest.spec
    return Rule(
        host=full_host(spec.host or "", manifest.namespace),
        namespace=manifest.namespace,
        manifest=manifest,
        policy=spec.traffic_policy,
        policy_from=manifest,
        subsets=tuple(Subset(subset, manifest) for subset in spec.subsets),
        selector=None if spec.workload_selector is None else spec.workload_selector.match_labels,
        visible=visibility(spec.export_to or export, manifest.namespace),
    )


def _add(tables: _Table, rule: Rule) -> None:
    """Keep a rule: as part of an earlier one for the same host, workloads and namespaces, or by itself."""
    rules = tables.setdefault(rule.namespace, {}).setdefault(rule.host, [])
    for position, former in enumerate(rules):
        if former.selector == rule.selector and former.visible == rule.visible:
            rules[position] = _merged(former, rule)
            return
    rules.append(rule)


def _merged(first: Rule, second: Rule) -> Rule:
    known = {subset.spec.name for subset in first.subsets}
    takes = first.policy is None and second.policy is not None
    return replace(
        first,
        policy=second.policy if takes else first.policy,
        policy_from=second.manifest if takes else first.policy_from,
        subsets=first.subsets + tuple(subset for subset in second.subsets if subset.spec.name not in known),
    )


def _tables(rules: _Table) -> dict[str, HostTable[list[Rule]]]:
    return {namespace: HostTable(hosts) for namespace, hosts in rules.items()}


def _asked_labels(spec: DestinationRule) -> Iterable[str]:
    if spec.workload_selector is not None:
        yield from spec.workload_selector.match_labels
    policies: list[TrafficPolicy | api.PortTrafficPolicy] = []
    for policy in (spec.traffic_policy, *(subset.traffic_policy for subset in spec.subsets)):
        if policy is not None:
            policies += [policy, *policy.port_level_settings]
    for one in policies:
        balancer = one.load_balancer
        if balancer is not None and balancer.locality_lb_setting is not None:
            for entry in balancer.locality_lb_setting.failover_priority:
                yield entry.partition("=")[0]
