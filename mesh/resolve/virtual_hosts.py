"""What a sidecar's outbound HTTP port routes by: one table for each port.

pilot/pkg/networking/core/httproute.go (`BuildSidecarOutboundVirtualHosts`, `buildCatchAllVirtualHost`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mesh.ir.origin import default
from mesh.ir.route import DirectResponse, Route, RouteMatch, RouteTable, VirtualHost
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.names import MESH_GATEWAY, HostTable, covers, domains, is_wildcard, overlaps
from mesh.resolve.registry import Service
from mesh.resolve.routes import Routing, service_route, virtual_routes
from mesh.resolve.scope import Imports
from mesh.resolve.virtual_services import Virtual

_HTTP_PORT = 80
"""The one port on which a VirtualService for a host that no service has counts."""

BLOCK_ALL = VirtualHost(
    name="block_all",
    domains=("*",),
    routes=(
        Route(
            name="block_all",
            match=RouteMatch(),
            action=DirectResponse(status=502),
            origin=default("unknown hosts are refused (outboundTrafficPolicy REGISTRY_ONLY)"),
        ),
    ),
    origin=default("unknown hosts are refused (outboundTrafficPolicy REGISTRY_ONLY)"),
)
"""Istio's own default is ALLOW_ANY, which passes unknown hosts on to the address that was dialled and
captured. Nothing is captured here: the address dialled is the proxy's own."""


def outbound_table(config: Config, client: Client, imports: Imports, port: int) -> RouteTable:
    """The table of one outbound port."""
    routing = Routing(
        config=config,
        client=client,
        gateways=frozenset({MESH_GATEWAY}),
        port=port,
        service_port=lambda service: port,
    )
    hosts = sorted(outbound_hosts(routing, imports), key=lambda host: host.name)
    if not any("*" in host.domains for host in hosts):
        hosts.append(BLOCK_ALL)
    return RouteTable(name=str(port), hosts=tuple(hosts))


def outbound_hosts(routing: Routing, imports: Imports) -> Iterator[VirtualHost]:
    """Virtual hosts of a port: of VirtualServices first, as they win; then of the services that have none. A
    domain or name that an earlier one has is not given out again."""
    services = {
        reach.service.host: reach.service for reach in imports.reach if reach.port(routing.port) is not None
    }
    known = frozenset(services)
    taken: set[str] = set()
    named: set[str] = set()

    def made(
        host: str, names: Iterable[str], routes: Sequence[Route], source: Virtual | Service
    ) -> Iterator[VirtualHost]:
        name = f"{host}:{routing.port}"
        if name in named:
            return
        named.add(name)
        free = [one for one in names if one not in taken]
        taken.update(free)
        if free:
            origin = source.origin if isinstance(source, Service) else routing.config.origin(source.manifest)
            yield VirtualHost(name=name, domains=tuple(free), routes=tuple(routes), origin=origin)

    routed: set[str] = set()
    for virtual, plain, matched in _virtuals(routing, imports.virtuals, services):
        routes = virtual_routes(routing, virtual)
        if not routes or not (matched or routing.port == _HTTP_PORT):
            continue
        for host in plain:
            yield from made(host, (host,), routes, virtual)
        for service in matched:
            routed.add(service.host)
            yield from made(service.host, _domains(routing, service, known), routes, virtual)
    for service in services.values():
        if service.host not in routed and _speaks_http(service, routing.port):
            route = service_route(routing, service, routing.port)
            yield from made(service.host, _domains(routing, service, known), (route,), service)


def _virtuals(
    routing: Routing, virtuals: Sequence[Virtual], services: dict[str, Service]
) -> Iterator[tuple[Virtual, list[str], list[Service]]]:
    """VirtualServices that mean some service of the port (on port 80 all), with their hosts that are no
    service, and the services they route. A service that only patterns mean follows the most specific of
    them."""
    patterns: dict[str, Virtual] = {}
    exact: set[str] = set()
    for virtual in virtuals:
        for host in virtual.hosts:
            if is_wildcard(host):
                patterns.setdefault(host, virtual)
            else:
                exact.add(host)
    table = HostTable(patterns)
    for virtual in virtuals:
        if routing.port != _HTTP_PORT and not _means_some(virtual, services):
            continue
        plain: list[str] = []
        matched: dict[str, Service] = {}
        for host in virtual.hosts:
            if not is_wildcard(host):
                if host in services:
                    matched[host] = services[host]
                else:
                    plain.append(host)
                continue
            meant = [service for service in services.values() if covers(host, service.host)]
            if not meant:
                plain.append(host)
            for service in meant:
                if service.host not in exact and table.find(service.host) is virtual:
                    matched[service.host] = service
        yield virtual, plain, [one for one in matched.values() if _speaks_http(one, routing.port)]


def _means_some(virtual: Virtual, services: dict[str, Service]) -> bool:
    """Whether a host of a VirtualService is one of `services`; either may be a pattern."""
    if any(host in services for host in virtual.hosts):
        return True
    patterns = [host for host in services if is_wildcard(host)]
    return any(
        overlaps(host, service)
        for host in virtual.hosts
        for service in (services if is_wildcard(host) else patterns)
    )


def _domains(routing: Routing, service: Service, known: frozenset[str]) -> Iterator[str]:
    """All names of a service, except a short one that is another service's full name."""
    for domain in domains(service.host, routing.client.namespace):
        if domain == service.host or domain not in known:
            yield domain
    yield from (address for address in service.addresses if "/" not in address)


def _speaks_http(service: Service, port: int) -> bool:
    found = service.port(port)
    return found is not None and found.protocol.is_http
