"""Small views for tests: what is not said is as plain as can be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mesh.ir.cluster import Cluster, Discovery, Host, HostGroup, UpstreamTls, UpstreamTlsMode
from mesh.ir.listener import Chain, Direction, HttpChain, Listener, TcpChain, TcpDestination
from mesh.ir.origin import Origin
from mesh.ir.patch import Operation, Patch, PatchMatch, Target
from mesh.ir.route import Destination, Forward, Route, RouteMatch, RouteTable, VirtualHost
from mesh.ir.security import MutualTls, Security
from mesh.ir.values import Locality
from mesh.ir.view import Proxy, ProxyKind, ProxyView

SESSION = "session.causeway.svc.cluster.local"
OUTBOUND = f"outbound|8080||{SESSION}"
INBOUND = "inbound|9443||"
WEST = Locality("us-west-2", "us-west-2a")
EAST = Locality("us-east-1", "us-east-1a")


def origin(name: str = "session", line: int = 1, kind: str = "VirtualService") -> Origin:
    """A place in a manifest."""
    return Origin("mesh.yaml", line, kind, "causeway", name, "spec")


def proxy(kind: ProxyKind = ProxyKind.SIDECAR) -> Proxy:
    """The gateway's in the west."""
    return Proxy(
        name="gateway-us-west-2",
        namespace="causeway",
        kind=kind,
        service_account="gateway",
        locality=WEST,
        address="127.66.1.1",
    )


def host(number: int = 1, **said: Any) -> Host:
    """A workload's port."""
    return Host(
        **{"address": f"127.66.1.{number}", "port": 9443, "origin": origin("workload", number), **said}
    )


def group(*hosts: Host, place: Locality = WEST, priority: int = 0, weight: int | None = None) -> HostGroup:
    """Hosts of one locality."""
    return HostGroup(locality=place, priority=priority, weight=weight, hosts=hosts)


def mutual() -> UpstreamTls:
    """Mutual TLS with the session service."""
    return UpstreamTls(
        mode=UpstreamTlsMode.ISTIO_MUTUAL,
        identities=("spiffe://cluster.local/ns/causeway/sa/session",),
        origin=origin("tls"),
    )


def cluster(name: str = OUTBOUND, **said: Any) -> Cluster:
    """The session service."""
    plain = {
        "name": name,
        "service": SESSION,
        "discovery": Discovery.EDS,
        "groups": (group(host(1), host(2)),),
        "http2": True,
        "tls": mutual(),
        "origin": origin("session", kind="DestinationRule"),
    }
    return Cluster(**{**plain, **said})


def application(number: int = 9443) -> Cluster:
    """What is behind a sidecar."""
    return Cluster(
        name=f"inbound|{number}||",
        service="",
        discovery=Discovery.STATIC,
        groups=(group(host(1, address="127.0.0.1", port=41001, tls=False), place=Locality()),),
        http2=True,
        origin=origin("sidecar", kind="Sidecar"),
    )


def forward(*clusters: str) -> Forward:
    """To one cluster, or spread evenly."""
    weight = 1 if len(clusters) > 1 else None
    return Forward(
        destinations=tuple(Destination(cluster=name, weight=weight) for name in clusters or (OUTBOUND,))
    )


def route(name: str = "default", **said: Any) -> Route:
    """Everything to the session service."""
    return Route(**{"name": name, "match": RouteMatch(), "action": forward(), "origin": origin(name), **said})


def table(
    name: str = "8080", routes: Iterable[Route] = (), domains: tuple[str, ...] = (SESSION,)
) -> RouteTable:
    """A table with one virtual host."""
    made = VirtualHost(
        name=f"{SESSION}:8080", domains=domains, routes=tuple(routes) or (route(),), origin=origin("host")
    )
    return RouteTable(name=name, hosts=(made,))


def outbound(**said: Any) -> Listener:
    """Where the application calls the session service."""
    content = HttpChain(route_table="8080", stats_prefix="outbound")
    plain = {
        "name": "127.66.1.1_8080",
        "direction": Direction.OUTBOUND,
        "address": "127.66.1.1",
        "port": 8080,
        "chains": (Chain(name="chain", content=content, origin=origin("chain")),),
        "origin": origin("listener"),
    }
    return Listener(**{**plain, **said})


def inbound(security: Security | None = None, *, tcp: bool = False, **said: Any) -> Listener:
    """Where the application is called."""
    content: HttpChain | TcpChain = HttpChain(route_table=INBOUND, security=security, stats_prefix="inbound")
    if tcp:
        content = TcpChain(
            destinations=(TcpDestination(cluster=INBOUND),), security=security, stats_prefix="inbound"
        )
    plain = {
        "name": "127.66.1.1_9443",
        "direction": Direction.INBOUND,
        "address": "127.66.1.1",
        "port": 9443,
        "mutual_tls": MutualTls.STRICT,
        "chains": (Chain(name="inbound", content=content, origin=origin("chain")),),
        "origin": origin("listener"),
    }
    return Listener(**{**plain, **said})


def view(**said: Any) -> ProxyView:
    """A sidecar that calls the session service and is called."""
    inside = RouteTable(
        name=INBOUND,
        hosts=(
            VirtualHost(
                name="inbound|http|9443",
                domains=("*",),
                routes=(route(action=forward(INBOUND)),),
                origin=origin("host"),
            ),
        ),
    )
    plain = {
        "proxy": proxy(),
        "clusters": (application(), cluster()),
        "route_tables": (table(), inside),
        "listeners": (outbound(), inbound()),
    }
    return ProxyView(**{**plain, **said})


def gateway_view(listener: Listener, *tables: RouteTable, **said: Any) -> ProxyView:
    """A gateway with one listener."""
    made = replace(listener, direction=Direction.GATEWAY)
    return ProxyView(
        proxy=proxy(ProxyKind.GATEWAY), clusters=(cluster(),), route_tables=tables, listeners=(made,), **said
    )


def patch(target: Target, operation: Operation, value: Any = None, **match: Any) -> Patch:
    """One change that an EnvoyFilter asks for."""
    filter_class = match.pop("filter_class", "UNSPECIFIED")
    return Patch(
        target=target,
        operation=operation,
        match=PatchMatch(**match),
        value=value or {},
        filter_class=filter_class,
        origin=origin("patches", 7, "EnvoyFilter"),
    )
