"""What a gateway's HTTP port routes by.

pilot/pkg/networking/core/gateway.go (`buildGatewayHTTPRouteConfig`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mesh.ir.origin import Origin, default
from mesh.ir.route import Route, RouteTable, VirtualHost
from mesh.manifests.gateway import Gateway, Server
from mesh.manifests.manifests import Manifest
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.matches import is_catch_all
from mesh.resolve.names import meeting
from mesh.resolve.registry import Service
from mesh.resolve.routes import Routing, virtual_routes
from mesh.resolve.virtual_services import Virtual, seen_from


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A server of a Gateway, for a proxy that the Gateway selects."""

    server: Server
    manifest: Manifest[Gateway]

    @property
    def gateway(self) -> str:
        """`namespace/name`."""
        return f"{self.manifest.namespace}/{self.manifest.name}"

    @property
    def number(self) -> int:
        """Its port, as the Gateway says it."""
        return (self.server.port.number if self.server.port else None) or 0

    @property
    def https_redirect(self) -> bool:
        """Whether plaintext requests are sent to HTTPS."""
        return bool(self.server.tls and self.server.tls.https_redirect)

    def hosts(self, namespace: str | None = None) -> tuple[str, ...]:
        """The hosts that it serves, for VirtualServices of `namespace`; None: of any."""
        found = []
        for entry in self.server.hosts:
            owner, _, host = entry.rpartition("/")
            owner = self.manifest.namespace if owner == "." else owner or "*"
            if namespace is None or owner in ("*", namespace):
                found.append(host.lower())
        return tuple(found)


def routing(config: Config, client: Client, bound: Bound) -> Routing:
    """For routes of a gateway's port. Where a destination names no port, it is the service's only one, else
    the gateway's."""

    def service_port(service: Service | None) -> int:
        return service.ports[0].number if service and len(service.ports) == 1 else bound.number

    return Routing(
        config=config,
        client=client,
        gateways=frozenset({bound.gateway}),
        port=bound.number,
        tls=bound.server.tls is not None,
        service_port=service_port,
    )


def served(config: Config, client: Client, bound: Bound) -> Iterator[tuple[Virtual, tuple[str, ...]]]:
    """The VirtualServices bound to a server, each with the hosts that both have."""
    for virtual in seen_from(config.virtuals, client.namespace, bound.gateway):
        hosts = meeting(bound.hosts(virtual.namespace), virtual.hosts)
        if hosts:
            yield virtual, hosts


@dataclass(slots=True)
class _Host:
    """A virtual host while it is put together."""

    name: str
    origin: Origin
    routes: list[Route] = field(default_factory=list)
    require_tls: bool = False


def gateway_table(config: Config, client: Client, name: str, servers: Sequence[Bound]) -> RouteTable:
    """The table of a plaintext port with all its servers, or of one server that ends TLS."""
    found: dict[str, _Host] = {}
    for bound in servers:
        for virtual, hosts in served(config, client, bound):
            routes = virtual_routes(routing(config, client, bound), virtual)
            if not routes:
                continue
            for host in hosts:
                entry = found.get(host)
                if entry is None:
                    entry = found[host] = _Host(f"{host}:{bound.number}", config.origin(virtual.manifest))
                entry.routes += routes
                entry.require_tls |= bound.https_redirect
        if bound.https_redirect:
            for host in bound.hosts():
                origin = config.origin(bound.manifest, bound.server, "tls")
                found.setdefault(host, _Host(f"{host}:{bound.number}", origin)).require_tls = True
    if not found:
        return RouteTable(name=name, hosts=(_nothing(servers[0].number),))
    made = sorted(_collapsed(found), key=lambda host: host.name)
    return RouteTable(name=name, hosts=tuple(made))


def _collapsed(found: dict[str, _Host]) -> Iterator[VirtualHost]:
    """Hosts with the same routes are one virtual host, named for the first."""
    groups: dict[tuple[bool, tuple[int, ...]], list[str]] = {}
    for host, entry in sorted(found.items()):
        key = entry.require_tls, tuple(id(route) for route in entry.routes)
        groups.setdefault(key, []).append(host)
    for hosts in groups.values():
        entry = found[hosts[0]]
        last = [route for route in entry.routes if is_catch_all(route.match)]
        first = [route for route in entry.routes if not is_catch_all(route.match)]
        yield VirtualHost(
            name=entry.name,
            domains=tuple(hosts),
            routes=(*first, *last),
            require_tls=entry.require_tls,
            origin=entry.origin,
        )


def _nothing(port: int) -> VirtualHost:
    return VirtualHost(
        name=f"blackhole:{port}",
        domains=("*",),
        routes=(),
        origin=default("no VirtualService is bound to this gateway's port: 404"),
    )
