"""Where a proxy listens, and what happens to what arrives."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mesh.ir.origin import Origin
from mesh.ir.security import MutualTls, Security, ServerTls
from mesh.ir.telemetry import Telemetry
from mesh.ir.values import Protocol


class Direction(enum.Enum):
    """Whose traffic it is."""

    INBOUND = "inbound"
    """To the application behind this sidecar."""
    OUTBOUND = "outbound"
    """From the application behind this sidecar."""
    GATEWAY = "gateway"
    """Through a proxy without an application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpChain:
    """Requests routed by a table."""

    route_table: str
    """Name of the RouteTable; inbound tables are written into the listener, others sent over RDS."""
    security: Security | None = None
    fault: bool = False
    """Some route of the table injects faults."""
    cors: bool = False
    """Some route of the table answers browsers."""
    grpc_web: bool = False
    stats_prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpDestination:
    """One of the clusters that connections are spread over."""

    cluster: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpChain:
    """Connections passed on as they are."""

    destinations: tuple[TcpDestination, ...]
    security: Security | None = None
    stats_prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What a connection that matches is treated as; the most specific match wins, as Envoy has it."""

    name: str
    server_names: tuple[str, ...] = ()
    """TLS server names; empty: any."""
    destination_cidrs: tuple[str, ...] = ()
    protocol: Protocol = Protocol.HTTP
    gateway_tls: ServerTls | None = None
    """For a gateway's port."""
    content: HttpChain | TcpChain
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address a proxy listens on."""

    name: str
    """`127.66.1.7_9443`, as Istio names them."""
    direction: Direction
    address: str
    port: int
    mutual_tls: MutualTls = MutualTls.DISABLE
    """Of an inbound listener. PERMISSIVE makes two filter chains of each chain."""
    mutual_tls_origin: Origin | None = None
    """What decided `mutual_tls`; None for a listener that is not inbound."""
    chains: tuple[Chain, ...]
    telemetry: Telemetry = field(default_factory=Telemetry)
    origin: Origin
