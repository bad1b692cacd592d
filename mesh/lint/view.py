"""The manifests as rules look at them: services and their workloads, levels of policy, who is selected.

A set of manifests may declare no services or workloads at all (a cluster has Services and pods of its own);
what needs them is then not judged.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mesh.lint.methods import Method
from mesh.lint.patched import Patched, patched
from mesh.manifests.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    Subset,
    TrafficPolicy,
)
from mesh.manifests.kubernetes import Service as KubernetesService
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.message import Message
from mesh.manifests.security import MutualTLSMode, PeerAuthentication
from mesh.manifests.service_entry import ServiceEntry
from mesh.manifests.virtual_service import HTTPRoute, VirtualService
from mesh.manifests.workload import WorkloadEntry
from mesh.resolve.labels import selects
from mesh.resolve.names import DOMAIN, covers, full_host, is_wildcard

ROOT = "istio-system"
TRUST_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service."""

    number: int
    name: str
    protocol: str
    """Upper case; for a Kubernetes port without a declared protocol, empty."""
    target: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """Something that can be called by a name."""

    host: str
    namespace: str
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] | None
    """Of its workloads in its namespace; None: it selects none."""
    endpoints: tuple[WorkloadEntry, ...]
    manifest: Manifest[Message]


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """One workload."""

    namespace: str
    labels: Mapping[str, str]
    service_account: str
    region: str
    manifest: Manifest[Message]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Level:
    """A DestinationRule's policy as it holds for the service, for one port of it, or for one subset."""

    manifest: Manifest[DestinationRule]
    where: TrafficPolicy | PortTrafficPolicy | Subset
    """What declares it."""
    label: str
    """As in `port 8080`; empty for the service as a whole."""
    port: int | None
    load_balancer: LoadBalancerSettings | None
    outlier: OutlierDetection | None
    pool: ConnectionPoolSettings | None
    tls: ClientTLSSettings | None


@dataclass(frozen=True)
class Mesh:
    """All that rules look at."""

    manifests: Manifests
    methods: Mapping[str, Method] = field(default_factory=dict)
    """What is known of RPCs, by path (`/causeway.session.v1.MessageService/AppendMessage`)."""

    @functools.cached_property
    def root(self) -> str:
        """The namespace whose manifests hold for the whole mesh."""
        return self.manifests.mesh_config.root_namespace or ROOT

    @property
    def trust_domains(self) -> frozenset[str]:
        """Those that principals may begin with."""
        mesh = self.manifests.mesh_config
        return frozenset({mesh.trust_domain or TRUST_DOMAIN, TRUST_DOMAIN, *mesh.trust_domain_aliases})

    @functools.cached_property
    def patched(self) -> Patched:
        """What becomes of EnvoyFilters' patches on the proxies that are declared."""
        return patched(self.manifests)

    @functools.cached_property
    def services(self) -> tuple[Service, ...]:
        """All that are declared."""
        return (*self._entries(), *self._kubernetes())

    @functools.cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """All that are declared."""
        return tuple(
            Workload(
                entry.namespace,
                entry.spec.labels,
                entry.spec.service_account or "default",
                (entry.spec.locality or "").partition("/")[0],
                entry,
            )
            for entry in self.manifests.of(WorkloadEntry)
        )

    def workloads_as(self, namespace: str, account: str) -> tuple[Workload, ...]:
        """The workloads that act as a service account."""
        return self._accounts.get((namespace, account), ())

    def find(self, host: str, namespace: str = "") -> tuple[Service, ...]:
        """The services that a host, or a pattern, of a manifest in `namespace` means."""
        wanted = full_host(host, namespace)
        return tuple(
            service
            for service in self.services
            if covers(wanted, service.host) or (is_wildcard(service.host) and covers(service.host, wanted))
        )

    def knows(self, host: str, namespace: str) -> bool:
        """Whether a service has this host. A cluster's own are taken to exist where none is declared."""
        wanted = full_host(host, namespace)
        suffix = f".svc.{DOMAIN}"
        if wanted.endswith(suffix) and not any(service.host.endswith(suffix) for service in self.services):
            return True
        return not self.services or bool(self.find(host, namespace))

    def workloads_of(self, service: Service) -> tuple[Workload, ...]:
        """What serves it, its own endpoints included."""
        chosen = [
            Workload(
                service.namespace,
                endpoint.labels,
                endpoint.service_account or "default",
                (endpoint.locality or "").partition("/")[0],
                service.manifest,
            )
            for endpoint in service.endpoints
        ]
        if service.selector is not None:
            within = self._namespaces.get(service.namespace, ())
            chosen += [workload for workload in within if selects(service.selector, workload.labels)]
        return tuple(chosen)

    def services_of(self, workload: Workload) -> tuple[Service, ...]:
        """The services that a workload of `workloads` serves."""
        return self._served.get(workload, ())

    def selected(self, namespace: str, selector: Mapping[str, str] | None) -> tuple[Workload, ...]:
        """The workloads that a manifest in `namespace` holds for."""
        within = self.workloads if namespace == self.root else self._namespaces.get(namespace, ())
        return tuple(workload for workload in within if selects(selector, workload.labels))

    def destination_rules(self, host: str, namespace: str) -> tuple[Manifest[DestinationRule], ...]:
        """Those that hold for a host, the most specific first."""
        wanted = full_host(host, namespace)
        found = [
            rule
            for rule in self.manifests.of(DestinationRule)
            if rule.spec.host is not None and covers(full_host(rule.spec.host, rule.namespace), wanted)
        ]
        return tuple(sorted(found, key=lambda rule: -len(full_host(rule.spec.host or "", rule.namespace))))

    def mutual_tls(self, namespace: str, labels: Mapping[str, str], port: int | None = None) -> MutualTLSMode:
        """What a workload accepts: the narrowest PeerAuthentication that says something; else PERMISSIVE.

        https://istio.io/latest/docs/reference/config/security/peer_authentication/
        """
        ranked: dict[int, MutualTLSMode] = {}
        for policy in self.manifests.of(PeerAuthentication):
            labelled = policy.spec.selector.match_labels if policy.spec.selector else {}
            if policy.namespace == namespace and labelled and selects(labelled, labels):
                rank = 0
            elif policy.namespace == namespace and not labelled and namespace != self.root:
                rank = 1
            elif policy.namespace == self.root and not labelled:
                rank = 2
            else:
                continue
            setting = policy.spec.mtls
            if rank == 0 and port is not None and port in policy.spec.port_level_mtls:
                setting = policy.spec.port_level_mtls[port]
            if setting is not None and setting.mode not in (None, MutualTLSMode.UNSET):
                ranked.setdefault(rank, setting.mode)
        return ranked[min(ranked)] if ranked else MutualTLSMode.PERMISSIVE

    @functools.cached_property
    def _accounts(self) -> Mapping[tuple[str, str], tuple[Workload, ...]]:
        found: dict[tuple[str, str], list[Workload]] = {}
        for workload in self.workloads:
            found.setdefault((workload.namespace, workload.service_account), []).append(workload)
        return {account: tuple(workloads) for account, workloads in found.items()}

    @functools.cached_property
    def _namespaces(self) -> Mapping[str, tuple[Workload, ...]]:
        found: dict[str, list[Workload]] = {}
        for workload in self.workloads:
            found.setdefault(workload.namespace, []).append(workload)
        return {namespace: tuple(workloads) for namespace, workloads in found.items()}

    @functools.cached_property
    def _served(self) -> Mapping[Workload, tuple[Service, ...]]:
        served: dict[Workload, list[Service]] = {}
        for service in self.services:
            for workload in self.workloads_of(service):
                served.setdefault(workload, []).append(service)
        return {workload: tuple(services) for workload, services in served.items()}

    def _entries(self) -> Iterator[Service]:
        for entry in self.manifests.of(ServiceEntry):
            ports = tuple(
                ServicePort(
                    port.number or 0, port.name or "", (port.protocol or "").upper(), port.target_port
                )
                for port in entry.spec.ports
            )
            selector = entry.spec.workload_selector
            for host in entry.spec.hosts:
                yield Service(
                    host.lower(),
                    entry.namespace,
                    ports,
                    selector.labels if selector else None,
                    entry.spec.endpoints,
                    entry,
                )

    def _kubernetes(self) -> Iterator[Service]:
        for service in self.manifests.of(KubernetesService):
            ports = tuple(
                ServicePort(
                    port.port or 0,
                    port.name or "",
                    declared_protocol(port.name or "", port.app_protocol),
                    None,
                )
                for port in service.spec.ports
            )
            host = f"{service.name}.{service.namespace}.svc.cluster.local"
            yield Service(host, service.namespace, ports, service.spec.selector or None, (), service)


