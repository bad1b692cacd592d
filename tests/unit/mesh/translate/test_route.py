"""Routes: which request goes where, and what happens to it on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from golden.views import OUTBOUND, SESSION, forward, origin, route, table

from mesh.ir.cluster import HashOn
from mesh.ir.route import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HeaderChanges,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    RouteMatch,
    VirtualHost,
)
from mesh.ir.values import ClaimMatcher, MatchKind, NamedMatcher, StringMatcher
from mesh.simulate.request import Connection, Facts, Request, Token
from mesh.simulate.tables import host_for, matches
from mesh.translate.route import translate_route, translate_table
from mesh.translate.route_match import route_match
from mesh.xds.protos import cors_pb2, fault_pb2, route_components_pb2

EXACT, PREFIX, SUFFIX, CONTAINS, REGEX, PRESENT = (
    MatchKind.EXACT,
    MatchKind.PREFIX,
    MatchKind.SUFFIX,
    MatchKind.CONTAINS,
    MatchKind.REGEX,
    MatchKind.PRESENT,
)


def takes(match: RouteMatch, **said: Any) -> bool:
    """Whether a route with that match takes the request."""
    request = Request(**{"authority": "session", **said})
    found = Facts(request=request, connection=Connection())
    if request.token is not None:
        found = found.with_metadata("envoy.filters.http.jwt_authn", {"payload": request.token.payload()})
    verdict = matches(route_match(match), found)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    "matcher, yes, no",
    [
        (StringMatcher(EXACT, "/a"), "/a?x=1", "/ab"),
        (StringMatcher(PREFIX, "/a"), "/ab", "/b"),
        (StringMatcher(REGEX, "/a+"), "/aaa", "/aab"),
        (StringMatcher(SUFFIX, ".Get"), "/x.Get", "/xxGet"),
        (StringMatcher(CONTAINS, ".S/"), "/p.S/M", "/p_S/M"),
        (StringMatcher(EXACT, "/Ab", ignore_case=True), "/aB", "/ac"),
        (StringMatcher(REGEX, "/Ab", ignore_case=True), "/aB", "/ac"),
    ],
)
def test_paths_are_compared(matcher: StringMatcher, yes: str, no: str) -> None:
    assert takes(RouteMatch(path=matcher), path=yes)
    assert not takes(RouteMatch(path=matcher), path=no)


def test_all_of_a_match_must_hold() -> None:
    match = RouteMatch(
        method=StringMatcher(EXACT, "POST"),
        scheme=StringMatcher(EXACT, "http"),
        authority=StringMatcher(PREFIX, "sess"),
        headers=(
            NamedMatcher("x-a", StringMatcher(REGEX, "1|2")),
            NamedMatcher("x-b", StringMatcher(PRESENT)),
        ),
        query=(NamedMatcher("model", StringMatcher(EXACT, "tiny")),),
    )
    right: dict[str, Any] = {"method": "POST", "path": "/?model=tiny", "headers": {"x-a": "2", "x-b": ""}}
    assert takes(match, **right)
    assert not takes(match, **{**right, "method": "GET"})
    assert not takes(match, **{**right, "path": "/?model=big"})
    assert not takes(match, **{**right, "headers": {"x-a": "3", "x-b": ""}})
    assert not takes(match, **{**right, "headers": {"x-a": "2"}})
    assert not takes(match, **{**right, "authority": "other"})


def test_a_header_that_must_not_match_may_be_absent() -> None:
    match = RouteMatch(headers=(NamedMatcher("x-robot", StringMatcher(PREFIX, "yes"), invert=True),))
    assert takes(match)
    assert takes(match, headers={"x-robot": "no"})
    assert not takes(match, headers={"x-robot": "yes, I am"})


@pytest.mark.parametrize("invert", [False, True])
def test_a_claim_can_decide(invert: bool) -> None:
    match = RouteMatch(claims=(ClaimMatcher(("realm", "roles"), StringMatcher(EXACT, "admin"), invert),))
    for roles, holds in ((["reader", "admin"], True), ("admin", True), (["reader"], False)):
        token = Token(issuer="i", claims={"realm": {"roles": roles}})
        assert takes(match, token=token) is (holds is not invert), roles
    assert takes(match) is invert, "without a token"


def test_envoy_cannot_demand_that_a_parameter_does_not_match() -> None:
    match = RouteMatch(query=(NamedMatcher("a", StringMatcher(EXACT, "1"), invert=True),))
    with pytest.raises(ValueError, match="query parameter a"):
        route_match(match)


def test_without_a_limit_a_request_may_take_as_long_as_its_own_deadline() -> None:
    action = translate_route(route()).route
    assert action.HasField("timeout")
    assert action.timeout.seconds == 0
    assert not action.HasField("max_grpc_timeout"), "a caller's own deadline is its own"
    limited = translate_route(
        route(action=Forward(destinations=(Destination(cluster=OUTBOUND),), timeout=timedelta(seconds=3)))
    )
    assert limited.route.timeout.seconds == 3


def _retries(**said: Any) -> Any:
    retries = Retries(**{"attempts": 3, "conditions": ("unavailable",), "origin": origin(), **said})
    made = route(action=Forward(destinations=(Destination(cluster=OUTBOUND),), retries=retries))
    return translate_route(made).route


def test_a_retry_goes_to_another_host_and_if_asked_to_another_region() -> None:
    policy = _retries(remote_localities=True, backoff=timedelta(milliseconds=10)).retry_policy
    assert [item.name for item in policy.retry_host_predicate] == [
        "envoy.retry_host_predicates.previous_hosts"
    ]
    assert policy.host_selection_retry_max_attempts == 5
    assert policy.retry_priority.name == "envoy.retry_priorities.previous_priorities"
    assert policy.retry_back_off.base_interval.nanos == 10_000_000
    near = _retries(ignore_previous_hosts=False).retry_policy
    assert not near.retry_host_predicate
    assert not near.HasField("retry_priority")


def test_status_codes_are_retried_only_when_envoy_is_told_to_look_at_them() -> None:
    policy = _retries(statuses=(503, 502), per_try_timeout=timedelta(seconds=2)).retry_policy
    assert policy.retry_on == "unavailable,retriable-status-codes"
    assert list(policy.retriable_status_codes) == [503, 502]
    assert policy.per_try_timeout.seconds == 2


def test_no_attempts_are_no_retries() -> None:
    assert not _retries(attempts=0).HasField("retry_policy")


def test_weights_spread_and_zero_is_never_chosen() -> None:
    changes = HeaderChanges(set={"x-version": "v2", "Host": "v2.local"})
    action = Forward(
        destinations=(
            Destination(cluster="a", weight=90),
            Destination(cluster="b", weight=10, request_headers=changes),
            Destination(cluster="c", weight=0),
        )
    )
    shares = translate_route(route(action=action)).route.weighted_clusters.clusters
    assert [(item.name, item.weight.value) for item in shares] == [("a", 90), ("b", 10)]
    assert [item.header.key for item in shares[1].request_headers_to_add] == ["x-version"]
    assert shares[1].host_rewrite_literal == "v2.local"


def test_headers_are_set_added_and_removed_in_a_fixed_order() -> None:
    changes = HeaderChanges(set={"b": "1", "a": "2"}, add={"c": "3"}, remove=("d", ":path"))
    made = translate_route(route(request_headers=changes, response_headers=changes))
    option = made.request_headers_to_add
    assert [item.header.key for item in option] == ["a", "b", "c"]
    assert option[0].append_action != option[2].append_action
    assert list(made.request_headers_to_remove) == ["d"], "pseudo-headers cannot be removed"
    assert list(made.response_headers_to_remove) == ["d"]


def test_a_lonely_destinations_changes_come_after_the_routes() -> None:
    adds = HeaderChanges(add={"x": "destination"})
    made = translate_route(
        route(
            action=Forward(destinations=(Destination(cluster="a", request_headers=adds),)),
            request_headers=HeaderChanges(add={"x": "route"}),
        )
    )
    assert [item.header.value for item in made.request_headers_to_add] == ["route", "destination"]


def test_a_destination_whose_others_have_no_weight_is_a_share_with_changes_of_its_own() -> None:
    """As it was while the others had some: the changes of a share come before the route's."""
    sets = HeaderChanges(set={"x": "destination"})
    made = translate_route(
        route(action=Forward(destinations=(Destination(cluster="a", weight=100, request_headers=sets),)))
    )
    (share,) = made.route.weighted_clusters.clusters
    assert [item.header.value for item in share.request_headers_to_add] == ["destination"]
    assert not made.request_headers_to_add


