"""A sidecar's listeners for what calls its application.

https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener,
pilot/pkg/networking/core/listener_inbound.go.

Without ingress listeners in its Sidecar, a workload is listened for on its address at every port by which
some service reaches it, and the application is called at the same port of 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mesh.ir.cluster import Cluster, Discovery, Host, HostGroup
from mesh.ir.listener import Chain, Direction, HttpChain, Listener, TcpChain, TcpDestination
from mesh.ir.origin import Origin, default
from mesh.ir.route import Destination, Forward, Retries, Route, RouteMatch, RouteTable, VirtualHost
from mesh.ir.security import MutualTls, Security
from mesh.ir.telemetry import Telemetry
from mesh.ir.values import Locality, Protocol
from mesh.ir.view import Proxy
from mesh.manifests.destination_rule import ConnectionPoolSettings
from mesh.manifests.manifests import Manifest
from mesh.manifests.sidecar import IstioIngressListener, Sidecar
from mesh.resolve import metrics, upstream
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.names import inbound_cluster_name
from mesh.resolve.registry import Service, protocol_of
from mesh.resolve.routes import DEFAULT_ROUTE
from mesh.resolve.traffic_policy import Said, policy

_LOOPBACK = "127.0.0.1"
_RETRIES = Retries(
    attempts=2,
    conditions=("reset-before-request",),
    ignore_previous_hosts=False,
    origin=default("inbound retries: 2 for requests that were reset before they reached the application"),
)
"""pilot's ENABLE_INBOUND_RETRY_POLICY, on since 1.24."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service's port by which callers reach the workload."""

    service: Service
    number: int
    """Of the service."""
    port: int
    """Of the workload."""
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class _Port:
    bind: str
    """Empty: the workload's own address."""
    number: int
    protocol: Protocol
    application: tuple[str, int]
    """The address is empty for the workload's own."""
    pool: Said[ConnectionPoolSettings] | None
    hosts: tuple[str, ...]
    """Of the services that lead to it."""
    target: Target | None
    """The oldest of those."""
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A port that is served. The same for workloads at any address."""

    port: _Port
    cluster: Cluster
    """Of the application; where that listens on the workload's address, yet without one."""
    table: RouteTable | None
    """Of an HTTP port."""
    mode: MutualTls
    decided: Origin
    """By what the mode was."""


def served(
    config: Config,
    client: Client,
    labels: Mapping[str, str],
    sidecar: Manifest[Sidecar] | None,
    targets: tuple[Target, ...],
) -> tuple[Served, ...]:
    """The ports of a workload with these labels."""
    found = []
    for port in _ports(config, client, sidecar, targets):
        cluster = _cluster(config, port)
        table = _table(port, cluster) if port.protocol.is_http else None
        mode, decided = config.peers.mode(client.namespace, labels, port.number)
        found.append(Served(port, cluster, table, mode, decided))
    return tuple(found)


def inbound(
    proxy: Proxy, ports: Iterable[Served], security: Security | None, telemetry: Telemetry
) -> tuple[list[Listener], list[RouteTable], list[Cluster]]:
    """Listeners with the tables they route by, and the clusters of the application."""
    listeners, tables, clusters = [], [], []
    for one in ports:
        clusters.append(one.cluster if one.port.application[0] else _at(one.cluster, proxy.address))
        if one.table is not None:
            tables.append(one.table)
        listeners.append(_listener(proxy, one, security, telemetry))
    return listeners, tables, clusters


def _ports(
    config: Config, client: Client, sidecar: Manifest[Sidecar] | None, targets: tuple[Target, ...]
) -> Iterator[_Port]:
    by_port: dict[int, list[Target]] = {}
    for target in targets:
        by_port.setdefault(target.port, []).append(target)
    if sidecar is None or not sidecar.spec.ingress:
        for number, leading in sorted(by_port.items()):
            first = leading[0]
            pool = _pool(config, client, sidecar, None, first)
            application = _LOOPBACK, number
            hosts = tuple(dict.fromkeys(one.service.host for one in leading))
            yield _Port("", number, first.protocol, application, pool, hosts, first, first.service.origin)
        return
    for listener in sorted(sidecar.spec.ingress, key=_number):
        number = _number(listener)
        # A listener that is written out is the oldest service's alone.
        oldest = next(iter(by_port.get(number, ())), None)
        yield _Port(
            bind=listener.bind or "",
            number=number,
            protocol=protocol_of((listener.port.protocol if listener.port else None) or ""),
            application=_application(listener),
            pool=_pool(config, client, sidecar, listener, oldest),
            hosts=(oldest.service.host,) if oldest is not None else (),
            target=oldest,
            origin=config.origin(sidecar, listener),
        )


