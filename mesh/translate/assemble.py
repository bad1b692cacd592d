"""A whole proxy's configuration from its view."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from mesh.ir.cluster import Cluster, Discovery
from mesh.ir.listener import Direction, HttpChain, Listener
from mesh.ir.origin import Origin
from mesh.ir.patch import Patch
from mesh.ir.route import RouteTable
from mesh.ir.view import ProxyKind, ProxyView
from mesh.translate import proxyless
from mesh.translate.cluster import discovery, translate_cluster
from mesh.translate.endpoint import load_assignment
from mesh.translate.listener import Context, translate_listener
from mesh.translate.origins import Origins, of_view
from mesh.translate.packing import Proto
from mesh.translate.patches import Patching
from mesh.translate.reuse import Reuse
from mesh.translate.route import translate_table
from mesh.xds.references import references
from mesh.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Path, Resources

_ALL_CLUSTERS, _ALL_ENDPOINTS = "all clusters", "all endpoints"
"""What the resources of a whole view are kept as: proxies share those too."""


def translate(view: ProxyView, reuse: Reuse | None = None) -> Resources:
    """The xDS resources of one proxy. Equal views make equal bytes.

    Args:
        view: What the proxy is to do.
        reuse: Messages of earlier translations and other proxies; what is equal to something there is the
        same
            object again.

    Raises:
        PatchError: an EnvoyFilter patch cannot be applied.
    """
    known = reuse if reuse is not None else Reuse()
    if view.proxy.kind is ProxyKind.PROXYLESS:
        return _proxyless(view, known)
    if view.patches:
        return Resources(_patched(view, known)[0], Origins(lambda: _origins_of_patched(view)))
    tables = _tables(view, known)
    listeners = {listener.name: _listener(listener, view, tables, known) for listener in view.listeners}
    return Resources(
        {
            CLUSTER: _clusters(view, known),
            ENDPOINTS: translate_endpoints(view, known),
            LISTENER: listeners,
            ROUTES: {name: tables[name] for name in _over_rds(view)},
        },
        Origins(lambda: of_view(view)),
    )


def translate_endpoints(view: ProxyView, reuse: Reuse | None = None) -> Mapping[str, Proto]:
    """The hosts of the proxy's clusters, by cluster: all that changes when a workload comes, goes or
    drains."""
    known = reuse if reuse is not None else Reuse()
    return known.of(_ALL_ENDPOINTS, view.clusters, partial(_all_endpoints, view.clusters, known))


def unused_patches(view: ProxyView, reuse: Reuse | None = None) -> tuple[Patch, ...]:
    """The patches that change nothing on this proxy. One that changes nothing on any is a mistake.

    Raises:
        PatchError: a patch cannot be applied.
    """
    if not view.patches or view.proxy.kind is ProxyKind.PROXYLESS:
        return view.patches
    # Only what is not patched is used again: what is leaves notes when it is made, and only then.
    return _patched(view, reuse if reuse is not None else Reuse(), patched=Reuse())[1].unused()


def _clusters(view: ProxyView, known: Reuse) -> Mapping[str, Proto]:
    return known.of(_ALL_CLUSTERS, view.clusters, partial(_all_clusters, view.clusters, known))


def _all_clusters(clusters: tuple[Cluster, ...], known: Reuse) -> Mapping[str, Proto]:
    return {
        cluster.name: known.of(CLUSTER, cluster, partial(_cluster, cluster, known)) for cluster in clusters
    }


def _all_endpoints(clusters: tuple[Cluster, ...], known: Reuse) -> Mapping[str, Proto]:
    return {
        cluster.name: known.of(ENDPOINTS, cluster, partial(_endpoints, cluster, known))
        for cluster in clusters
        if discovery(cluster) is Discovery.EDS
    }


def _cluster(cluster: Cluster, known: Reuse) -> Proto:
    """Of a cluster that is filled over EDS, the hosts are no part."""
    made_of = (
        cluster.service,
        cluster.discovery,
        cluster.groups if discovery(cluster) is not Discovery.EDS else None,
        cluster.http2,
        cluster.balancer,
        cluster.outlier,
        cluster.health_check,
        cluster.pool,
        cluster.tls,
        cluster.names,
        cluster.named,
    )
    # Every sidecar has a cluster of the same name that leads to its application.
    name = cluster.name if cluster.service else (cluster.name, cluster.origin)
    return known.get(CLUSTER, name, made_of, lambda: translate_cluster(cluster))


def _endpoints(cluster: Cluster, known: Reuse) -> Proto:
    made_of = (cluster.groups, cluster.tls is not None)
    return known.get(ENDPOINTS, cluster.name, made_of, lambda: load_assignment(cluster))


def _tables(view: ProxyView, known: Reuse) -> dict[str, Proto]:
    return {table.name: _table(table, known) for table in view.route_tables}


def _table(table: RouteTable, known: Reuse) -> Proto:
    return known.of(ROUTES, table, partial(_equal_table, table, known))


def _equal_table(table: RouteTable, known: Reuse) -> Proto:
    # The first host tells the tables of one name that lead to applications apart.
    name = table.name, table.hosts[0].origin if table.hosts else None
    return known.get(ROUTES, name, (table.hosts,), lambda: translate_table(table))


def _over_rds(view: ProxyView) -> list[str]:
    """Names of the tables that listeners ask for, in order; the inbound ones are inside their listeners."""
    names = {
        chain.content.route_table
        for listener in view.listeners
        if listener.direction is not Direction.INBOUND
        for chain in listener.chains
        if isinstance(chain.content, HttpChain)
    }
    return sorted(names)


def _listener(listener: Listener, view: ProxyView, tables: Mapping[str, Proto], known: Reuse) -> Proto:
    inside = tuple(tables[name] for name in _inside(listener))
    context = Context(view.proxy, tables, known)
    made_of = (listener, inside, view.proxy.trust_domain)
    return known.get(LISTENER, listener.name, made_of, lambda: translate_listener(listener, context))


def _inside(listener: Listener) -> list[str]:
    """Names of the route tables that become part of an inbound listener."""
    if listener.direction is not Direction.INBOUND:
        return []
    return [chain.content.route_table for chain in listener.chains if isinstance(chain.content, HttpChain)]


def _patched(
    view: ProxyView, known: Reuse, patched: Reuse | None = None
) -> tuple[dict[str, Mapping[str, Proto]], Patching]:
    patching = Patching(view.proxy.kind, view.patches, patched if patched is not None else known)
    patching.check()
    hosts = {one.name: (one.service,) if one.service else one.reached_as for one in view.clusters}
    clusters = patching.clusters(_clusters(view, known), hosts)
    tables = patching.tables(_tables(view, known))
    listeners = {listener.name: _listener(listener, view, tables, known) for listener in view.listeners}
    sides = {listener.name: listener.direction for listener in view.listeners}
    listeners = patching.listeners(listeners, sides)
    by_type: dict[str, Mapping[str, Proto]] = {
        CLUSTER: clusters,
        ENDPOINTS: translate_endpoints(view, known),
        LISTENER: listeners,
        ROUTES: {name: tables[name] for name in _over_rds(view)},
    }
    if patching.may_orphan():
        # What only removed objects asked for goes with them: nobody would ever ask for it.
        needed = {
            reference
            for type_url in (CLUSTER, LISTENER)
            for message in by_type[type_url].values()
            for reference in references(type_url, message)
        }
        for type_url in (ENDPOINTS, ROUTES):
            by_type[type_url] = {
                name: made for name, made in by_type[type_url].items() if (type_url, name) in needed
            }
    extensions = patching.extensions()
    if extensions:
        by_type[EXTENSION] = extensions
    return by_type, patching


def _origins_of_patched(view: ProxyView) -> dict[Path, Origin]:
    return _patched(view, Reuse())[1].corrected(of_view(view))


def _proxyless(view: ProxyView, known: Reuse) -> Resources:
    kind = ProxyKind.PROXYLESS
    clusters = [cluster for cluster in view.clusters if cluster.service]
    found: dict[str, dict[str, Proto]] = {CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}, ROUTES: {}}
    for item in clusters:
        made_of = (kind, item.balancer, item.outlier, item.pool, item.tls)
        make = partial(proxyless.cluster, item)
        found[CLUSTER][item.name] = known.get(CLUSTER, item.name, made_of, make)
        found[ENDPOINTS][item.name] = _endpoints(item, known)
    for table in view.route_tables:
        make = partial(proxyless.routes, table)
        found[ROUTES][table.name] = known.get(ROUTES, table.name, (kind, table.hosts), make)
    for listener in view.listeners:
        make = partial(proxyless.listener, listener)
        found[LISTENER][listener.name] = known.get(LISTENER, listener.name, (kind, listener), make)
    return Resources(found, Origins(lambda: of_view(view)))
