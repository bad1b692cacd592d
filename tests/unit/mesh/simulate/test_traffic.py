"""A call from a gateway's sidecar to session's, over two regions."""

from __future__ import annotations

from typing import Any

import pytest
from support.envoy_config import (
    OUTBOUND,
    OUTLIER,
    RETRY,
    SESSION,
    Plain,
    client_tls,
    eds,
    session_client,
    session_server,
    spiffe,
    to,
)

from mesh.ir.origin import Origin
from mesh.simulate.filters import Assumptions
from mesh.simulate.hop import Settings
from mesh.simulate.request import Offer, Request, grpc_call
from mesh.simulate.traffic import Traffic
from mesh.simulate.walk import Result, Walk
from mesh.simulate.world import World
from mesh.xds.resources import CLUSTER, ENDPOINTS, ROUTES

WEST, EAST = "127.66.1.7", "127.66.2.7"
READ = grpc_call(f"{SESSION}:8080", "/causeway.session.v1.MessageService/ListMessages")
GROUPS = [("us-west-2", 0, [WEST]), ("us-east-1", 1, [EAST])]


def world(client: str = "gateway", **more: Any) -> World:
    """One client in the west, a server in each region."""
    return World.of(
        [
            session_client(client, "us-west-2", "127.66.1.2", GROUPS, **more),
            session_server("us-west-2", WEST),
            session_server("us-east-1", EAST),
        ]
    )


def call(
    mesh: World | None = None,
    request: Request = READ,
    client: str = "gateway",
    down: tuple[str, ...] = (),
    noticed: bool = True,
    random: float | None = None,
) -> Walk:
    """The walk of a call from the west."""
    settings = Settings(assumptions=Assumptions(random=random), down=frozenset(down), noticed=noticed)
    return Traffic(mesh or world(client), settings).call(client, request, 8080)


def test_a_call_stays_in_its_region_and_ends_at_the_application() -> None:
    walk = call()
    assert walk.reached
    assert walk.region == "us-west-2"
    assert walk.proxies == ("causeway/gateway-us-west-2", "causeway/session-us-west-2")
    assert walk.ending.at == "127.0.0.1:50051"
    assert [hop.role for hop in walk.hops] == ["outbound", "inbound"]
    assert walk.sure


def test_it_goes_to_the_other_region_when_its_own_is_down() -> None:
    walk = call(down=(WEST,))
    assert walk.reached
    assert walk.region == "us-east-1"
    assert [attempt.number for attempt in walk.hops[0].attempts] == [1]


def test_before_that_is_noticed_the_retry_goes_there() -> None:
    walk = call(down=(WEST,), noticed=False)
    assert walk.region == "us-east-1"
    first, second = walk.hops[0].attempts
    assert (first.endpoint and first.endpoint.where, bool(first.failed)) == (f"{WEST}:9443", True)
    assert second.endpoint is not None
    assert second.endpoint.priority == 1


def test_without_retries_the_first_call_fails() -> None:
    walk = call(world(routes=[to(OUTBOUND)]), down=(WEST,), noticed=False)
    assert walk.ending.result is Result.FAILED
    assert walk.ending.grpc == "UNAVAILABLE"


def test_a_retry_that_looks_only_at_grpc_statuses_does_not_see_a_broken_connection() -> None:
    only_grpc = {**RETRY, "retry_on": "unavailable,cancelled"}
    walk = call(world(routes=[to(OUTBOUND, retry_policy=only_grpc)]), down=(WEST,), noticed=False)
    assert not walk.reached
    assert any("not tried again" in step.says for step in walk.steps("retry"))


def test_without_outlier_detection_there_is_no_failover() -> None:
    blind = eds(OUTBOUND, transport_socket=client_tls(spiffe("session")))
    walk = call(world(cluster=blind, routes=[to(OUTBOUND)]), down=(WEST,))
    assert not walk.reached
    assert any("nothing notices" in step.says for step in walk.steps("health"))


def test_gateway_errors_that_are_not_enforced_notice_nothing() -> None:
    outlier = {
        "consecutive_5xx": 0,
        "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": 1,
        "max_ejection_percent": 100,
    }
    blind = eds(OUTBOUND, outlier_detection=outlier, transport_socket=client_tls(spiffe("session")))
    assert not call(world(cluster=blind, routes=[to(OUTBOUND)]), down=(WEST,)).reached


