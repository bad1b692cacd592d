"""Hosts of a cluster in order of nearness: priorities without gaps, and weights of localities.

Source: https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/ and
pilot/pkg/networking/core/loadbalancer/loadbalancer.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from mesh.ir.cluster import Host, HostGroup
from mesh.ir.values import Locality
from mesh.manifests.destination_rule import Distribute, Failover, LocalityLoadBalancerSetting
from mesh.resolve.labels import parse_locality

_FURTHER = 5
"""Nearness has five steps, so a priority by label counts five times as much."""


class Member(Protocol):
    """A host, and the labels that it is known by."""

    @property
    def host(self) -> Host:
        """Where it is."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Its own and those of its locality."""
        ...


def effective(
    rule: LocalityLoadBalancerSetting | None, mesh: LocalityLoadBalancerSetting | None
) -> LocalityLoadBalancerSetting | None:
    """The setting that counts: the DestinationRule's, else the mesh's; None when it is switched off."""
    setting = rule if rule is not None else mesh
    if setting is None or setting.enabled is False:
        return None
    return setting


def grouped(
    members: Sequence[Member],
    client: Locality,
    client_labels: Mapping[str, str],
    setting: LocalityLoadBalancerSetting | None,
    *,
    failover: bool,
    weighted: bool,
) -> tuple[HostGroup, ...]:
    """Hosts as groups ordered by priority and locality.

    `failover`: the cluster has outlier detection. Without it Envoy would never leave the first priority, so
    Istio makes no priorities. `distribute` gives weights instead of priorities and drops what it does not
    name.
    """
    if setting is not None and setting.distribute:
        return _distributed(members, client, setting.distribute)
    priority: Callable[[Host, Mapping[str, str]], int] = _nowhere
    if setting is not None and failover:
        priority = _nearness(client, client_labels, setting)
    return _groups(members, priority, weighted)


def _nowhere(host: Host, labels: Mapping[str, str]) -> int:
    return 0


def _nearness(
    client: Locality, client_labels: Mapping[str, str], setting: LocalityLoadBalancerSetting
) -> Callable[[Host, Mapping[str, str]], int]:
    """Farther means a greater number; numbers may leave gaps."""
    labels = tuple(_label(entry, client_labels) for entry in setting.failover_priority)
    by_region = not labels or bool(setting.failover)

    def nearness(host: Host, host_labels: Mapping[str, str]) -> int:
        by_label = 0
        for position, (key, value) in enumerate(labels):
            if host_labels.get(key, "") != value:
                by_label = len(labels) - position
                break
        distance = _distance(client, host.locality, setting.failover) if by_region else 0
        return by_label * _FURTHER + distance

    return nearness


def _label(entry: str, client_labels: Mapping[str, str]) -> tuple[str, str]:
    """`key` asks for the client's own value, `key=value` for that one."""
    key, equals, value = entry.partition("=")
    return key, value if equals else client_labels.get(key, "")


def _distance(client: Locality, host: Locality, failover: Sequence[Failover]) -> int:
    """0 the same subzone, 1 the same zone, 2 the same region, 3 elsewhere, 4 where `failover` does not
    lead."""
    if client.region != host.region:
        for rule in failover:
            if rule.from_ == client.region:
                return 3 if host.region == rule.to else 4
        return 3
    if client.zone != host.zone:
        return 2
    return 0 if client.subzone == host.subzone else 1


def _groups(
    members: Sequence[Member],
    priority: Callable[[Host, Mapping[str, str]], int],
    weighted: bool,
) -> tuple[HostGroup, ...]:
    found: dict[tuple[int, Locality], list[Host]] = {}
    for member in members:
        host = member.host
        found.setdefault((priority(host, member.labels), host.locality), []).append(host)
    ranks = {number: rank for rank, number in enumerate(sorted({number for number, _ in found}))}
    return tuple(
        HostGroup(
            locality=locality,
            priority=ranks[number],
            weight=_weight(hosts) if weighted else None,
            hosts=tuple(hosts),
        )
        for (number, locality), hosts in sorted(found.items(), key=lambda item: item[0])
    )


def _distributed(
    members: Sequence[Member], client: Locality, distribute: Sequence[Distribute]
) -> tuple[HostGroup, ...]:
    groups = _groups(members, _nowhere, weighted=True)
    rule = next((rule for rule in distribute if _locality_matches(rule.from_ or "", client)), None)
    if rule is None:
        return groups
    weights: dict[Locality, int] = {}
    for pattern, share in rule.to.items():
        matched = [
            group
            for group in groups
            if group.locality not in weights and _locality_matches(pattern, group.locality)
        ]
        total = sum(group.weight or 0 for group in matched)
        for group in matched:
            weights[group.locality] = math.ceil((group.weight or 0) * share / total)
    return tuple(
        HostGroup(locality=group.locality, priority=0, weight=weights[group.locality], hosts=group.hosts)
        for group in groups
        if weights.get(group.locality, 0) > 0
    )


def _locality_matches(pattern: str, locality: Locality) -> bool:
    """`*`, `region/*`, `region/zone` and the like."""
    wanted = parse_locality(pattern)
    return (
        wanted.region in ("*", locality.region)
        and wanted.zone in ("", "*", locality.zone)
        and wanted.subzone in ("", "*", locality.subzone)
    )


def _weight(hosts: Iterable[Host]) -> int:
    return sum(host.weight for host in hosts)
