"""Where each part of the generated configuration came from.

A side table, never part of the messages. Paths begin with the type URL and the resource's name:

    (CLUSTER, cluster)                              and, below it, "load_balancing", "outlier_detection",
                                                    "health_checks", "connection_pool", "tls"
    (ENDPOINTS, cluster, "<address>:<port>")        the workload's manifest
    (LISTENER, listener)
    (LISTENER, listener, chain)
    (LISTENER, listener, chain, filter)             a filter's name; one that an EnvoyFilter put there
    included
    (LISTENER, listener, chain, "envoy.filters.http.rbac", policy)
                                                    `ns[causeway]-policy[session]-rule[0]`, as in the filter
    (LISTENER, listener, chain, "envoy.filters.http.jwt_authn", issuer)
    (ROUTES, table, virtual host)
    (ROUTES, table, virtual host, route)            its index, from 0, as text
    (ROUTES, table, virtual host, route, part)      "retries", "fault", "cors", "mirror.<index>"

An inbound table is part of its listener's message; its origins are under its own name all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mesh.ir.cluster import Cluster
from mesh.ir.listener import Chain, Direction, HttpChain, Listener
from mesh.ir.origin import Origin
from mesh.ir.route import Forward, Route, RouteTable
from mesh.ir.security import Effect, Security
from mesh.ir.telemetry import Telemetry
from mesh.ir.view import ProxyView
from mesh.translate.names import JWT, RBAC, chain_names, policy_id
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Path


class Origins(Mapping[Path, Origin]):
    """Made when somebody looks: of a thousand proxies, a person asks about one."""

    def __init__(self, make: Callable[[], Mapping[Path, Origin]]) -> None:
        self._make: Callable[[], Mapping[Path, Origin]] | None = make
        self._made: Mapping[Path, Origin] = {}

    def __getitem__(self, path: Path) -> Origin:
        return self._table()[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._table())

    def __len__(self) -> int:
        return len(self._table())

    def _table(self) -> Mapping[Path, Origin]:
        if self._make is not None:
            self._made = self._make()
            self._make = None
        return self._made


def of_view(view: ProxyView) -> dict[Path, Origin]:
    """The origins of everything in the view, patches aside."""
    found: dict[Path, Origin] = {}
    for cluster in view.clusters:
        found.update(of_cluster(cluster))
    for table in view.route_tables:
        found.update(of_table(table))
    for listener in view.listeners:
        found.update(of_listener(listener))
    return found


def of_cluster(cluster: Cluster) -> dict[Path, Origin]:
    """Those of a cluster and of its hosts."""
    at = (CLUSTER, cluster.name)
    found = {
        at: cluster.origin,
        (*at, "load_balancing"): cluster.balancer.origin,
        (*at, "connection_pool"): cluster.pool.origin,
    }
    if cluster.outlier is not None:
        found[(*at, "outlier_detection")] = cluster.outlier.origin
    if cluster.health_check is not None:
        found[(*at, "health_checks")] = cluster.health_check.origin
    if cluster.tls is not None:
        found[(*at, "tls")] = cluster.tls.origin
    for group in cluster.groups:
        for host in group.hosts:
            found[ENDPOINTS, cluster.name, f"{host.address}:{host.port}"] = host.origin
    return found


def of_table(table: RouteTable) -> dict[Path, Origin]:
    """Those of a route table's hosts and routes."""
    found: dict[Path, Origin] = {}
    for host in table.hosts:
        found[ROUTES, table.name, host.name] = host.origin
        for index, route in enumerate(host.routes):
            at = (ROUTES, table.name, host.name, str(index))
            found[at] = route.origin
            for part, origin in route_parts(route):
                found[(*at, part)] = origin
    return found


def route_parts(route: Route) -> Iterator[tuple[str, Origin]]:
    """The parts of a route that have an origin of their own."""
    if route.fault is not None:
        yield "fault", route.fault.origin
    if route.cors is not None:
        yield "cors", route.cors.origin
    if isinstance(route.action, Forward):
        if route.action.retries is not None:
            yield "retries", route.action.retries.origin
        for index, mirror in enumerate(route.action.mirrors):
            yield f"mirror.{index}", mirror.origin


def of_listener(listener: Listener) -> dict[Path, Origin]:
    """Those of a listener, its chains and what they enforce."""
    found: dict[Path, Origin] = {(LISTENER, listener.name): listener.origin}
    for chain in listener.chains:
        for name in chain_names(listener, chain):
            at = (LISTENER, listener.name, name)
            found[at] = chain.origin
            found.update(_of_chain(at, listener, chain))
            for part, origin in _of_telemetry(listener.telemetry):
                found[(*at, part)] = origin
    return found


def _of_telemetry(telemetry: Telemetry) -> Iterator[tuple[str, Origin]]:
    for index, log in enumerate(telemetry.access_logs):
        yield f"access_log.{index}", log.origin
    if telemetry.tracing is not None:
        yield "tracing", telemetry.tracing.origin
    if telemetry.metrics is not None:
        yield "metrics", telemetry.metrics.origin


def _of_chain(at: Path, listener: Listener, chain: Chain) -> dict[Path, Origin]:
    found: dict[Path, Origin] = {}
    if chain.gateway_tls is not None:
        found[(*at, "tls")] = chain.gateway_tls.origin
    security = chain.content.security
    if security is None or (listener.direction is Direction.OUTBOUND):
        return found
    found.update(_of_security(at, security, http=isinstance(chain.content, HttpChain)))
    return found


def _of_security(at: Path, security: Security, *, http: bool) -> dict[Path, Origin]:
    found: dict[Path, Origin] = {}
    filter_name = RBAC if http else "envoy.filters.network.rbac"
    for policy in security.policies:
        for index, rule in enumerate(policy.rules):
            found[(*at, filter_name, policy_id(policy, index))] = rule.origin
        if not policy.rules:
            found[(*at, filter_name, policy_id(policy, 0))] = policy.origin
        if policy.effect is Effect.CUSTOM and policy.provider in security.authorizers:
            ext_authz = "envoy.filters.http.ext_authz" if http else "envoy.filters.network.ext_authz"
            found[(*at, ext_authz)] = security.authorizers[policy.provider].origin
    if http:
        for issuer in security.issuers:
            found[(*at, JWT, issuer.issuer)] = issuer.origin
    return found
