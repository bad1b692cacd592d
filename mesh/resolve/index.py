"""Everything that is read from manifests before any proxy is looked at.

An index is built once for all proxies. Built again after a change, it takes over from its predecessor what
did not change: all but the services whose workloads changed, when only WorkloadEntries did.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mesh.ir.cluster import Cluster
from mesh.ir.route import RouteTable
from mesh.ir.view import Proxy, ProxyKind
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.gateway import Gateway
from mesh.manifests.kubernetes import Service as KubernetesService
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.mesh_config import IstioOperator
from mesh.manifests.message import Message
from mesh.manifests.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from mesh.manifests.service_entry import ServiceEntry
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import Telemetry
from mesh.manifests.virtual_service import VirtualService
from mesh.manifests.workload import WorkloadEntry, WorkloadGroup
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.endpoints import Endpoints, endpoints
from mesh.resolve.frame import Frame
from mesh.resolve.kin import Kin
from mesh.resolve.registry import Source
from mesh.resolve.workloads import Workload, workload

_CONFIGURATION: tuple[type[Message], ...] = (
    AuthorizationPolicy,
    DestinationRule,
    EnvoyFilter,
    Gateway,
    IstioOperator,
    KubernetesService,
    PeerAuthentication,
    RequestAuthentication,
    ServiceEntry,
    Sidecar,
    Telemetry,
    VirtualService,
    WorkloadGroup,
)
"""All kinds but WorkloadEntry."""

T = TypeVar("T")

_KIN = 4
"""Kept for each workload at most: labels that nobody has any more would pile up."""

Key = tuple[str, str]
"""Namespace and name."""
Clusters = tuple[Cluster, ...]
Joined = tuple[Clusters, Clusters, Clusters]
Whose = tuple[int, Client]
"""The number of a scope, and who calls."""
Manifested = tuple[Manifest[WorkloadEntry], ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Index:
    """All of a mesh, ready to be asked for the view of a proxy. Made by `index`; never changed by its
    users."""

    manifests: Manifests
    config: Config
    workloads: Mapping[Key, Workload]
    """Ordered by namespace and name."""
    proxies: Mapping[Key, Proxy]
    """Of the workloads that have one, in the same order; of unchanged workloads the very same as before."""
    selected: Mapping[Source, Sequence[Workload]]
    """Workloads that a part of a service selects, ordered by namespace and name."""
    endpoints: Mapping[Key, Endpoints]
    """By namespace and host of the service."""
    tables: dict[Hashable, RouteTable] = field(default_factory=dict)
    """Route tables that were made; they do not depend on workloads."""
    clusters: dict[Whose, Clusters] = field(default_factory=dict)
    """Clusters of a whole scope that were put together."""
    outdated: Mapping[Whose, Clusters] = field(default_factory=dict)
    """Those of the index before of which some are not what they were: the clusters of `touched`."""
    touched: frozenset[Key] = frozenset()
    """Services, by namespace and host, whose workloads changed since the index before."""
    joined: dict[tuple[int, ...], Joined] = field(default_factory=dict)
    """Those with a few of a proxy's own, by the numbers of both: both, and what was put together."""
    kin: dict[Hashable, Kin] = field(default_factory=dict)
    """What sidecars share; it does not depend on other workloads."""
    frames: dict[tuple[str, str, ProxyKind], Frame] = field(default_factory=dict)
    """What was made of single proxies, by namespace, name and kind."""


def index(manifests: Manifests, former: Index | None = None) -> Index:
    """Read `manifests`, taking over from `former` what is the same."""
    if former is not None and _same_configuration(manifests, former.manifests):
        return _with_workloads(manifests, former)
    config = Config(manifests)
    workloads = _workloads(manifests, former)
    selected: dict[Source, list[Workload]] = {}
    for one in workloads.values():
        for _, source in config.selectors.of(one):
            selected.setdefault(source, []).append(one)
    return Index(
        manifests=manifests,
        config=config,
        workloads=workloads,
        proxies=_proxies(workloads.values(), config),
        selected=selected,
        endpoints={service.key: _endpoints(config, service.key, selected) for service in config.services},
    )


