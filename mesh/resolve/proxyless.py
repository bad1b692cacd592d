"""What a gRPC client that is its own proxy is told: a listener for each target that it may dial.

https://istio.io/latest/blog/2021/proxyless-grpc/, pilot/pkg/networking/grpcgen.
"""

from __future__ import annotations

from mesh.ir.listener import Chain, Direction, HttpChain, Listener
from mesh.ir.route import RouteTable, VirtualHost
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.names import MESH_GATEWAY, cluster_name
from mesh.resolve.outbound import flags
from mesh.resolve.routes import Routing
from mesh.resolve.scope import Imports, Scope
from mesh.resolve.virtual_hosts import outbound_hosts


def proxyless(config: Config, client: Client, scope: Scope) -> tuple[list[Listener], list[RouteTable]]:
    """Listeners named as they are dialled, `session.causeway.svc.cluster.local:8080`, and their tables."""
    listeners: dict[str, Listener] = {}
    tables: dict[str, RouteTable] = {}
    for egress in scope.egress:
        numbers = {
            port.number for reach in egress.imports.reach for port in reach.ports if port.protocol.is_http
        }
        for number in sorted(numbers):
            for host in _hosts(config, client, egress.imports, number):
                if host.name not in listeners:
                    table = _table(host, number)
                    tables[host.name] = table
                    listeners[host.name] = _listener(host, number, table)
    return list(listeners.values()), list(tables.values())


def _hosts(config: Config, client: Client, imports: Imports, number: int) -> list[VirtualHost]:
    routing = Routing(
        config=config,
        client=client,
        gateways=frozenset({MESH_GATEWAY}),
        port=number,
        service_port=lambda service: number,
    )
    services = {f"{reach.service.host}:{number}" for reach in imports.reach}
    return [host for host in outbound_hosts(routing, imports) if host.name in services]


def _table(host: VirtualHost, number: int) -> RouteTable:
    name = cluster_name(host.name.removesuffix(f":{number}"), number)
    return RouteTable(name=name, hosts=(host,))


def _listener(host: VirtualHost, number: int, table: RouteTable) -> Listener:
    fault, cors = flags(table)
    content = HttpChain(route_table=table.name, fault=fault, cors=cors, stats_prefix=f"outbound_{host.name}")
    return Listener(
        name=host.name,
        direction=Direction.OUTBOUND,
        address="",
        port=number,
        chains=(Chain(name=host.name, content=content, origin=host.origin),),
        origin=host.origin,
    )