def test_max_ejection_percent_keeps_the_dead_host_among_few() -> None:
    outlier = {**OUTLIER, "max_ejection_percent": 10}
    timid = eds(OUTBOUND, outlier_detection=outlier, transport_socket=client_tls(spiffe("session")))
    walk = call(world(cluster=timid, routes=[to(OUTBOUND)]), down=(WEST,))
    assert not walk.reached
    assert any("max_ejection_percent" in step.says for step in walk.steps("health"))


def test_nobody_is_left_when_both_regions_are_down() -> None:
    walk = call(down=(WEST, EAST))
    assert walk.ending.result is Result.FAILED
    assert walk.ending.grpc == "UNAVAILABLE"


def test_health_that_the_control_plane_tells_moves_traffic_too() -> None:
    mesh = world()
    node = mesh.nodes["causeway/gateway-us-west-2"]
    message: Any = node.resources.of(ENDPOINTS)[OUTBOUND]
    message.endpoints[0].lb_endpoints[0].health_status = 3  # DRAINING
    assert call(mesh).region == "us-east-1"


def test_the_principal_is_what_decides() -> None:
    walk = call(client="retrieval")
    assert walk.ending.result is Result.REFUSED
    assert (walk.ending.status, walk.ending.grpc) == (403, "PERMISSION_DENIED")
    assert walk.ending.by == "causeway/session-us-west-2"


def test_what_the_policy_does_not_name_is_refused() -> None:
    delete = grpc_call(f"{SESSION}:8080", "/causeway.session.v1.ConversationService/Delete")
    walk = call(request=delete)
    assert walk.ending.status == 403
    assert "not for this" in walk.ending.says


def test_plaintext_is_refused_where_mutual_tls_is_demanded() -> None:
    walk = Traffic(world()).arrive("session", READ, 9443, "us-west-2")
    assert walk.ending.result is Result.REFUSED
    assert walk.ending.status is None
    plain = eds(OUTBOUND, outlier_detection=OUTLIER)
    refused = call(world(cluster=plain))
    assert (refused.ending.result, refused.ending.status) == (Result.REFUSED, 503)


def test_tls_without_an_identity_is_refused() -> None:
    walk = Traffic(world()).arrive("session", READ, 9443, "us-west-2", Offer(sni="x"))
    assert "no certificate" in walk.ending.says
    foreign = Offer(sni="x", identity="spiffe://else/ns/a/sa/b")
    walk = Traffic(world()).arrive("session", READ, 9443, "us-west-2", foreign)
    assert walk.ending.result is Result.REFUSED


def test_a_server_that_is_not_who_it_should_be_is_not_spoken_to() -> None:
    wrong = eds(OUTBOUND, outlier_detection=OUTLIER, transport_socket=client_tls(spiffe("retrieval")))
    walk = call(world(cluster=wrong))
    assert walk.ending.result is Result.REFUSED
    assert "the client refuses" in walk.ending.says


def test_a_host_without_a_proxy_may_be_dialled_in_plaintext() -> None:
    raw = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        },
    }
    match = {"name": "plain", "match": {"tlsMode": "disabled"}, "transport_socket": raw}
    made = eds(OUTBOUND, transport_socket=client_tls(spiffe("session")), transport_socket_matches=[match])
    mesh = world(cluster=made)
    message: Any = mesh.nodes["causeway/gateway-us-west-2"].resources.of(ENDPOINTS)[OUTBOUND]
    host = message.endpoints[0].lb_endpoints[0]
    host.metadata.filter_metadata["envoy.transport_socket_match"].update({"tlsMode": "disabled"})
    walk = call(mesh)
    assert any(step.kind == "connection" and step.says.startswith("plaintext") for step in walk.steps())


def canary(weight: int) -> list[Plain]:
    """A header that always gets the canary, and a share of the rest."""
    by_header = {
        "match": {"prefix": "/", "headers": [{"name": "x-canary", "string_match": {"exact": "yes"}}]},
        "route": {"cluster": "canary"},
    }
    clusters = [{"name": OUTBOUND, "weight": 100 - weight}, {"name": "canary", "weight": weight}]
    return [by_header, {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}]


