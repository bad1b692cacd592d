"""Who may call whom: what proxies know (by Sidecars), and what servers allow (by AuthorizationPolicies)."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.simulate import chains, rbac, retries, tls
from mesh.simulate.messages import HCM, NETWORK_RBAC, Proto, seconds, type_name, unpack, which, wrapped
from mesh.simulate.request import Connection, Facts, Request
from mesh.simulate.tables import host_for
from mesh.simulate.upstream import Pool, pool_of
from mesh.simulate.world import Node, World
from mesh.xds.resources import CLUSTER, LISTENER, ROUTES

_HTTP_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"


class May(enum.Enum):
    """Whether a call gets past the server's policies."""

    ALL = "all"
    SOME = "some"
    """Depending on what is asked for, or with which token."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Admission:
    """What a server lets a caller do."""

    may: May
    targets: tuple[str, ...] = ()
    """Paths, methods and the like that are allowed; empty: any."""
    denied: tuple[str, ...] = ()
    """Those that are not."""
    why: str = ""
    """For none: what refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A service that an application's proxy knows."""

    client: str
    host: str
    port: int
    server: str
    """Application behind the service; empty when its hosts have no proxy of this mesh."""
    admission: Admission
    secured: bool
    """By mutual TLS."""
    traffic: tuple[str, ...] = ()
    """Balancing, outlier detection, time limits and retries, in words."""
    order: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """By the client's region: the regions of each priority."""

    def to_json(self) -> dict[str, Any]:
        """For `--format json`."""
        return {
            "client": self.client,
            "service": self.host,
            "port": self.port,
            "server": self.server or None,
            "may": self.admission.may.value,
            "allowed": list(self.admission.targets),
            "denied": list(self.admission.denied),
            "refused": self.admission.why or None,
            "mutual_tls": self.secured,
            "traffic": list(self.traffic),
            "priorities": {region: [list(group) for group in order] for region, order in self.order.items()},
        }


def edges(world: World) -> tuple[Edge, ...]:
    """All of them, those of an application's regions drawn together where they are the same."""
    merged: dict[tuple[object, ...], Edge] = {}
    for node in world.nodes.values():
        for edge in _edges(world, node):
            key = (edge.client, edge.host, edge.port, edge.admission, edge.secured, edge.traffic)
            if key in merged:
                merged[key].order.update(edge.order)
            else:
                merged[key] = edge
    return tuple(sorted(merged.values(), key=lambda edge: (edge.client, edge.host, edge.port)))


def _edges(world: World, node: Node) -> Iterator[Edge]:
    clusters = node.resources.of(CLUSTER)
    for name in clusters:
        parts = name.split("|")
        if len(parts) != 4 or parts[0] != "outbound" or parts[2] or not parts[1].isdigit():
            continue
        pool = pool_of(clusters[name], node.resources, ())
        if not pool.endpoints:
            continue
        server, secured, admission = _admission(world, node, pool)
        if server == node.app:
            continue
        yield Edge(
            client=node.app,
            host=parts[3],
            port=int(parts[1]),
            server=server,
            admission=admission,
            secured=secured,
            traffic=tuple(_traffic(node, pool, parts[3], parts[1])),
            order={node.region: _order(pool)},
        )


def _order(pool: Pool) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(dict.fromkeys(item.region or "?" for item in pool.at(priority)))
        for priority in range(pool.priorities)
    )


def _admission(world: World, client: Node, pool: Pool) -> tuple[str, bool, Admission]:
    """Of the first host that has a proxy: a service's workloads share their policies."""
    for endpoint in pool.endpoints:
        server = world.listening(endpoint.address, endpoint.port)
        if server is None:
            continue
        offer = tls.dial(pool.cluster, endpoint, client.proxy).offer
        connection = Connection(
            source=client.proxy.address, address=endpoint.address, port=endpoint.port, tls=offer
        )
        return server.app, bool(offer and offer.identity), admits(server, connection)
    return "", False, Admission(May.ALL)


def admits(server: Node, connection: Connection) -> Admission:
    """What a server's proxy lets a connection's client do, whatever it may ask for."""
    listener = chains.listener_at(server.resources.of(LISTENER), connection.address, connection.port)
    found = chains.choose(listener, connection) if listener is not None else None
    shaken = tls.accept(found.chain, connection, server.proxy) if found is not None else None
    if found is None or shaken is None:
        return Admission(May.NONE, why="no filter chain takes the connection")
    if shaken.connection is None:
        return Admission(May.NONE, why=shaken.says)
    facts = Facts(request=Request(authority="", open=True), connection=shaken.connection)
    allowed: tuple[str, ...] = ()
    denied: list[str] = []
    may = May.ALL
    for rules in _rules(found.chain):
        verdict = rbac.judge(rules, facts)
        if verdict.allowed is False:
            return Admission(May.NONE, why=verdict.says)
        if verdict.allowed is True:
            continue
        may = May.SOME
        targets = tuple(dict.fromkeys(text for text in _possible(rules, facts)))
        if verdict.action is rbac.Action.DENY:
            denied += targets
        else:
            allowed = targets
    return Admission(may, allowed, tuple(denied))


