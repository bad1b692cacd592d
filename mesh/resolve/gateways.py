"""What proxies without an application listen on.

https://istio.io/latest/docs/reference/config/networking/gateway/, pilot/pkg/model/gateway.go
(`mergeGateways`), pilot/pkg/networking/core/gateway.go (`buildGatewayListeners`).

A port that some service or the WorkloadEntry's `ports` maps to another is listened for there, as Istio
listens for a gateway Service's 443 at its pods' 8443.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mesh.ir.listener import Chain, Direction, HttpChain, Listener, TcpChain
from mesh.ir.route import RouteTable
from mesh.ir.security import Security, ServerTls, ServerTlsMode
from mesh.ir.telemetry import Telemetry
from mesh.ir.values import MatchKind, Protocol, StringMatcher
from mesh.ir.view import Proxy
from mesh.manifests.gateway import ServerTLSMode, ServerTLSSettings, TLSProtocol
from mesh.resolve import labels as words
from mesh.resolve.client import Client
from mesh.resolve.config import Config
from mesh.resolve.connections import distinct, tcp_chains, tls_chains
from mesh.resolve.gateway_hosts import Bound, gateway_table, routing, served
from mesh.resolve.outbound import flags
from mesh.resolve.registry import protocol_of


@dataclass(slots=True)
class _Port:
    """The servers of one address and port, which agree whether TLS is spoken."""

    bind: str
    number: int
    """That is listened on."""
    plain: bool
    """Whether requests come in plaintext HTTP."""
    servers: list[Bound] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """TLS server names that are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """What Gateways make of a proxy."""

    listeners: tuple[Listener, ...]
    tables: tuple[RouteTable, ...]
    credentials: tuple[str, ...]


def gateways(
    config: Config,
    proxy: Proxy,
    client: Client,
    listen_port: Callable[[int, str], int],
    security: Security | None,
    telemetry: Telemetry,
) -> Gateways:
    """`listen_port` knows, for a Gateway's port number and name, which port is listened on."""
    listeners = []
    tables: dict[str, RouteTable] = {}
    for port in _ports(config, proxy, listen_port):
        name = f"{port.bind}_{port.number}"
        chains = distinct(_chains(config, client, port, tables, security))
        if chains:
            listeners.append(
                Listener(
                    name=name,
                    direction=Direction.GATEWAY,
                    address=port.bind,
                    port=port.number,
                    chains=chains,
                    telemetry=telemetry,
                    origin=config.origin(port.servers[0].manifest, port.servers[0].server),
                )
            )
    kept = [chain for one in listeners for chain in one.chains]
    used = {chain.content.route_table for chain in kept if isinstance(chain.content, HttpChain)}
    credentials = {chain.gateway_tls.credential for chain in kept if chain.gateway_tls}
    return Gateways(
        listeners=tuple(listeners),
        tables=tuple(table for name, table in sorted(tables.items()) if name in used),
        credentials=tuple(sorted(credentials - {""})),
    )


def selected(config: Config, proxy: Proxy) -> list[Bound]:
    """The servers of all Gateways, of any namespace, that select a proxy; the oldest Gateway's first."""
    ordered = sorted(config.gateways, key=lambda one: (one.created, one.namespace, one.name))
    return [
        Bound(server, manifest)
        for manifest in ordered
        if words.selects(manifest.spec.selector, proxy.labels)
        for server in manifest.spec.servers
    ]


def _ports(config: Config, proxy: Proxy, listen_port: Callable[[int, str], int]) -> Sequence[_Port]:
    """Servers by the port they listen on. One that contradicts an older one there is left out: plaintext and
    TLS cannot share a port, nor can two servers have one TLS server name."""
    found: dict[tuple[str, int], _Port] = {}
    for bound in selected(config, proxy):
        port = bound.server.port
        number = listen_port(bound.number, (port.name if port else None) or "")
        bind = bound.server.bind or proxy.address
        plain = _protocol(bound).is_http
        entry = found.setdefault((bind, number), _Port(bind, number, plain))
        if entry.plain != plain:
            continue
        if not plain:
            names = set(bound.hosts())
            opaque = bound.server.tls is None
            if (opaque and entry.servers) or (names & entry.names):
                continue
            entry.names |= names
        entry.servers.append(bound)
    return [entry for entry in found.values() if entry.servers]