def test_rewrites() -> None:
    def rewritten(rewrite: Rewrite) -> Any:
        action = Forward(destinations=(Destination(cluster="a"),), rewrite=rewrite)
        return translate_route(route(action=action)).route

    made = rewritten(Rewrite(path="/new", authority="new.local"))
    assert (made.prefix_rewrite, made.host_rewrite_literal) == ("/new", "new.local")
    made = rewritten(Rewrite(regex="^/a/(.*)$", substitution=r"/b/\1"))
    assert made.regex_rewrite.pattern.regex == "^/a/(.*)$"
    assert made.regex_rewrite.substitution == r"/b/\1"


def test_redirects_and_answers_need_no_cluster() -> None:
    redirect = Redirect(path="/new", authority="new.local", port=8443, scheme="https", code=308)
    made = translate_route(route(action=redirect)).redirect
    assert (made.path_redirect, made.host_redirect, made.port_redirect) == ("/new", "new.local", 8443)
    assert made.scheme_redirect == "https"
    assert made.response_code == route_components_pb2.RedirectAction.PERMANENT_REDIRECT
    answer = translate_route(route(action=DirectResponse(status=418, body=b"\xffshort"))).direct_response
    assert (answer.status, answer.body.inline_bytes) == (418, b"\xffshort")