def _rules(chain: Proto) -> Iterator[Proto]:
    for item in chain.filters:
        config = unpack(item.typed_config)
        kind = type_name(item.typed_config)
        if config is not None and kind == NETWORK_RBAC and config.HasField("rules"):
            yield config.rules
        elif config is not None and kind == HCM:
            for inner in config.http_filters:
                filter_config = unpack(inner.typed_config)
                if type_name(inner.typed_config) != _HTTP_RBAC or filter_config is None:
                    continue
                if filter_config.HasField("rules"):
                    yield filter_config.rules


def _possible(rules: Proto, facts: Facts) -> Iterator[str]:
    """What the policies that may concern this caller are about."""
    for name in sorted(rules.policies):
        policy = rules.policies[name]
        if rbac.known(policy, facts) is False:
            continue
        targets = rbac.targets(policy)
        yield from targets or ("with a token or a condition",)


def _traffic(node: Node, pool: Pool, host: str, port: str) -> Iterator[str]:
    cluster = pool.cluster
    if cluster.HasField("outlier_detection"):
        outlier = cluster.outlier_detection
        kinds = []
        if wrapped(outlier, "enforcing_consecutive_5xx", 100):
            kinds.append(f"{wrapped(outlier, 'consecutive_5xx', 5)} answers 5xx")
        if wrapped(outlier, "enforcing_consecutive_gateway_failure", 0):
            kinds.append(f"{wrapped(outlier, 'consecutive_gateway_failure', 5)} gateway errors")
        yield f"left out after {' or '.join(kinds) or 'failures'} in a row"
    if cluster.health_checks:
        yield f"health asked every {seconds(cluster.health_checks[0].interval):g} s"
    yield from dict.fromkeys(_routes(node, host, port))


def _routes(node: Node, host: str, port: str) -> Iterator[str]:
    for name in sorted(node.resources.of(ROUTES)):
        table: Proto = node.resources.of(ROUTES)[name]
        found = host_for(table, f"{host}:{port}")
        if found is None or found.domain == "*":
            continue
        for route in found.host.routes:
            if which(route, "action") == "route" and any(_leads(route.route, host)):
                policy = retries.policy_of(route.route, found.host)
                limit = seconds(route.route.timeout) if route.route.HasField("timeout") else 15.0
                yield f"{policy.says}, {f'at most {limit:g} s' if limit else 'no time limit'}"


def _leads(action: Proto, host: str) -> Iterator[bool]:
    if which(action, "cluster_specifier") == "weighted_clusters":
        yield from (item.name.endswith(f"|{host}") for item in action.weighted_clusters.clusters)
    else:
        yield action.cluster.endswith(f"|{host}")


def text(found: Sequence[Edge]) -> list[str]:
    """The graph as lines."""
    lines: list[str] = []
    for client in dict.fromkeys(edge.client for edge in found):
        lines += ["", client] if lines else [client]
        for edge in found:
            if edge.client == client:
                lines += _lines(edge)
    return lines


def _lines(edge: Edge) -> Iterator[str]:
    mark = {May.ALL: "→", May.SOME: "→", May.NONE: "✗"}[edge.admission.may]
    how = "mutual TLS" if edge.secured else "plaintext or one-sided TLS"
    outside = "" if edge.server else ", outside the mesh"
    yield f"  {mark} {edge.host}:{edge.port} ({how}{outside})"
    if edge.admission.may is May.NONE:
        yield f"      {edge.admission.why}"
        return
    allowed = ", ".join(edge.admission.targets) or "anything"
    yield f"      may ask for {allowed}"
    if edge.admission.denied:
        yield f"      but not for {', '.join(edge.admission.denied)}"
    for region, order in sorted(edge.order.items()):
        ways = " → ".join("+".join(group) for group in order)
        yield f"      from {region or 'anywhere'}: {ways}"
    for item in edge.traffic:
        yield f"      {item}"


def dot(found: Sequence[Edge]) -> list[str]:
    """The graph for Graphviz; what is refused is left out."""
    lines = ["digraph mesh {", "  rankdir=LR;", "  node [shape=box];"]
    for edge in found:
        if edge.admission.may is May.NONE:
            continue
        style = "solid" if edge.admission.may is May.ALL else "dashed"
        label = "\\n".join(_escaped(item) for item in edge.admission.targets[:6])
        server = edge.server or edge.host
        lines.append(f'  "{_escaped(edge.client)}" -> "{_escaped(server)}" [style={style}, label="{label}"];')
    return [*lines, "}"]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"')
