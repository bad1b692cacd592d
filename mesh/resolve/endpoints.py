"""Who serves a service: the hosts of each of its ports.

https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry (workloadSelector,
endpoints).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.ir.cluster import Cluster, Host
from mesh.ir.security import MutualTls
from mesh.manifests.service_entry import ServiceEntry
from mesh.resolve import labels as words
from mesh.resolve import origins, workloads
from mesh.resolve.authentication import PeerAuthentications
from mesh.resolve.names import is_wildcard
from mesh.resolve.registry import Resolution, Service, ServicePort, Source
from mesh.resolve.workloads import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A host, and the labels that subsets and failover ask for."""

    host: Host
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Endpoints:
    """Hosts of one service. Lives until one of them changes, or the configuration."""

    by_port: Mapping[int, tuple[Endpoint, ...]]
    """By the service's port number; in a fixed order."""
    identities: tuple[str, ...]
    """SPIFFE IDs of the workloads, in alphabetical order."""
    clusters: dict[Hashable, tuple[Cluster, ...]] = field(default_factory=dict)
    """Clusters that were made of it, by what else they depend on."""
    templates: dict[Hashable, Any] = field(default_factory=dict)
    """The same before a client's place is known."""


class Selectors:
    """Which services select a workload."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._by_pair: dict[tuple[str, tuple[str, str] | None], list[tuple[Service, Source]]] = {}
        for service in services:
            for source in service.sources:
                if source.selector is not None and not source.inline:
                    pair = min(source.selector.items(), default=None)
                    self._by_pair.setdefault((service.namespace, pair), []).append((service, source))

    def of(self, workload: Workload) -> list[tuple[Service, Source]]:
        """The services (and which part of each) that `workload` serves."""
        pairs: list[tuple[str, str] | None] = [None, *workload.labels.items()]
        return [
            (service, source)
            for pair in pairs
            for service, source in self._by_pair.get((workload.namespace, pair), ())
            if words.selects(source.selector, workload.labels)
        ]


def target_port(port: ServicePort, workload: Workload) -> int:
    """The port of a workload that stands behind a service's port."""
    return workload.ports.get(port.name) or port.target


def endpoints(
    service: Service,
    selected: Callable[[Source], Sequence[Workload]],
    peers: PeerAuthentications,
    trust_domain: str,
) -> Endpoints:
    """The hosts of `service`; `selected` knows the workloads that a part of it selects."""
    by_port: dict[int, list[Endpoint]] = {port.number: [] for port in service.ports}
    identities: set[str] = set()
    for source in service.sources:
        members = _members(service, source, selected)
        identities |= {one.spiffe_id(trust_domain) for one in members if one.service_account}
        for port in source.ports:
            by_port[port.number] += (_endpoint(one, target_port(port, one), peers) for one in members)
    return Endpoints({number: tuple(found) for number, found in by_port.items()}, tuple(sorted(identities)))


def _members(
    service: Service, source: Source, selected: Callable[[Source], Sequence[Workload]]
) -> Sequence[Workload]:
    manifest = source.manifest
    if source.inline:
        return [
            workloads.inline(
                entry, manifest.namespace, f"{manifest.name}-{position}", origins.of(manifest, entry)
            )
            for position, entry in enumerate(source.inline)
        ]
    if source.selector is not None:
        return selected(source)
    by_name = service.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
    if by_name and isinstance(manifest.spec, ServiceEntry) and not is_wildcard(service.host):
        return [workloads.by_name(service.host, manifest.namespace, manifest.name, origins.of(manifest))]
    return ()


def _endpoint(workload: Workload, port: int, peers: PeerAuthentications) -> Endpoint:
    mutual = workload.mutual_tls
    if mutual:
        mutual = peers.mode(workload.namespace, workload.labels, port)[0] is not MutualTls.DISABLE
    host = Host(
        address=workload.address,
        port=port,
        locality=workload.locality,
        weight=workload.weight,
        tls=mutual,
        workload=f"{workload.namespace}/{workload.name}",
        draining=workload.draining,
        origin=workload.origin,
    )
    return Endpoint(host, workload.labels)