def _protocol(bound: Bound) -> Protocol:
    return protocol_of((bound.server.port.protocol if bound.server.port else None) or "")


def _chains(
    config: Config, client: Client, port: _Port, tables: dict[str, RouteTable], security: Security | None
) -> Iterator[Chain]:
    prefix = f"outbound_{port.bind}_{port.number}"
    if port.plain:
        table = gateway_table(config, client, f"http.{port.number}", port.servers)
        tables[table.name] = table
        protocol = _protocol(port.servers[0])
        yield _http_chain(config, port.servers[0], table, protocol, None, prefix, security)
        return
    for bound in port.servers:
        settings = bound.server.tls
        tls = _server_tls(config, bound, settings) if settings else None
        if (
            tls is not None
            and tls.mode is not ServerTlsMode.PASSTHROUGH
            and _protocol(bound) is Protocol.HTTPS
        ):
            table = gateway_table(config, client, _table_name(bound), [bound])
            tables[table.name] = table
            yield _http_chain(config, bound, table, Protocol.HTTPS, tls, prefix, security)
        else:
            yield from _connections(config, client, bound, tls, prefix, security)


def _http_chain(
    config: Config,
    bound: Bound,
    table: RouteTable,
    protocol: Protocol,
    tls: ServerTls | None,
    prefix: str,
    security: Security | None,
) -> Chain:
    fault, cors = flags(table)
    return Chain(
        name=table.name,
        server_names=_server_names(bound) if tls else (),
        protocol=protocol,
        gateway_tls=tls,
        content=HttpChain(
            route_table=table.name,
            security=security,
            fault=fault,
            cors=cors,
            grpc_web=protocol is Protocol.GRPC_WEB,
            stats_prefix=prefix,
        ),
        origin=config.origin(bound.manifest, bound.server),
    )


def _connections(
    config: Config,
    client: Client,
    bound: Bound,
    tls: ServerTls | None,
    prefix: str,
    security: Security | None,
) -> Iterator[Chain]:
    """Opaque connections: passed through by TLS server name, or, where TLS is ended or none is spoken, to the
    first destination that a VirtualService has for the port."""
    passes = tls is not None and tls.mode is ServerTlsMode.PASSTHROUGH
    for virtual, _ in served(config, client, bound):
        make = tls_chains if passes else tcp_chains
        for chain in make(routing(config, client, bound), virtual, prefix):
            content = chain.content
            if isinstance(content, TcpChain):
                content = TcpChain(
                    destinations=content.destinations, security=security, stats_prefix=content.stats_prefix
                )
            yield Chain(
                name=chain.name,
                server_names=chain.server_names if passes or tls is None else _server_names(bound),
                destination_cidrs=chain.destination_cidrs,
                protocol=chain.protocol,
                gateway_tls=tls,
                content=content,
                origin=chain.origin,
            )
            if not passes:
                return


def _server_names(bound: Bound) -> tuple[str, ...]:
    """TLS server names of a server; none for any."""
    names = tuple(sorted(set(bound.hosts())))
    return () if "*" in names else names


def _table_name(bound: Bound) -> str:
    port = bound.server.port
    name = (port.name if port else None) or ""
    return f"https.{bound.number}.{name}.{bound.manifest.name}.{bound.manifest.namespace}"


def _server_tls(config: Config, bound: Bound, said: ServerTLSSettings) -> ServerTls:
    mode = ServerTlsMode((said.mode or ServerTLSMode.PASSTHROUGH).value)
    return ServerTls(
        mode=mode,
        credential=said.credential_name or "",
        certificate_file=said.server_certificate or "",
        key_file=said.private_key or "",
        ca_file=said.ca_certificates or "",
        names=tuple(StringMatcher(MatchKind.EXACT, name) for name in said.subject_alt_names),
        minimum_version=_version(said.min_protocol_version),
        maximum_version=_version(said.max_protocol_version),
        cipher_suites=said.cipher_suites,
        origin=config.origin(bound.manifest, bound.server, "tls"),
    )


def _version(said: TLSProtocol | None) -> str:
    return "" if said in (None, TLSProtocol.TLS_AUTO) else said.value