def test_copies_go_out_with_the_authority_they_came_with() -> None:
    action = Forward(
        destinations=(Destination(cluster="a"),),
        mirrors=(
            Mirror(cluster="b", percent=12.5, origin=origin()),
            Mirror(cluster="c", percent=0, origin=origin()),
        ),
    )
    (mirror,) = translate_route(route(action=action)).route.request_mirror_policies
    assert mirror.cluster == "b"
    assert mirror.runtime_fraction.default_value.numerator == 125_000
    assert mirror.disable_shadow_host_suffix_append


@pytest.mark.parametrize(
    "hash_on, field",
    [
        (HashOn(header="x-tenant"), "header"),
        (HashOn(query_parameter="t"), "query_parameter"),
        (HashOn(cookie="c", cookie_path="/", cookie_ttl=timedelta(hours=1)), "cookie"),
        (HashOn(source_ip=True), "connection_properties"),
    ],
)
def test_every_hash_is_known(hash_on: HashOn, field: str) -> None:
    action = Forward(destinations=(Destination(cluster="a"),), hash_on=(hash_on,))
    (policy,) = translate_route(route(action=action)).route.hash_policy
    assert policy.WhichOneof("policy_specifier") == field


def test_rate_limits_are_envoys_own() -> None:
    limit = {"actions": [{"request_headers": {"header_name": "x-tenant", "descriptor_key": "tenant"}}]}
    action = Forward(destinations=(Destination(cluster="a"),), rate_limits=(limit,))
    (made,) = translate_route(route(action=action)).route.rate_limits
    assert made.actions[0].request_headers.descriptor_key == "tenant"


def test_faults_are_exact_to_small_percentages() -> None:
    trouble = Fault(
        delay=timedelta(seconds=2), delay_percent=0.5, abort_grpc=14, abort_percent=100, origin=origin()
    )
    made = fault_pb2.HTTPFault()
    assert (
        translate_route(route(fault=trouble)).typed_per_filter_config["envoy.filters.http.fault"].Unpack(made)
    )
    assert made.delay.percentage.numerator == 5_000
    assert (made.abort.grpc_status, made.abort.percentage.numerator) == (14, 1_000_000)


def test_cors() -> None:
    cors = Cors(
        origins=(StringMatcher(EXACT, "https://app"),),
        methods=("GET", "POST"),
        max_age=timedelta(minutes=10),
        credentials=True,
        origin=origin(),
    )
    made = cors_pb2.CorsPolicy()
    assert translate_route(route(cors=cors)).typed_per_filter_config["envoy.filters.http.cors"].Unpack(made)
    assert (made.allow_methods, made.max_age, made.allow_credentials.value) == ("GET,POST", "600", True)
    assert made.forward_not_matching_preflights.value


def test_a_table_keeps_its_order_and_tells_how_often_a_request_was_tried() -> None:
    made = translate_table(table(routes=[route("first"), route("second")]))
    (host,) = made.virtual_hosts
    assert [item.name for item in host.routes] == ["first", "second"]
    assert host.include_request_attempt_count
    assert not made.validate_clusters.value


def test_a_port_in_the_authority_is_no_part_of_the_name() -> None:
    made = translate_table(table(domains=(SESSION,)))
    assert host_for(made, SESSION) is not None
    assert host_for(made, f"{SESSION}:9999") is not None
    assert host_for(made, "other:9999") is None


def test_plaintext_is_sent_to_https_where_asked() -> None:
    known = table().hosts[0]
    strict = VirtualHost(
        name=known.name, domains=("*",), routes=known.routes, require_tls=True, origin=known.origin
    )
    made = translate_table(type(table())(name="http.80", hosts=(strict,)))
    assert made.virtual_hosts[0].require_tls == route_components_pb2.VirtualHost.ALL


def test_spans_are_named_after_where_a_request_goes() -> None:
    match = RouteMatch(path=StringMatcher(PREFIX, "/p.S/"))
    made = translate_route(route(match=match, action=forward()))
    assert made.decorator.operation == "session.causeway.svc.cluster.local:8080/p.S/*"