_NAMED_PROTOCOLS = (
    "grpc-web",
    "grpc",
    "http2",
    "https",
    "http",
    "mongo",
    "mysql",
    "redis",
    "tcp",
    "tls",
    "udp",
)


def declared_protocol(name: str, application: str | None) -> str:
    """What a Kubernetes port says it speaks, in upper case: its `appProtocol`, else its name up to a dash.

    Empty when neither says.

    https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
    """
    if application:
        return "HTTP2" if application == "kubernetes.io/h2c" else application.upper()
    for protocol in _NAMED_PROTOCOLS:
        if name == protocol or name.startswith(f"{protocol}-"):
            return protocol.upper()
    return ""


def http_routes(mesh: Mesh) -> Iterator[tuple[Manifest[VirtualService], int, HTTPRoute]]:
    """Every HTTP route with its manifest and its place in it."""
    for manifest in mesh.manifests.of(VirtualService):
        for index, route in enumerate(manifest.spec.http):
            yield manifest, index, route


def levels(mesh: Mesh) -> Iterator[Level]:
    """Every level of every DestinationRule.

    A port's settings replace those above as a whole; a subset's replace them one by one
    (https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy).
    """
    for manifest in mesh.manifests.of(DestinationRule):
        top = manifest.spec.traffic_policy
        if top is not None:
            yield _level(manifest, top, "", None, top)
            yield from _ports(manifest, top, "")
        for subset in manifest.spec.subsets:
            label = f"subset {subset.name}"
            if subset.traffic_policy is not None:
                yield _level(manifest, subset, label, None, subset.traffic_policy, top)
                yield from _ports(manifest, subset.traffic_policy, f"{label}, ")


def _ports(manifest: Manifest[DestinationRule], policy: TrafficPolicy, prefix: str) -> Iterator[Level]:
    for setting in policy.port_level_settings:
        number = setting.port.number if setting.port else None
        yield _level(manifest, setting, f"{prefix}port {number}", number, setting)


def _level(
    manifest: Manifest[DestinationRule],
    where: TrafficPolicy | PortTrafficPolicy | Subset,
    label: str,
    port: int | None,
    policy: TrafficPolicy | PortTrafficPolicy,
    above: TrafficPolicy | None = None,
) -> Level:
    return Level(
        manifest=manifest,
        where=where,
        label=label,
        port=port,
        load_balancer=policy.load_balancer or (above.load_balancer if above else None),
        outlier=policy.outlier_detection or (above.outlier_detection if above else None),
        pool=policy.connection_pool or (above.connection_pool if above else None),
        tls=policy.tls or (above.tls if above else None),
    )
