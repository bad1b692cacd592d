"""Outbound clusters: one for each port of a service, and one for each subset of it.

pilot/pkg/networking/core/cluster.go (`buildOutboundClusters`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mesh.ir.cluster import Cluster, Discovery, HealthCheck
from mesh.ir.origin import default
from mesh.ir.view import ProxyKind
from mesh.manifests.destination_rule import LocalityLoadBalancerSetting
from mesh.resolve import labels as words
from mesh.resolve import locality, metrics, upstream
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.destination_rules import Rule, Subset
from mesh.resolve.endpoints import Endpoint, Endpoints
from mesh.resolve.names import cluster_name, server_name
from mesh.resolve.registry import Resolution, Service, ServicePort
from mesh.resolve.traffic_policy import policy

_DISCOVERY = {
    Resolution.STATIC: Discovery.EDS,
    Resolution.DNS: Discovery.DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.DNS_ROUND_ROBIN,
    Resolution.NONE: Discovery.ORIGINAL_DST,
}

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"


def unknown_destinations(kind: ProxyKind) -> tuple[Cluster, ...]:
    """The clusters that Istio gives every proxy for what no service explains: one that leads nowhere, and, to
    sidecars, one that leads to the address that was dialled."""
    nowhere = Cluster(
        name=BLACK_HOLE,
        service="",
        discovery=Discovery.STATIC,
        origin=default("what no service explains leads nowhere (outboundTrafficPolicy REGISTRY_ONLY)"),
    )
    if kind is not ProxyKind.SIDECAR:
        return (nowhere,)
    dialled = Cluster(
        name=PASSTHROUGH,
        service="",
        discovery=Discovery.ORIGINAL_DST,
        origin=default("what a patch sends there goes where it was dialled"),
    )
    return nowhere, dialled


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A cluster for clients anywhere, and what its hosts are ordered by."""

    cluster: Cluster
    members: tuple[Endpoint, ...]
    setting: LocalityLoadBalancerSetting | None

    def at(self, client: Client) -> Cluster:
        """For a client where it is."""
        if self.cluster.discovery is Discovery.ORIGINAL_DST:
            return self.cluster
        groups = locality.grouped(
            self.members,
            client.locality,
            client.labels,
            self.setting,
            failover=self.cluster.outlier is not None,
            weighted=self.cluster.balancer.locality_weighted,
        )
        return replace(self.cluster, groups=groups)


def service_clusters(
    config: Config, client: Client, service: Service, ports: tuple[ServicePort, ...], found: Endpoints
) -> tuple[Cluster, ...]:
    """Clusters of a service for a client; made once for all clients that agree."""
    key = client, ports
    made = found.clusters.get(key)
    if made is None:
        templates = _templates(config, client.anywhere, service, ports, found)
        made = found.clusters[key] = tuple(template.at(client) for template in templates)
    return made


def _templates(
    config: Config, client: Client, service: Service, ports: tuple[ServicePort, ...], found: Endpoints
) -> tuple[Template, ...]:
    key = client, ports
    made: tuple[Template, ...] | None = found.templates.get(key)
    if made is None:
        rule = config.rules.find(client.namespace, client.labels, service)
        subsets = (None, *(rule.subsets if rule else ()))
        made = found.templates[key] = tuple(
            _template(config, service, port, found, rule, subset) for port in ports for subset in subsets
        )
    return made


def _template(
    config: Config,
    service: Service,
    port: ServicePort,
    found: Endpoints,
    rule: Rule | None,
    subset: Subset | None,
) -> Template:
    said = policy(rule, port.number, subset)
    subset_name = (subset.spec.name if subset else None) or ""
    tls, for_all = upstream.upstream_tls(
        said,
        tuple(sorted({*found.identities, *service.names})),
        server_name(service.host, port.number, subset_name),
        config.settings,
        external=service.external,
    )
    outlier = upstream.outlier_detection(said.outlier)
    own = said.balancer.value.locality_lb_setting if said.balancer else None
    setting = locality.effective(own, config.settings.locality)
    weighted = setting is not None and bool(
        setting.distribute or (outlier and (setting.failover or setting.failover_priority))
    )
    origin = service.origin
    if subset is not None:
        origin = config.origin(subset.manifest, subset.spec)
    elif rule is not None:
        origin = config.origin(rule.manifest)
    cluster = Cluster(
        name=cluster_name(service.host, port.number, subset_name),
        service=service.host,
        discovery=_DISCOVERY[service.resolution],
        http2=port.protocol.is_http2,
        balancer=upstream.load_balancer(said.balancer, locality_weighted=weighted),
        outlier=outlier,
        health_check=_health_check(config, service),
        pool=upstream.connection_pool(said.pool, config.settings, http_port=port.protocol.is_http),
        tls=tls,
        named=metrics.named(service) if config.telemetries.metered else None,
        origin=origin,
    )
    members = _members(found.by_port.get(port.number, ()), subset, for_all=for_all)
    if config.telemetries.metered:
        members = [metrics.with_party(one) for one in members]
    return Template(cluster, tuple(members), setting)


def _members(endpoints: Iterable[Endpoint], subset: Subset | None, *, for_all: bool) -> list[Endpoint]:
    """The hosts of a subset. Where TLS was asked for in so many words, it holds for hosts of any kind."""
    chosen = [one for one in endpoints if subset is None or words.selects(subset.spec.labels, one.labels)]
    if not for_all:
        return chosen
    return [one if one.host.tls else Endpoint(replace(one.host, tls=True), one.labels) for one in chosen]


def _health_check(config: Config, service: Service) -> HealthCheck | None:
    """As the WorkloadGroup of the service's workloads says. Under Istio each workload's agent asks and
    reports to the control plane; here the callers ask, which finds a hung workload sooner."""
    for source in service.sources:
        if source.selector:
            found = config.groups.health_check(service.namespace, source.selector)
            if found is not None:
                return found
    return None