def _with_workloads(manifests: Manifests, former: Index) -> Index:
    """Only workloads came, went or changed."""
    config = former.config
    now, before = manifests.of(WorkloadEntry), former.manifests.of(WorkloadEntry)
    now, before = _differing(now, before)
    present, past = set(map(id, now)), set(map(id, before))
    gone = [former.workloads[one.namespace, one.name] for one in before if id(one) not in present]
    fresh = [workload(one) for one in now if id(one) not in past]
    changed = [*gone, *fresh]
    workloads = _replaced(former.workloads, gone, {one.key: one for one in fresh})
    proxies = _replaced(former.proxies, gone, _proxies(fresh, config))
    selected = dict(former.selected)
    keys = {one.key for one in changed}
    touched = {source: service for one in changed for service, source in config.selectors.of(one)}
    for source in touched:
        kept = [one for one in former.selected.get(source, ()) if one.key not in keys]
        kept += [one for one in fresh if any(part is source for _, part in config.selectors.of(one))]
        selected[source] = sorted(kept, key=_order)
    services = dict(former.endpoints)
    changed_services = frozenset(service.key for service in touched.values())
    for service_key in changed_services:
        services[service_key] = _endpoints(config, service_key, selected)
    clusters, outdated = _parted(former.clusters.copy(), config, changed_services)
    return Index(
        manifests=manifests,
        config=config,
        workloads=workloads,
        proxies=proxies,
        selected=selected,
        endpoints=services,
        tables=former.tables,
        clusters=clusters,
        outdated=outdated,
        touched=changed_services,
        joined=_kept_joined(former, clusters, changed_services),
        kin=former.kin if len(former.kin) <= _KIN * (len(workloads) + 1) else {},
        frames={
            key: frame
            # Copied first: proxies that come meanwhile are still told what the former index says.
            for key, frame in former.frames.copy().items()
            if workloads.get(key[:2]) is frame.workload
        },
    )


def _parted(
    made: Mapping[Whose, Clusters], config: Config, touched: frozenset[Key]
) -> tuple[dict[Whose, Clusters], dict[Whose, Clusters]]:
    """What stays as it is, and what does not: the clusters of scopes that reach services whose workloads
    changed."""
    kept: dict[Whose, Clusters] = {}
    outdated: dict[Whose, Clusters] = {}
    for whose, clusters in made.items():
        (outdated if config.scopes.reaches(whose[0], touched) else kept)[whose] = clusters
    return kept, outdated


def _kept_joined(
    former: Index, clusters: Mapping[Whose, Clusters], touched: frozenset[Key]
) -> dict[tuple[int, ...], Joined]:
    kept = set(map(id, clusters.values()))
    hosts = {host for _, host in touched}
    return {
        key: found
        for key, found in former.joined.copy().items()
        if key[0] in kept and not any(one.service in hosts for one in found[1])
    }


def _differing(left: Manifested, right: Manifested) -> tuple[Manifested, Manifested]:
    """Both without what they begin and end with alike. By identity: the reader gives back the very same
    manifests for what did not change."""
    start = _alike(left, right)
    left, right = left[start:], right[start:]
    end = _alike(left[::-1], right[::-1])
    return left[: len(left) - end], right[: len(right) - end]


def _alike(left: Manifested, right: Manifested) -> int:
    """How many both begin with."""
    same = [*map(operator.is_, left, right), False]
    return same.index(False)


def _endpoints(config: Config, key: Key, selected: Mapping[Source, Sequence[Workload]]) -> Endpoints:
    return endpoints(
        config.service(key),
        lambda source: selected.get(source, ()),
        config.peers,
        config.settings.trust_domain,
    )


def _workloads(manifests: Manifests, former: Index | None) -> Mapping[Key, Workload]:
    known = {}
    if former is not None:
        before = former.manifests.of(WorkloadEntry)
        known = {id(one): former.workloads[one.namespace, one.name] for one in before}
    found = (known.get(id(one)) or workload(one) for one in manifests.of(WorkloadEntry))
    return _sorted({one.key: one for one in found})


def _proxies(workloads: Iterable[Workload], config: Config) -> dict[Key, Proxy]:
    made = ((one.key, one.proxy(config.settings.trust_domain)) for one in workloads)
    return {key: proxy for key, proxy in made if proxy is not None}


def _replaced(former: Mapping[Key, T], gone: Iterable[Workload], fresh: Mapping[Key, T]) -> Mapping[Key, T]:
    """`former` without what is gone and with what is fresh, ordered as it was."""
    made = {**former, **fresh}
    for one in gone:
        if one.key not in fresh:
            made.pop(one.key, None)
    return made if fresh.keys() <= former.keys() else _sorted(made)


def _sorted(found: Mapping[Key, T]) -> dict[Key, T]:
    return dict(sorted(found.items(), key=lambda item: item[0]))


def _order(one: Workload) -> Key:
    return one.key


def _same_configuration(manifests: Manifests, former: Manifests) -> bool:
    """The reader gives back the very same manifests for files that did not change."""
    return all(_same(manifests.of(kind), former.of(kind)) for kind in _CONFIGURATION)


def _same(left: Iterable[Manifest[Any]], right: Iterable[Manifest[Any]]) -> bool:
    left, right = tuple(left), tuple(right)
    return len(left) == len(right) and all(map(operator.is_, left, right))