def test_weights_are_told_and_drawn() -> None:
    mesh = world(routes=canary(10))
    assert dict(call(mesh).hops[0].clusters) == {OUTBOUND: 0.9, "canary": 0.1}
    chosen = [call(mesh, random=number / 100).hops[0].cluster for number in range(100)]
    assert chosen.count("canary") == 10


def test_a_header_route_comes_before_the_weights() -> None:
    request = grpc_call(READ.authority, READ.path, {"x-canary": "yes"})
    assert call(world(routes=canary(0)), request).hops[0].cluster == "canary"


def test_an_unknown_host_gets_404_and_an_unknown_port_nothing() -> None:
    walk = call(request=grpc_call("nobody.causeway.svc.cluster.local:8080", "/a"))
    assert (walk.ending.status, walk.ending.grpc) == (404, "UNIMPLEMENTED")
    silent = Traffic(world()).call("gateway", READ, 9999)
    assert silent.ending.result is Result.FAILED


@pytest.mark.parametrize(
    "route, status, result",
    [
        ({"match": {"prefix": "/"}, "redirect": {"https_redirect": True}}, 301, Result.ANSWERED),
        ({"match": {"prefix": "/"}, "direct_response": {"status": 503}}, 503, Result.ANSWERED),
        ({"match": {"prefix": "/other"}, "route": {"cluster": OUTBOUND}}, 404, Result.FAILED),
        ({"match": {"prefix": "/"}, "route": {"cluster": "nowhere"}}, 503, Result.FAILED),
    ],
)
def test_other_endings(route: Plain, status: int, result: Result) -> None:
    walk = call(world(routes=[route]))
    assert (walk.ending.status, walk.ending.result) == (status, result)


def test_the_request_leaves_as_the_route_rewrites_it() -> None:
    route = {
        "match": {"prefix": "/old/"},
        "route": {"cluster": OUTBOUND, "prefix_rewrite": "/causeway.session.v1.MessageService/"},
        "request_headers_to_add": [{"header": {"key": "x-a", "value": "1"}}],
        "request_headers_to_remove": ["te"],
    }
    walk = call(world(routes=[route]), grpc_call(READ.authority, "/old/ListMessages?x=1"))
    assert walk.reached
    assert walk.arrived is not None
    assert walk.arrived.path == "/causeway.session.v1.MessageService/ListMessages?x=1"
    assert walk.arrived.headers["x-a"] == "1"
    assert "te" not in walk.arrived.headers


def test_each_decision_cites_the_line_behind_it() -> None:
    rule = Origin("session.yaml", 12, "DestinationRule", "causeway", "session", "spec.trafficPolicy")
    route = Origin("session.yaml", 40, "VirtualService", "causeway", "session", "spec.http[0]")
    retries = Origin("session.yaml", 44, "VirtualService", "causeway", "session", "spec.http[0].retries")
    origins = {
        (CLUSTER, OUTBOUND): rule,
        (ROUTES, "8080", "host", "0"): route,
        (ROUTES, "8080", "host", "0", "retries"): retries,
    }
    walk = call(world(origins=origins))
    cited = {step.kind: step.origin for step in walk.hops[0].steps if step.origin is not None}
    assert cited["cluster"] == rule
    assert {step.origin for step in walk.hops[0].steps if step.kind == "route"} == {route, retries}


def test_what_comes_after_a_failure_is_foretold() -> None:
    (said,) = [step.says for step in call().steps("retry")]
    assert EAST in said
    assert "priority 1" in said


def test_a_loop_is_found() -> None:
    looped = session_client("gateway", "us-west-2", "127.66.1.2", [("us-west-2", 0, ["127.66.1.2"])])
    message: Any = looped.resources.of(ENDPOINTS)[OUTBOUND]
    message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = 8080
    cluster: Any = looped.resources.of(CLUSTER)[OUTBOUND]
    cluster.ClearField("transport_socket")
    walk = Traffic(World.of([looped])).call("gateway", READ, 8080)
    assert walk.ending.result is Result.FAILED
    assert "loop" in walk.ending.says
