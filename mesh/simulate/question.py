"""A question as a person asks it: from whom, to whom, with what; and the walk that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mesh.simulate import chains
from mesh.simulate.filters import Assumptions
from mesh.simulate.hop import Settings
from mesh.simulate.request import Offer, Request, Token, grpc_call
from mesh.simulate.tables import without_port
from mesh.simulate.traffic import Traffic
from mesh.simulate.walk import Walk
from mesh.simulate.world import Node, NoSuchProxyError, World
from mesh.xds.resources import CLUSTER, LISTENER

HEALTH = "/grpc.health.v1.Health/Check"
"""What is asked when no method is named: every service has it."""

OUTSIDE = "outside"
"""Somebody without a proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be explained."""

    client: str
    """An application (`gateway`), a proxy, or `outside`."""
    server: str
    """A service (`session`, or its full host name); from outside, the proxy that is connected to."""
    region: str = ""
    """Of the client; from outside, of the proxy."""
    path: str = ""
    """`/package.Service/Method` of a gRPC call, else a path; empty: a health check."""
    http_method: str = ""
    """Makes it a plain HTTP request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    authority: str = ""
    """Host that is asked for; by default the service's, or the server name of a gateway's TLS."""
    port: int | None = None
    token: Token | None = None
    plaintext: bool = False
    """From outside: without TLS."""
    down: tuple[str, ...] = ()
    """`region/app`, `region`, `*/app` or addresses that do not answer."""
    noticed: bool = True
    assumptions: Assumptions = Assumptions()  # noqa: RUF009 - frozen


def ask(world: World, question: Question) -> Walk:
    """The walk. Raises NoSuchProxyError when somebody is named whom the mesh does not have."""
    down = frozenset(address for text in question.down for address in _down(world, text))
    settings = Settings(assumptions=question.assumptions, down=down, noticed=question.noticed)
    traffic = Traffic(world, settings)
    if question.client == OUTSIDE:
        return _from_outside(world, traffic, question)
    node = world.find(question.client, question.region)
    host, ports = service(node, question.server)
    port = question.port or ports[0]
    if port not in ports:
        listed = ", ".join(map(str, ports))
        raise NoSuchProxyError(f"{node.name} knows {host} on port {listed}, not on {port}")
    authority = question.authority or f"{host}:{port}"
    return traffic.call(node.name, _request(question, authority), port)


def service(node: Node, name: str) -> tuple[str, list[int]]:
    """Full host and ports of a service that a proxy can call; `name` may be its first label.

    Raises NoSuchProxyError when the proxy knows none of that name: its Sidecar hides it, or there is none.
    """
    found: dict[str, set[int]] = {}
    for host, port in known_services(node):
        if host == name or host.partition(".")[0] == name or host.startswith(f"{name}."):
            found.setdefault(host, set()).add(port)
    if not found:
        hosts = ", ".join(sorted({host for host, _ in known_services(node)})) or "none"
        raise NoSuchProxyError(f"{node.name} knows no service {name}; it knows {hosts}")
    namespace = f".{node.proxy.namespace}."
    host = min(found, key=lambda item: (item != name, namespace not in item, item))
    return host, sorted(found[host])


def known_services(node: Node) -> Iterator[tuple[str, int]]:
    """Hosts and ports that a proxy has clusters for, named as Istio names them: `outbound|8080||host`."""
    for name in node.resources.of(CLUSTER):
        parts = name.split("|")
        if len(parts) == 4 and parts[0] == "outbound" and parts[1].isdigit() and not parts[2]:
            yield parts[3], int(parts[1])


def _from_outside(world: World, traffic: Traffic, question: Question) -> Walk:
    node = world.find(question.server, question.region)
    ports = sorted(
        {port for item in node.resources.of(LISTENER).values() for _, port in chains.addresses(item)}
    )
    if not ports:
        raise NoSuchProxyError(f"{node.name} listens on nothing")
    port = question.port or ports[0]
    authority = question.authority or next(_server_names(node), "") or "localhost"
    offer = None if question.plaintext else Offer(sni=without_port(authority), protocols=("h2", "http/1.1"))
    return traffic.arrive(node.name, _request(question, authority), port, offer=offer)


def _server_names(node: Node) -> Iterator[str]:
    """Names that its filter chains are for, wildcards aside."""
    listeners = node.resources.of(LISTENER)
    for name in sorted(listeners):
        message: object = listeners[name]
        for chain in getattr(message, "filter_chains", ()):
            for server_name in chain.filter_chain_match.server_names:
                if not server_name.startswith("*") and not server_name.startswith("outbound_"):
                    yield server_name


def _request(question: Question, authority: str) -> Request:
    path = question.path or ("/" if question.http_method else HEALTH)
    headers = {name.lower(): value for name, value in question.headers.items()}
    if question.http_method:
        return Request(
            authority=authority, path=path, method=question.http_method, headers=headers, token=question.token
        )
    return grpc_call(authority, path, headers, question.token)


def _down(world: World, text: str) -> frozenset[str]:
    region, slash, app = text.partition("/")
    if slash:
        return world.addresses(app, "" if region == "*" else region)
    if any(node.region == region for node in world.nodes.values()):
        return world.addresses("", region)
    return frozenset({text})
