"""One proxy: from an accepted connection to the host that gets the request, or to a refusal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from google.protobuf import any_pb2

from mesh.simulate import chains, filters, rbac, tables, tls
from mesh.simulate.actions import Target, act, clusters_of
from mesh.simulate.filters import Assumptions, Scene, Stop
from mesh.simulate.forwarding import deliver
from mesh.simulate.messages import HCM, NETWORK_RBAC, TCP_PROXY, Proto, type_name, unpack, which
from mesh.simulate.request import Connection, Facts, Request
from mesh.simulate.retries import NEVER
from mesh.simulate.tables import FoundHost, FoundRoute
from mesh.simulate.trail import Trail
from mesh.simulate.walk import Attempt, Ending, Hop, Result, local_answer
from mesh.simulate.world import Node
from mesh.xds.resources import CLUSTER, EXTENSION, LISTENER, ROUTES

INBOUND = "inbound"
OUTBOUND = "outbound"
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a walk is told beside the request."""

    assumptions: Assumptions = Assumptions()  # noqa: RUF009 - frozen
    down: frozenset[str] = frozenset()
    """Addresses, with or without a port, that do not answer."""
    noticed: bool = True
    """Proxies have had the time to notice who is down."""


@dataclass(frozen=True, slots=True)
class Onward:
    """The request leaves the proxy."""

    request: Request
    connection: Connection
    application: bool
    """It goes to the application behind this very proxy."""


Call = Callable[[str, str], str]
"""Calls a path of a service through one of the proxy's clusters; says why that fails, or nothing."""


