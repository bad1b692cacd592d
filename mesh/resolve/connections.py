"""Where connections go that are not looked into: TLS by server name, and anything else.

pilot/pkg/networking/core/tls.go;
https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh.ir.listener import Chain, TcpChain, TcpDestination
from mesh.ir.origin import Origin
from mesh.ir.values import Protocol
from mesh.manifests.virtual_service import RouteDestination
from mesh.resolve.matches import concerns_connections
from mesh.resolve.names import cluster_name, covers
from mesh.resolve.registry import Service
from mesh.resolve.routes import Routing
from mesh.resolve.scope import Reach
from mesh.resolve.virtual_services import Virtual


def service_chains(
    routing: Routing, reach: Reach, virtuals: Sequence[Virtual], protocol: Protocol, prefix: str
) -> Iterator[Chain]:
    """The chains of one service on an outbound port: what VirtualServices say of it, else to the service
    itself.

    TLS is told apart by server name; opaque bytes cannot be, so there the first chain takes all.
    """
    service = reach.service
    concerned = [one for one in virtuals if any(covers(host, service.host) for host in one.hosts)]
    if protocol in (Protocol.TLS, Protocol.HTTPS):
        found = [chain for one in concerned for chain in tls_chains(routing, one, prefix)]
        yield from found or [_own_chain(routing, reach, (service.host,), protocol, prefix)]
        return
    for virtual in concerned:
        for chain in tcp_chains(routing, virtual, prefix):
            yield chain
            if not chain.destination_cidrs:
                return
    yield _own_chain(routing, reach, (), protocol, prefix)


def tls_chains(routing: Routing, virtual: Virtual, prefix: str) -> Iterator[Chain]:
    """What a VirtualService's `tls` rules say, by server name."""
    for rule in virtual.spec.tls:
        for match in rule.match:
            if concerns_connections(match, routing.place, virtual.namespace):
                yield _chain(
                    routing,
                    virtual,
                    rule.route,
                    server_names=tuple(name.lower() for name in match.sni_hosts),
                    cidrs=match.destination_subnets,
                    protocol=Protocol.TLS,
                    prefix=prefix,
                    origin=routing.config.origin(virtual.manifest, rule),
                )


def tcp_chains(routing: Routing, virtual: Virtual, prefix: str) -> Iterator[Chain]:
    """What a VirtualService's `tcp` rules say; the first without a subnet takes all that is left."""
    for rule in virtual.spec.tcp:
        matched = [
            match for match in rule.match if concerns_connections(match, routing.place, virtual.namespace)
        ]
        if rule.match and not matched:
            continue
        anywhere = not matched or any(not match.destination_subnets for match in matched)
        cidrs = () if anywhere else tuple(cidr for match in matched for cidr in match.destination_subnets)
        yield _chain(
            routing,
            virtual,
            rule.route,
            server_names=(),
            cidrs=cidrs,
            protocol=Protocol.TCP,
            prefix=prefix,
            origin=routing.config.origin(virtual.manifest, rule),
        )
        if anywhere:
            return


def distinct(chains: Iterator[Chain]) -> tuple[Chain, ...]:
    """Without those that could never be chosen because an earlier one matches the same."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], Chain] = {}
    names: set[str] = set()
    for chain in chains:
        fresh = tuple(name for name in chain.server_names if name not in names)
        if chain.server_names and not fresh:
            continue
        names.update(fresh)
        found.setdefault((fresh, chain.destination_cidrs), _named(chain, fresh))
    return tuple(found.values())


def _named(chain: Chain, server_names: tuple[str, ...]) -> Chain:
    if server_names == chain.server_names:
        return chain
    return Chain(
        name=chain.name,
        server_names=server_names,
        destination_cidrs=chain.destination_cidrs,
        protocol=chain.protocol,
        gateway_tls=chain.gateway_tls,
        content=chain.content,
        origin=chain.origin,
    )


def _own_chain(
    routing: Routing, reach: Reach, server_names: tuple[str, ...], protocol: Protocol, prefix: str
) -> Chain:
    """To the service's port of the listener's number, or to its only one."""
    service: Service = reach.service
    port = service.ports[0].number if len(service.ports) == 1 else routing.port
    cluster = cluster_name(service.host, port)
    return Chain(
        name=cluster,
        server_names=server_names,
        protocol=protocol,
        content=TcpChain(destinations=(TcpDestination(cluster=cluster),), stats_prefix=prefix),
        origin=service.origin,
    )


def _chain(
    routing: Routing,
    virtual: Virtual,
    sent: Sequence[RouteDestination],
    *,
    server_names: tuple[str, ...],
    cidrs: tuple[str, ...],
    protocol: Protocol,
    prefix: str,
    origin: Origin,
) -> Chain:
    chosen = sent if len(sent) == 1 else [one for one in sent if one.weight]
    destinations = tuple(
        TcpDestination(cluster=routing.cluster(virtual, one.destination), weight=one.weight or 1)
        for one in chosen
    )
    return Chain(
        name=f"{virtual.namespace}/{virtual.manifest.name} {origin.path}",
        server_names=server_names,
        destination_cidrs=cidrs,
        protocol=protocol,
        content=TcpChain(destinations=destinations, stats_prefix=prefix),
        origin=origin,
    )
