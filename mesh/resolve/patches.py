"""Changes that EnvoyFilters ask for, in the order in which they are made.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/, pilot/pkg/model/envoyfilter.go and
`EnvoyFilters` in pilot/pkg/model/push_context.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.ir.listener import Direction
from mesh.ir.patch import Operation, Patch, PatchMatch, Target
from mesh.ir.view import Proxy, ProxyKind
from mesh.manifests import envoy_filter as api
from mesh.manifests.envoy_filter import EnvoyFilter, PatchContext
from mesh.manifests.manifests import Manifest
from mesh.resolve import labels as words
from mesh.resolve import origins

_DIRECTIONS = {
    PatchContext.SIDECAR_INBOUND: Direction.INBOUND,
    PatchContext.SIDECAR_OUTBOUND: Direction.OUTBOUND,
    PatchContext.GATEWAY: Direction.GATEWAY,
}


class Patches:
    """All EnvoyFilters, ready to be asked."""

    def __init__(self, manifests: Sequence[Manifest[EnvoyFilter]], root_namespace: str) -> None:
        self._root = root_namespace
        ordered = sorted(manifests, key=self._rank)
        self._patches = words.Selections(
            (
                one.namespace,
                words.pairs(one.spec.workload_selector),
                (place, [(entry, _patch(entry, one)) for entry in one.spec.config_patches]),
            )
            for place, one in enumerate(ordered)
        )

    def _rank(self, one: Manifest[EnvoyFilter]) -> tuple[object, ...]:
        """The root namespace comes first only among those of one priority."""
        return one.spec.priority or 0, one.namespace != self._root, one.created, f"{one.name}.{one.namespace}"

    def of(self, proxy: Proxy) -> tuple[Patch, ...]:
        """The patches of a proxy: the root namespace's and its own's together, by priority; then the root
        namespace's first, then by age and name."""
        if proxy.kind is ProxyKind.PROXYLESS:
            return ()
        found = [
            one
            for namespace in dict.fromkeys((self._root, proxy.namespace))
            for one in self._patches.applying(namespace, proxy.labels)
        ]
        return tuple(
            patch
            for _, entries in sorted(found, key=_place)
            for entry, patch in entries
            if _concerns(entry, proxy)
        )


def _place(one: tuple[int, object]) -> int:
    return one[0]


def _concerns(entry: api.EnvoyConfigObjectPatch, proxy: Proxy) -> bool:
    context = entry.match.context if entry.match else None
    if context in (None, PatchContext.ANY):
        return True
    return (context is PatchContext.GATEWAY) == (proxy.kind is ProxyKind.GATEWAY)


def _patch(entry: api.EnvoyConfigObjectPatch, manifest: Manifest[EnvoyFilter]) -> Patch:
    target = Target((entry.apply_to or api.ApplyTo.LISTENER).value)
    patch = entry.patch or api.Patch()
    operation = Operation((patch.operation or api.PatchOperation.MERGE).value)
    return Patch(
        target=target,
        operation=operation,
        match=_match(entry.match or api.EnvoyConfigObjectMatch()),
        value={} if operation is Operation.REMOVE else patch.value,
        filter_class=(patch.filter_class or api.FilterClass.UNSPECIFIED).value,
        origin=origins.of(manifest, entry),
    )


def _match(match: api.EnvoyConfigObjectMatch) -> PatchMatch:
    listener = match.listener or api.ListenerMatch()
    chain = listener.filter_chain or api.FilterChainMatch()
    network = chain.filter or api.FilterMatch()
    sub = network.sub_filter or api.SubFilterMatch()
    table = match.route_configuration or api.RouteConfigurationMatch()
    host = table.vhost or api.VirtualHostMatch()
    route = host.route or api.RouteMatch()
    cluster = match.cluster or api.ClusterMatch()
    return PatchMatch(
        direction=_DIRECTIONS.get(match.context or PatchContext.ANY),
        listener_name=listener.name or "",
        listener_port=listener.port_number or None,
        chain_name=chain.name or "",
        chain_sni=chain.sni or "",
        chain_transport_protocol=chain.transport_protocol or "",
        chain_application_protocols=chain.application_protocols or "",
        filter_name=network.name or "",
        sub_filter_name=sub.name or "",
        route_table_name=table.name or "",
        route_port=table.port_number or None,
        route_port_name=table.port_name or "",
        gateway=table.gateway or "",
        virtual_host_name=host.name or "",
        virtual_host_domain=host.domain_name or "",
        route_name=route.name or "",
        route_action=(route.action or api.RouteAction.ANY).value,
        cluster_name=cluster.name or "",
        cluster_service=cluster.service or "",
        cluster_subset=cluster.subset or "",
        cluster_port=cluster.port_number or None,
    )
