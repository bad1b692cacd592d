"""Sends a fake request through a mesh: from proxy to proxy until somebody gets it or somebody refuses.

    walk = Traffic(world).call("gateway", grpc_call("session.causeway.svc.cluster.local:8080", "/…"), 8080)
    assert walk.reached and walk.region == "us-west-2"

What a simulation cannot know is said in the steps (`Step.sure`): what an authorizer or a rate limiter
answers, CEL conditions, hosts found by DNS, filters of unknown kinds. Tokens are believed.
"""

from __future__ import annotations

from dataclasses import replace

from mesh.ir.view import ProxyKind
from mesh.simulate.forwarding import deliver
from mesh.simulate.hop import INBOUND, Onward, Passage, Settings
from mesh.simulate.request import Connection, Offer, Request, grpc_call
from mesh.simulate.retries import NEVER
from mesh.simulate.trail import Trail
from mesh.simulate.walk import Ending, Hop, Result, Walk, local_answer
from mesh.simulate.world import Node, NoSuchProxyError, World
from mesh.xds.resources import CLUSTER

LONGEST = 8
"""Proxies that a request may pass: more is a loop."""

DEEPEST = 2
"""Calls that proxies make on the way to a call that a proxy makes on the way."""


class Traffic:
    """Requests in a mesh."""

    def __init__(self, world: World, settings: Settings | None = None, depth: int = 0) -> None:
        self._world = world
        self._settings = settings or Settings()
        self._depth = depth

    def call(self, client: str, request: Request, port: int, region: str = "") -> Walk:
        """An application calls through its own sidecar, as its proxy's own address and that port are dialled.

        Raises NoSuchProxyError when there is no such proxy.
        """
        node = self._world.find(client, region)
        if node.proxy.kind is ProxyKind.PROXYLESS:
            return self._resolve(node, request)
        connection = Connection(source=node.proxy.address, address=node.proxy.address, port=port)
        return replace(self._travel([], [], node, connection, request), request=request)

    def arrive(
        self, server: str, request: Request, port: int, region: str = "", offer: Offer | None = None
    ) -> Walk:
        """Somebody outside the mesh (or past it) connects to a proxy's port; with `offer`, over TLS."""
        node = self._world.find(server, region)
        connection = Connection(source="192.0.2.1", address=node.proxy.address, port=port, tls=offer)
        if self._silent(node.proxy.address, port):
            return self._dead(node, request)
        return replace(self._travel([], [], node, connection, request), request=request)

    def through(self, client: str, cluster: str, request: Request, region: str = "") -> Walk:
        """A proxy itself calls, through one of its clusters: for an authorizer, a rate limiter."""
        node = self._world.find(client, region)
        trail = Trail(node.resources)
        found = node.resources.of(CLUSTER).get(cluster)
        hop = Hop(proxy=node.name, region=node.region, role="own", steps=(), cluster=cluster)
        if found is None:
            ending = Ending(result=Result.FAILED, says=f"there is no cluster {cluster}", by=node.name)
            return Walk(request=request, hops=(hop,), ending=ending)
        delivery = deliver(
            node,
            found,
            NEVER,
            trail,
            down=self._settings.down,
            noticed=self._settings.noticed,
            random=self._settings.assumptions.random,
        )
        hop = replace(hop, steps=tuple(trail.steps), attempts=delivery.attempts)
        if delivery.connection is None:
            result = Result.REACHED if delivery.unknown else Result.FAILED
            ending = Ending(result=result, says=delivery.problem, by=node.name)
            return Walk(request=request, hops=(hop,), ending=ending)
        onward = Onward(request, delivery.connection, application=False)
        return replace(self._onward([hop], [], onward), request=request)

    def _resolve(self, node: Node, request: Request) -> Walk:
        sides: list[Walk] = []
        hop, end = Passage(node, self._settings, self._side(node, sides)).resolve(request.authority, request)
        if isinstance(end, Ending):
            return Walk(request=request, hops=(hop,), ending=end, sides=tuple(sides))
        return replace(self._onward([hop], sides, end), request=request)

    def _travel(
        self, hops: list[Hop], sides: list[Walk], node: Node, connection: Connection, request: Request
    ) -> Walk:
        hop, end = Passage(node, self._settings, self._side(node, sides)).accept(connection, request)
        hops.append(hop)
        if isinstance(end, Ending):
            return Walk(
                request=request, hops=tuple(hops), ending=_seen(hops, end, request), sides=tuple(sides)
            )
        return self._onward(hops, sides, end)

    def _onward(self, hops: list[Hop], sides: list[Walk], end: Onward) -> Walk:
        where = f"{end.connection.address}:{end.connection.port}"
        node = None if end.application else self._world.listening(end.connection.address, end.connection.port)
        if node is None:
            says = (
                f"the application at {where} gets it"
                if hops[-1].role == INBOUND
                else f"leaves the mesh to {where}"
            )
            ending = Ending(result=Result.REACHED, says=says, by=hops[-1].proxy, at=where)
            found = Walk(request=end.request, hops=tuple(hops), ending=ending, sides=tuple(sides))
            return replace(found, arrived=end.request)
        if len(hops) >= LONGEST:
            ending = Ending(
                result=Result.FAILED, says=f"a loop: {len(hops)} proxies were passed", by=node.name
            )
            return Walk(request=end.request, hops=tuple(hops), ending=ending, sides=tuple(sides))
        return self._travel(hops, sides, node, end.connection, end.request)

    def _side(self, node: Node, sides: list[Walk]) -> _Side:
        return _Side(self._world, self._settings, self._depth, node, sides)

    def _silent(self, address: str, port: int) -> bool:
        return address in self._settings.down or f"{address}:{port}" in self._settings.down

    def _dead(self, node: Node, request: Request) -> Walk:
        ending = Ending(result=Result.FAILED, says=f"{node.name} does not answer")
        return Walk(request=request, hops=(), ending=ending)


def _seen(hops: list[Hop], ending: Ending, request: Request) -> Ending:
    """A connection that the next proxy closes is 503 to the caller, when the proxy before speaks HTTP."""
    if ending.status is not None or ending.result is not Result.REFUSED or len(hops) < 2:
        return ending
    if not any(step.kind == "host" for step in hops[-2].steps):
        return ending
    return replace(ending, status=503, grpc=local_answer(request, 503))


class _Side:
    """The calls that one proxy makes on the way."""

    def __init__(self, world: World, settings: Settings, depth: int, node: Node, sides: list[Walk]) -> None:
        self._world, self._settings, self._depth = world, settings, depth
        self._node, self._sides = node, sides

    def __call__(self, cluster: str, path: str) -> str:
        """Why the call fails; empty when it gets through, or is nested too deep to follow."""
        if self._depth >= DEEPEST:
            return ""
        host = cluster.rpartition("|")[2] or cluster
        traffic = Traffic(self._world, self._settings, self._depth + 1)
        walk = traffic.through(self._node.name, cluster, grpc_call(host, path))
        self._sides.append(walk)
        return "" if walk.reached else walk.ending.says


__all__ = ["NoSuchProxyError", "Settings", "Traffic"]