class Passage:
    """A request in one proxy. Made for one walk, used once."""

    def __init__(self, node: Node, settings: Settings, call: Call) -> None:
        self._node = node
        self._settings = settings
        self._call = call
        self._trail = Trail(node.resources)
        self._role = GATEWAY if node.is_gateway else OUTBOUND
        self._cluster = ""
        self._clusters: tuple[tuple[str, float], ...] = ()
        self._attempts: tuple[Attempt, ...] = ()

    def accept(self, connection: Connection, request: Request) -> tuple[Hop, Onward | Ending]:
        """A connection to one of its listeners."""
        listeners = self._node.resources.of(LISTENER)
        listener = chains.listener_at(listeners, connection.address, connection.port)
        where = f"{connection.address}:{connection.port}"
        if listener is None:
            return self._over(self._failed(f"nobody listens on {where}", request))
        if not self._node.is_gateway and listener.traffic_direction == 1:
            self._role = INBOUND
        self._trail.add("listener", f"{listener.name} takes {where}", LISTENER, listener.name)
        found = chains.choose(listener, connection)
        if found is None:
            self._trail.add(
                "chain", "no filter chain matches: the connection is closed", LISTENER, listener.name
            )
            return self._over(self._refused("no filter chain matches the connection"))
        at = (LISTENER, str(listener.name), str(found.chain.name))
        self._trail.add("chain", f"{found.chain.name or 'unnamed'} {found.says}", *at)
        shaken = tls.accept(found.chain, connection, self._node.proxy)
        self._trail.add("tls", shaken.says, *at, "tls", sure=shaken.sure)
        if shaken.connection is None:
            return self._over(self._refused(shaken.says))
        return self._over(self._network(found.chain, at, shaken.connection, request))

    def resolve(self, target: str, request: Request) -> tuple[Hop, Onward | Ending]:
        """A gRPC client that is its own proxy: `target` names a listener of its."""
        listener = self._node.resources.of(LISTENER).get(target)
        if listener is None:
            return self._over(self._failed(f"there is no listener {target}", request))
        self._trail.add("listener", f"{target}, inside the client", LISTENER, target)
        config = unpack(_message(listener).api_listener.api_listener)
        if config is None:
            return self._over(self._failed(f"listener {target} is not for clients", request))
        return self._over(self._http(config, (LISTENER, target, ""), Connection(), request))

    def _over(self, end: Onward | Ending) -> tuple[Hop, Onward | Ending]:
        hop = Hop(
            proxy=self._node.name,
            region=self._node.region,
            role=self._role,
            steps=tuple(self._trail.steps),
            cluster=self._cluster,
            clusters=self._clusters,
            attempts=self._attempts,
        )
        return hop, end

    def _network(
        self, chain: Proto, at: tuple[str, ...], connection: Connection, request: Request
    ) -> Onward | Ending:
        for item in chain.filters:
            kind = type_name(item.typed_config)
            config = unpack(item.typed_config)
            if kind == HCM and config is not None:
                return self._http(config, at, connection, request)
            if kind == TCP_PROXY and config is not None:
                return self._tcp(config, (*at, item.name), connection, request)
            if kind == NETWORK_RBAC and config is not None:
                verdict = rbac.judge(config.rules, Facts(request=None, connection=connection))
                sure = verdict.allowed is not None
                self._trail.add(
                    "filter", f"{item.name}: {verdict.says}", *at, item.name, verdict.policy, sure=sure
                )
                if verdict.allowed is False:
                    return self._refused(verdict.says)
            else:
                self._trail.add("filter", f"{item.name}: not simulated ({kind})", *at, item.name, sure=False)
        return self._refused("no filter of the chain takes the connection")

    def _tcp(
        self, config: Proto, at: tuple[str, ...], connection: Connection, request: Request
    ) -> Onward | Ending:
        if which(config, "cluster_specifier") == "weighted_clusters":
            pairs = [(item.name, float(item.weight)) for item in config.weighted_clusters.clusters]
        else:
            pairs = [(config.cluster, 1.0)]
        self._clusters = clusters_of(pairs)
        chosen = self._pick(self._clusters)
        self._trail.add("route", f"the connection is passed on to {chosen}", *at)
        unopened = connection if connection.tls is not None and not connection.secured else None
        return self._send(Target(chosen, request, NEVER, 0.0), unopened)

    def _http(
        self, manager: Proto, at: tuple[str, ...], connection: Connection, request: Request
    ) -> Onward | Ending:
        if connection.tls is not None and not connection.secured:
            return self._refused("the client speaks TLS to a port that takes plaintext")
        scheme = "https" if connection.secured else "http"
        authority = tables.seen_authority(manager, request.authority, connection.port)
        request = replace(request, authority=authority, scheme=scheme)
        table = self._table(manager)
        facts = Facts(request=request, connection=connection)
        route = self._route(table, facts)
        for item in manager.http_filters:
            kind = type_name(item.typed_config)
            if kind == filters.ROUTER:
                break
            stop, facts = self._filter(item, at, facts, table, route)
            if stop is not None:
                return self._stopped(stop, facts.request)
            route = self._route(table, facts)
        return self._forward(table, route, facts)

    def _table(self, manager: Proto) -> Proto | None:
        kind = which(manager, "route_specifier")
        if kind == "route_config":
            return manager.route_config
        if kind == "rds":
            return self._node.resources.of(ROUTES).get(manager.rds.route_config_name)
        return None

    def _route(self, table: Proto | None, facts: Facts) -> tuple[FoundHost | None, FoundRoute | None]:
        if table is None or facts.request is None:
            return None, None
        host = tables.host_for(table, facts.request.authority)
        if host is None:
            return None, None
        return host, tables.route_for(host.host, facts, self._settings.assumptions.random)

    def _filter(
        self,
        item: Proto,
        at: tuple[str, ...],
        facts: Facts,
        table: Proto | None,
        route: tuple[FoundHost | None, FoundRoute | None],
    ) -> tuple[Stop | None, Facts]:
        override, disabled = filters.per_route(item.name, _layers(table, route))
        if disabled or (item.disabled and override is None and disabled is None):
            self._trail.add("filter", f"{item.name}: switched off", *at, item.name)
            return None, facts
        packed = item.typed_config
        if which(item, "config_type") == "config_discovery":
            found = self._node.resources.of(EXTENSION).get(item.name)
            packed = packed if found is None else _message(found).typed_config
        outcome = filters.apply(type_name(packed), unpack(packed), override, facts, self._scene(route))
        parts = (outcome.part,) if outcome.part else ()
        self._trail.add("filter", f"{item.name}: {outcome.says}", *at, item.name, *parts, sure=outcome.sure)
        return outcome.stop, outcome.facts

    def _scene(self, route: tuple[FoundHost | None, FoundRoute | None]) -> Scene:
        host, found = route
        scene = Scene(assumptions=self._settings.assumptions, cluster="", call=self._call)
        if host is None or found is None or which(found.route, "action") != "route":
            return scene
        action = found.route.route
        cors = action.cors if action.HasField("cors") else None
        return replace(
            scene,
            cluster=action.cluster,
            rate_limits=bool(action.rate_limits or host.host.rate_limits),
            cors=cors,
        )

    def _forward(
        self, table: Proto | None, route: tuple[FoundHost | None, FoundRoute | None], facts: Facts
    ) -> Onward | Ending:
        request, (host, found) = facts.request, route
        assert request is not None  # noqa: S101 - for the type checker: a connection manager has one
        if table is None:
            return self._failed("the route table is not there", request, 404)
        if host is None:
            self._trail.add(
                "host", f"no virtual host of {table.name} is for {request.authority}", ROUTES, table.name
            )
            return self._failed(f"no virtual host is for {request.authority}", request, 404)
        at = (ROUTES, str(table.name), str(host.host.name))
        self._trail.add("host", f"{host.host.name} of {table.name}, by domain {host.domain}", *at)
        if tables.needs_tls(host.host, request):
            return self._answered("sent away to https", request, 301)
        if found is None:
            self._trail.add("route", "no route matches", *at)
            return self._failed("no route matches", request, 404)
        for note in found.passed:
            self._trail.add("route", note, *at, sure=False)
        done = act(table, host.host, found, request, self._pick, self._trail, (*at, str(found.index)))
        if isinstance(done, Stop):
            return self._stopped(done, request)
        self._clusters = done.clusters
        return self._send(done, None)

    def _pick(self, clusters: tuple[tuple[str, float], ...]) -> str:
        """By the number that was drawn, as Envoy does: over the weights, in order."""
        random = self._settings.assumptions.random
        if random is None:
            return max(clusters, key=lambda pair: pair[1])[0]
        for name, share in clusters:
            random -= share
            if random < 0:
                return name
        return clusters[-1][0]

    def _send(self, target: Target, unopened: Connection | None) -> Onward | Ending:
        self._cluster = target.cluster
        cluster = self._node.resources.of(CLUSTER).get(target.cluster)
        if cluster is None:
            self._trail.add("cluster", f"there is no cluster {target.cluster}", CLUSTER, target.cluster)
            return self._failed(f"there is no cluster {target.cluster}", target.request, 503)
        delivery = deliver(
            self._node,
            cluster,
            target.retries,
            self._trail,
            down=self._settings.down,
            noticed=self._settings.noticed,
            random=self._settings.assumptions.random,
            authority=target.request.authority,
            through=unopened.tls if unopened is not None else None,
        )
        self._attempts = delivery.attempts
        if delivery.connection is None:
            if delivery.unknown:
                return self._unknown(target.cluster, delivery.problem)
            return self._failed(f"{target.cluster}: {delivery.problem}", target.request, 503)
        return Onward(target.request, delivery.connection, self._role == INBOUND)

    def _unknown(self, cluster: str, says: str) -> Ending:
        return Ending(result=Result.REACHED, says=f"leaves by {cluster}: {says}", by=self._node.name)

    def _stopped(self, stop: Stop, request: Request | None) -> Ending:
        grpc = local_answer(request, stop.status, stop.grpc)
        return Ending(result=stop.result, says=stop.says, by=self._node.name, status=stop.status, grpc=grpc)

    def _answered(self, says: str, request: Request, status: int) -> Ending:
        return self._stopped(Stop(status=status, says=says, result=Result.ANSWERED), request)

    def _failed(self, says: str, request: Request, status: int = 503) -> Ending:
        return self._stopped(Stop(status=status, says=says, result=Result.FAILED), request)

    def _refused(self, says: str) -> Ending:
        """The connection is closed before there is a request to answer."""
        return Ending(result=Result.REFUSED, says=says, by=self._node.name)


def _message(message: object) -> Proto:
    return message


def _layers(
    table: Proto | None, route: tuple[FoundHost | None, FoundRoute | None]
) -> list[Mapping[str, any_pb2.Any]]:
    """The per-filter configurations that apply, the most specific first."""
    host, found = route
    layers: list[Mapping[str, any_pb2.Any]] = []
    if found is not None:
        layers.append(found.route.typed_per_filter_config)
    if host is not None:
        layers.append(host.host.typed_per_filter_config)
    if table is not None:
        layers.append(table.typed_per_filter_config)
    return layers


def reachable(down: Collection[str], address: str, port: int) -> bool:
    """Whether somebody there answers."""
    return address not in down and f"{address}:{port}" not in down
