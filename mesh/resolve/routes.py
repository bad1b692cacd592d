"""Rules of VirtualServices as routes, and the route of a service that has none.

pilot/pkg/networking/core/route/route.go (`BuildHTTPRoutesForVirtualService`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mesh.ir.cluster import HashOn
from mesh.ir.origin import Origin
from mesh.ir.route import (
    Action,
    Destination,
    Forward,
    HeaderChanges,
    Mirror,
    Route,
    RouteMatch,
)
from mesh.manifests.common import Destination as Target
from mesh.manifests.virtual_service import (
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
)
from mesh.resolve import actions
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.matches import Place, concerns, is_catch_all, route_match
from mesh.resolve.names import cluster_name
from mesh.resolve.registry import Service
from mesh.resolve.traffic_policy import policy
from mesh.resolve.upstream import hash_on
from mesh.resolve.virtual_services import Virtual, port_of

DEFAULT_ROUTE = "default"
"""Name of the route of a service without a VirtualService."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Routing:
    """For whom routes are made, and on which port."""

    config: Config
    client: Client
    gateways: frozenset[str]
    """`mesh`, or the names of the gateway."""
    port: int
    """That requests come to."""
    tls: bool = False
    """Whether they come over TLS that is ended there."""
    service_port: Callable[[Service | None], int]
    """Which port of a service is meant where none is named."""

    @property
    def place(self) -> Place:
        """Where requests come in."""
        return Place(self.client, self.gateways, self.port)

    def cluster(self, virtual: Virtual, target: Target | None) -> str:
        """The cluster of a destination, whether or not there is one."""
        host, port, subset = self.address(virtual, target)
        return cluster_name(host, port, subset)

    def address(self, virtual: Virtual, target: Target | None) -> tuple[str, int, str]:
        """Host, port and subset of a destination."""
        host = virtual.host(target)
        port = port_of(target) if target else None
        if not port:
            port = self.service_port(self.config.scopes.lookup(host, self.client.namespace))
        return host, port, (target.subset if target else None) or ""


def virtual_routes(routing: Routing, virtual: Virtual) -> tuple[Route, ...]:
    """The routes of a VirtualService that can hold here; none after one that takes everything."""
    found: list[Route] = []
    for http in virtual.spec.http:
        matches: Sequence[HTTPMatchRequest | None] = http.match or (None,)
        for match in matches:
            if match is not None and not concerns(match, routing.place, virtual.namespace):
                continue
            route = _route(routing, virtual, http, match)
            found.append(route)
            if is_catch_all(route.match):
                return tuple(found)
    return tuple(found)


def service_route(routing: Routing, service: Service, port: int) -> Route:
    """Everything to the service itself."""
    hashed = _hash(routing, service, port, "")
    said = routing.config.settings.retries
    return Route(
        name=DEFAULT_ROUTE,
        match=RouteMatch(),
        action=Forward(
            destinations=(Destination(cluster=cluster_name(service.host, port)),),
            retries=actions.retries(said, _mesh_retries(routing.config), hashed=False),
            hash_on=(hashed,) if hashed else (),
        ),
        origin=service.origin,
    )


def _route(routing: Routing, virtual: Virtual, http: HTTPRoute, match: HTTPMatchRequest | None) -> Route:
    manifest = virtual.manifest

    def origin(field: str = "") -> Origin:
        return routing.config.origin(manifest, http, field)

    name = http.name or ""
    if match is not None and match.name:
        name = f"{name}.{match.name}"
    changes, authority = actions.request_changes(http.headers)
    action: Action
    if http.redirect is not None:
        action = actions.redirect(http.redirect, routing.port, tls=routing.tls)
    elif http.direct_response is not None:
        action = actions.direct_response(http.direct_response)
    else:
        if len(http.route) == 1:
            authority = authority or actions.request_changes(http.route[0].headers)[1]
        action = _forward(routing, virtual, http, authority)
    return Route(
        name=name,
        match=route_match(match),
        action=action,
        fault=actions.fault(http.fault, origin("fault")),
        cors=actions.cors(http.cors_policy, origin("cors_policy")),
        request_headers=changes,
        response_headers=actions.response_changes(http.headers),
        origin=origin(),
    )


def _forward(routing: Routing, virtual: Virtual, http: HTTPRoute, authority: str | None) -> Forward:
    hashes = [_destination_hash(routing, virtual, one) for one in http.route]
    found = tuple(dict.fromkeys(one for one in hashes if one is not None))
    said, origin = http.retries, routing.config.origin(virtual.manifest, http, "retries")
    if said is None:
        said, origin = routing.config.settings.retries, _mesh_retries(routing.config)
    return Forward(
        destinations=_destinations(routing, virtual, http.route),
        timeout=http.timeout or None,
        retries=actions.retries(said, origin, hashed=len(http.route) == 1 and bool(found)),
        rewrite=actions.rewrite(http.rewrite, authority),
        mirrors=tuple(_mirrors(routing, virtual, http)),
        hash_on=found,
    )


def _destinations(
    routing: Routing, virtual: Virtual, sent: Sequence[HTTPRouteDestination]
) -> tuple[Destination, ...]:
    """A destination that is alone gets everything; of several those of weight 0 get nothing."""
    alone = len(sent) == 1
    chosen = sent if alone else [one for one in sent if one.weight] or sent
    return tuple(
        Destination(
            cluster=routing.cluster(virtual, one.destination),
            weight=None if alone else one.weight or 0,
            request_headers=_destination_changes(one, alone=alone),
            response_headers=actions.response_changes(one.headers),
        )
        for one in chosen
    )


def _destination_changes(sent: HTTPRouteDestination, *, alone: bool) -> HeaderChanges:
    """One of several destinations rewrites the authority by setting `:authority`; for one that is alone the
    route does."""
    changes, authority = actions.request_changes(sent.headers)
    if not authority or alone:
        return changes
    return HeaderChanges(set={**changes.set, ":authority": authority}, add=changes.add, remove=changes.remove)


def _mirrors(routing: Routing, virtual: Virtual, http: HTTPRoute) -> Iterable[Mirror]:
    if http.mirror is not None:
        share = actions.percent(http.mirror_percentage, 100.0)
        if share > 0:
            origin = routing.config.origin(virtual.manifest, http, "mirror")
            yield Mirror(cluster=routing.cluster(virtual, http.mirror), percent=share, origin=origin)
    for mirror in http.mirrors:
        share = actions.percent(mirror.percentage, 100.0)
        if share > 0:
            origin = routing.config.origin(virtual.manifest, mirror)
            yield Mirror(cluster=routing.cluster(virtual, mirror.destination), percent=share, origin=origin)


def _destination_hash(routing: Routing, virtual: Virtual, sent: HTTPRouteDestination) -> HashOn | None:
    host, port, subset = routing.address(virtual, sent.destination)
    service = routing.config.scopes.lookup(host, routing.client.namespace)
    return _hash(routing, service, port, subset) if service else None


def _hash(routing: Routing, service: Service, port: int, subset: str) -> HashOn | None:
    client = routing.client
    rule = routing.config.rules.find(client.namespace, client.labels, service)
    if rule is None:
        return None
    said = policy(rule, port, rule.subset(subset) if subset else None)
    return hash_on(said.balancer.value if said.balancer else None)


def _mesh_retries(config: Config) -> Origin:
    return config.settings.origin(config.settings.config, "default_http_retry_policy")
