"""A sidecar's listeners for what its application calls.

https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioEgressListener,
pilot/pkg/networking/core/listener.go (`buildSidecarOutboundListeners`).

Nothing is captured here: every listener is bound to an address of its own, Istio's `captureMode: NONE`. A
listener without a `bind` is bound to the workload's address, where Istio binds 127.0.0.1 of the workload's
pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mesh.ir.listener import Chain, Direction, HttpChain, Listener
from mesh.ir.origin import Origin, default
from mesh.ir.route import RouteTable
from mesh.ir.telemetry import Telemetry
from mesh.ir.values import Protocol
from mesh.ir.view import Proxy
from mesh.manifests.sidecar import IstioEgressListener
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.connections import distinct, service_chains
from mesh.resolve.names import MESH_GATEWAY
from mesh.resolve.registry import protocol_of
from mesh.resolve.routes import Routing
from mesh.resolve.scope import Egress, Reach, Scope

_EVERY_PORT = default("a listener for each port of each service (no Sidecar egress listener names a port)")

Tables = Callable[[Egress, int], RouteTable]
"""Makes the table of an HTTP port."""


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """A port that is called, and the services behind it. The same for proxies at any address."""

    bind: str
    """Empty: the workload's own address."""
    number: int
    protocol: Protocol
    reach: tuple[Reach, ...]
    egress: Egress
    table: RouteTable | None
    """Of an HTTP port."""
    fault: bool
    cors: bool
    origin: Origin


def called(config: Config, scope: Scope, tables: Tables) -> tuple[Called, ...]:
    """The ports that a scope's services are called on, those that egress listeners name first."""
    return tuple(_called(config, scope, tables))


def outbound(
    config: Config, proxy: Proxy, client: Client, ports: Iterable[Called], telemetry: Telemetry
) -> tuple[list[Listener], list[RouteTable]]:
    """Listeners, and the tables that they route by."""
    listeners: dict[str, Listener] = {}
    routed: dict[int, Called] = {}
    for port in ports:
        bind = port.bind or proxy.address
        name = f"{bind}_{port.number}"
        if name in listeners:
            continue
        prefix = f"outbound_{name}"
        if port.table is not None:
            first = routed.setdefault(port.number, port)
            chains: tuple[Chain, ...] = (_http_chain(name, port, first, prefix),)
        else:
            chains = distinct(_connections(config, client, port, prefix))
        listeners[name] = Listener(
            name=name,
            direction=Direction.OUTBOUND,
            address=bind,
            port=port.number,
            chains=chains,
            telemetry=telemetry,
            origin=port.origin,
        )
    return list(listeners.values()), [port.table for port in routed.values() if port.table is not None]


def _http_chain(name: str, port: Called, routed: Called, prefix: str) -> Chain:
    """A chain without security that routes by the table of `routed`: the first that has the port's number."""
    return Chain(
        name=name,
        protocol=port.protocol,
        content=HttpChain(
            route_table=routed.table.name if routed.table is not None else "",
            fault=routed.fault,
            cors=routed.cors,
            grpc_web=port.protocol is Protocol.GRPC_WEB,
            stats_prefix=prefix,
        ),
        origin=port.origin,
    )


def flags(table: RouteTable) -> tuple[bool, bool]:
    """Whether some route injects faults, and whether some answers browsers."""
    routes = [route for host in table.hosts for route in host.routes]
    return any(route.fault for route in routes), any(route.cors for route in routes)


def _called(config: Config, scope: Scope, tables: Tables) -> Iterator[Called]:
    """Ports that egress listeners name come first; then, for one that names none, every port of its
    services."""

    def port(
        bind: str, number: int, protocol: Protocol, reach: tuple[Reach, ...], egress: Egress, origin: Origin
    ) -> Called:
        table = tables(egress, number) if protocol.is_http else None
        fault, cors = flags(table) if table is not None else (False, False)
        return Called(bind, number, protocol, reach, egress, table, fault, cors, origin)

    named = [egress for egress in scope.egress if egress.port is not None]
    for egress in named:
        listener = egress.listener
        if listener is None or listener.port is None or not egress.imports.reach:
            continue
        origin = _origin(config, scope, listener)
        protocol = protocol_of(listener.port.protocol or "")
        yield port(listener.bind or "", egress.port or 0, protocol, egress.imports.reach, egress, origin)
    for egress in scope.egress:
        if egress.port is not None:
            continue
        bind = (egress.listener.bind if egress.listener else None) or ""
        origin = _origin(config, scope, egress.listener)
        for number, protocol, reach in egress.imports.ports:
            yield port(bind, number, protocol, reach, egress, origin)


def _connections(config: Config, client: Client, port: Called, prefix: str) -> Iterator[Chain]:
    routing = Routing(
        config=config,
        client=client,
        gateways=frozenset({MESH_GATEWAY}),
        port=port.number,
        service_port=lambda service: (
            service.ports[0].number if service and len(service.ports) == 1 else port.number
        ),
    )
    for reach in port.reach:
        yield from service_chains(routing, reach, port.egress.imports.virtuals, port.protocol, prefix)


def _origin(config: Config, scope: Scope, listener: IstioEgressListener | None) -> Origin:
    if scope.sidecar is None or listener is None:
        return _EVERY_PORT
    return config.origin(scope.sidecar, listener)
