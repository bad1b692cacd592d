"""The whole configuration of one proxy."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.ir.cluster import Cluster
from mesh.ir.listener import Listener
from mesh.ir.route import RouteTable
from mesh.ir.security import Security
from mesh.ir.telemetry import Telemetry
from mesh.ir.view import Proxy, ProxyKind, ProxyView
from mesh.manifests.manifests import Manifests
from mesh.manifests.telemetry import WorkloadMode
from mesh.manifests.workload import WorkloadEntry
from mesh.resolve import labels as words
from mesh.resolve import metrics, providers
from mesh.resolve.client import client
from mesh.resolve.clusters import service_clusters, unknown_destinations
from mesh.resolve.endpoints import target_port
from mesh.resolve.frame import Frame
from mesh.resolve.gateways import gateways
from mesh.resolve.inbound import Target, inbound, served
from mesh.resolve.index import Index
from mesh.resolve.kin import Kin
from mesh.resolve.outbound import called, outbound
from mesh.resolve.proxyless import proxyless
from mesh.resolve.scope import Egress, Reach, Scope
from mesh.resolve.settings import settings
from mesh.resolve.virtual_hosts import outbound_table
from mesh.resolve.workloads import workload


def proxies(found: Manifests | Index) -> tuple[Proxy, ...]:
    """Every proxy that the WorkloadEntries speak of, ordered by namespace and name; an index knows them
    already.

    A workload has a sidecar when its label `security.istio.io/tlsMode` is `istio`, or, without that label,
    when it has a service account; `inject.istio.io/templates` (label or annotation) says which other kind it
    has, and `sidecar.istio.io/inject: "false"` that it has none.
    """
    if isinstance(found, Index):
        return tuple(found.proxies.values())
    trust_domain = settings(found.mesh_config).trust_domain
    entries = sorted(found.of(WorkloadEntry), key=lambda one: (one.namespace, one.name))
    made = (workload(manifest).proxy(trust_domain) for manifest in entries)
    return tuple(proxy for proxy in made if proxy is not None)


def resolve(index: Index, proxy: Proxy) -> ProxyView:
    """What `proxy` is to do. Equal manifests and proxies make equal views."""
    return _Resolving(index, proxy).view()


class _Resolving:
    """One view while it is put together."""

    def __init__(self, index: Index, proxy: Proxy) -> None:
        self._index = index
        self._config = index.config
        self._proxy = proxy
        self._workload = index.workloads.get((proxy.namespace, proxy.name))
        labels = words.with_topology(proxy.labels, proxy.locality)
        self._client = client(proxy, labels, self._config.asked_labels)

    def view(self) -> ProxyView:
        frame = self._frame()
        clusters = self._outbound_clusters(frame.scope)
        further = list(frame.clusters)
        if frame.needed:
            further += self._further_clusters(frame.needed - {one.name for one in clusters})
        if further:
            clusters = self._joined(clusters, tuple(further))
        return ProxyView(
            proxy=self._proxy,
            clusters=clusters,
            route_tables=frame.tables,
            listeners=frame.listeners,
            credentials=frame.credentials,
            patches=frame.patches,
        )

    def _frame(self) -> Frame:
        key = self._proxy.namespace, self._proxy.name, self._proxy.kind
        found = self._index.frames.get(key)
        if found is None or found.workload is not self._workload or found.proxy != self._proxy:
            found = self._index.frames[key] = self._made()
        return found

    def _made(self) -> Frame:
        if self._proxy.kind is ProxyKind.GATEWAY:
            return self._gateway()
        if self._proxy.kind is ProxyKind.PROXYLESS:
            return self._proxyless()
        return self._sidecar()

    def _sidecar(self) -> Frame:
        kin = self._kin()
        anywhere = self._client.anywhere
        as_client, as_server = (metrics.of_proxy(one, self._proxy) for one in (kin.as_client, kin.as_server))
        listeners, tables = outbound(self._config, self._proxy, anywhere, kin.called, as_client)
        own_listeners, own_tables, own_clusters = inbound(self._proxy, kin.served, kin.security, as_server)
        taken = {(one.address, one.port) for one in own_listeners}
        listeners = [one for one in listeners if (one.address, one.port) not in taken]
        return self._framed(kin.scope, listeners + own_listeners, tables + own_tables, own_clusters)

    def _kin(self) -> Kin:
        proxy, own = self._proxy, self._workload
        key = (
            self._client,
            frozenset(proxy.labels.items()),
            frozenset(own.ports.items()) if own is not None else None,
            self._service_name,
        )
        found = self._index.kin.get(key)
        if found is None:
            found = self._index.kin[key] = self._kin_made()
        return found

    def _kin_made(self) -> Kin:
        proxy, anywhere = self._proxy, self._client.anywhere
        scope = self._config.scopes.sidecar(proxy.namespace, proxy.labels)
        return Kin(
            scope=scope,
            called=called(self._config, scope, self._table),
            served=served(self._config, anywhere, proxy.labels, scope.sidecar, self._targets()),
            security=self._security(),
            as_client=self._telemetry(WorkloadMode.CLIENT),
            as_server=self._telemetry(WorkloadMode.SERVER),
        )

    def _gateway(self) -> Frame:
        scope = self._config.scopes.gateway(self._proxy.namespace)
        made = gateways(
            self._config,
            self._proxy,
            self._client.anywhere,
            self._listen_port,
            self._security(),
            metrics.of_proxy(self._telemetry(WorkloadMode.CLIENT), self._proxy),
        )
        return self._framed(scope, made.listeners, made.tables, (), made.credentials)

    def _proxyless(self) -> Frame:
        scope = self._config.scopes.sidecar(self._proxy.namespace, self._proxy.labels)
        listeners, tables = proxyless(self._config, self._client.anywhere, scope)
        return self._framed(scope, listeners, tables, ())

    def _framed(
        self,
        scope: Scope,
        listeners: Iterable[Listener],
        tables: Iterable[RouteTable],
        clusters: Iterable[Cluster],
        credentials: tuple[str, ...] = (),
    ) -> Frame:
        ordered = tuple(sorted(listeners, key=lambda one: one.name))
        return Frame(
            proxy=self._proxy,
            workload=self._workload,
            scope=scope,
            listeners=ordered,
            tables=tuple(sorted(tables, key=lambda one: one.name)),
            clusters=tuple(clusters),
            needed=_needed_clusters(ordered),
            credentials=credentials,
            patches=self._config.patches.of(self._proxy),
        )

    def _table(self, egress: Egress, port: int) -> RouteTable:
        key = egress.imports.number, self._client.anywhere, port
        table = self._index.tables.get(key)
        if table is None:
            table = outbound_table(self._config, self._client.anywhere, egress.imports, port)
            self._index.tables[key] = table
        return table

    def _outbound_clusters(self, scope: Scope) -> tuple[Cluster, ...]:
        key = scope.number, self._client
        made = self._index.clusters.get(key)
        if made is None:
            former = self._index.outdated.get(key)
            made = self._all_clusters(scope) if former is None else self._renewed(former, scope)
            self._index.clusters[key] = made
        return made

    def _all_clusters(self, scope: Scope) -> tuple[Cluster, ...]:
        found = list(unknown_destinations(self._proxy.kind))
        for reach in scope.reach:
            found += self._clusters_of(reach)
        return tuple(sorted(found, key=lambda one: one.name))

    def _renewed(self, former: tuple[Cluster, ...], scope: Scope) -> tuple[Cluster, ...]:
        """The same clusters with the hosts of now: workloads decide nothing else of them."""
        touched = self._index.touched
        fresh = {
            one.name: one
            for reach in scope.reach
            if reach.service.key in touched
            for one in self._clusters_of(reach)
        }
        return tuple(fresh.get(one.name, one) for one in former)

    def _clusters_of(self, reach: Reach) -> tuple[Cluster, ...]:
        hosts = self._index.endpoints[reach.service.key]
        return service_clusters(self._config, self._client, reach.service, reach.ports, hosts)

    def _joined(self, clusters: tuple[Cluster, ...], further: tuple[Cluster, ...]) -> tuple[Cluster, ...]:
        """Both; the very same tuple for all proxies that have the very same clusters."""
        key = id(clusters), *map(id, further)
        found = self._index.joined.get(key)
        if found is None:
            joined = tuple(sorted((*clusters, *further), key=lambda one: one.name))
            # What the numbers belong to is kept with them: else they might come to belong to others.
            found = self._index.joined[key] = clusters, further, joined
        return found[2]

    def _further_clusters(self, names: Iterable[str]) -> list[Cluster]:
        found: list[Cluster] = []
        for name in sorted(names):
            _, number, _, host = name.split("|")
            service = self._config.scopes.any(host, self._proxy.namespace)
            port = service.port(int(number)) if service else None
            if service is not None and port is not None:
                hosts = self._index.endpoints[service.key]
                made = service_clusters(self._config, self._client, service, (port,), hosts)
                found += (one for one in made if one.name == name)
        return found

    def _security(self) -> Security | None:
        issuers = self._config.tokens.of(self._proxy.namespace, self._proxy.labels)
        policies = self._config.authorizations.of(self._proxy.namespace, self._proxy.labels)
        if not issuers and not policies:
            return None
        authorizers = providers.authorizers(policies, self._config.settings)
        return Security(issuers=issuers, policies=policies, authorizers=authorizers)

    def _telemetry(self, mode: WorkloadMode) -> Telemetry:
        namespace, labels = self._proxy.namespace, self._proxy.labels
        return self._config.telemetries.of(namespace, labels, self._service_name, mode)

    @property
    def _service_name(self) -> str:
        return f"{self._proxy.labels.get('app') or self._proxy.name}.{self._proxy.namespace}"

    def _targets(self) -> tuple[Target, ...]:
        """The services' ports that lead to the workload, the oldest service's first."""
        own = self._workload
        if own is None:
            return ()
        found = sorted(self._config.selectors.of(own), key=lambda one: (one[0].created, one[0].host))
        return tuple(
            Target(service, port.number, target_port(port, own), port.protocol)
            for service, source in found
            for port in source.ports
        )

    def _listen_port(self, number: int, name: str) -> int:
        """Where a gateway listens for one of its ports."""
        for target in self._targets():
            if target.number == number:
                return target.port
        return (self._workload.ports.get(name) if self._workload else None) or number


def _needed_clusters(listeners: Iterable[Listener]) -> frozenset[str]:
    """Clusters of providers and key sets, which a proxy needs whether or not its Sidecar lets it call
    them."""
    found: set[str] = set()
    for listener in listeners:
        told = listener.telemetry
        found |= {log.otel_cluster for log in told.access_logs}
        if told.tracing is not None:
            found.add(told.tracing.cluster)
        for chain in listener.chains:
            security = chain.content.security
            if security is not None:
                found |= {issuer.jwks_cluster for issuer in security.issuers}
                found |= {authorizer.cluster for authorizer in security.authorizers.values()}
    return frozenset(found - {""})