def _number(listener: IstioIngressListener) -> int:
    return (listener.port.number if listener.port else None) or 0


def _application(listener: IstioIngressListener) -> tuple[str, int]:
    """Where the application listens: `127.0.0.1:port`, `0.0.0.0:port` for the workload's own address (which
    is left empty), or a Unix socket, whose port is 0. Without it, the same port of 127.0.0.1."""
    text = listener.default_endpoint
    if not text:
        return _LOOPBACK, _number(listener)
    if text.startswith("unix://"):
        return text.removeprefix("unix://"), 0
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return ("" if host in ("0.0.0.0", "::") else host or _LOOPBACK), int(port)  # noqa: S104


def _pool(
    config: Config,
    client: Client,
    sidecar: Manifest[Sidecar] | None,
    listener: IstioIngressListener | None,
    target: Target | None,
) -> Said[ConnectionPoolSettings] | None:
    """The listener's, else the Sidecar's, else what the service's DestinationRule says to all its callers."""
    if sidecar is not None:
        if listener is not None and listener.connection_pool is not None:
            return Said(listener.connection_pool, config.origin(sidecar, listener, "connection_pool"))
        pool = sidecar.spec.inbound_connection_pool
        if pool is not None:
            return Said(pool, config.origin(sidecar, sidecar.spec, "inbound_connection_pool"))
    if target is None:
        return None
    rule = config.rules.find(client.namespace, client.labels, target.service)
    return policy(rule, target.number).pool


def _cluster(config: Config, port: _Port) -> Cluster:
    address, number = port.application
    host = Host(address=address, port=number, tls=False, origin=port.origin)
    return Cluster(
        name=inbound_cluster_name(port.number),
        service="",
        reached_as=port.hosts,
        discovery=Discovery.STATIC,
        groups=(HostGroup(locality=Locality(), priority=0, weight=None, hosts=(host,)),),
        http2=port.protocol.is_http2,
        pool=upstream.connection_pool(port.pool, config.settings),
        named=metrics.named(port.target.service) if port.target and config.telemetries.metered else None,
        origin=port.origin,
    )


def _at(cluster: Cluster, address: str) -> Cluster:
    """The cluster of an application that listens on the workload's address."""
    groups = tuple(
        replace(group, hosts=tuple(replace(host, address=address) for host in group.hosts))
        for group in cluster.groups
    )
    return replace(cluster, groups=groups)


def _table(port: _Port, cluster: Cluster) -> RouteTable:
    """Everything to the application, without a limit of time: callers have theirs."""
    route = Route(
        name=DEFAULT_ROUTE,
        match=RouteMatch(),
        action=Forward(destinations=(Destination(cluster=cluster.name),), retries=_RETRIES),
        origin=port.origin,
    )
    host = VirtualHost(
        name=f"inbound|http|{port.number}", domains=("*",), routes=(route,), origin=port.origin
    )
    return RouteTable(name=cluster.name, hosts=(host,))


def _listener(proxy: Proxy, one: Served, security: Security | None, telemetry: Telemetry) -> Listener:
    port, cluster = one.port, one.cluster
    bind = port.bind or proxy.address
    name = f"{bind}_{port.number}"
    prefix = f"inbound_{name}"
    content: HttpChain | TcpChain
    if port.protocol.is_http:
        content = HttpChain(
            route_table=cluster.name,
            security=security,
            grpc_web=port.protocol is Protocol.GRPC_WEB,
            stats_prefix=prefix,
        )
    else:
        destinations = (TcpDestination(cluster=cluster.name),)
        content = TcpChain(destinations=destinations, security=security, stats_prefix=prefix)
    return Listener(
        name=name,
        direction=Direction.INBOUND,
        address=bind,
        port=port.number,
        mutual_tls=one.mode,
        mutual_tls_origin=one.decided,
        chains=(Chain(name=name, protocol=port.protocol, content=content, origin=port.origin),),
        telemetry=telemetry,
        origin=port.origin,
    )
