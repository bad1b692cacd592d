"""https://istio.io/latest/docs/reference/config/networking/virtual-service/"""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    forwarded,
    host,
    manifest,
    mesh_config,
    routes,
    service,
    view_of,
    virtual_service,
)

from mesh.ir.cluster import HashOn
from mesh.ir.route import DirectResponse, Redirect, RouteMatch
from mesh.ir.values import ClaimMatcher, MatchKind, NamedMatcher, StringMatcher
from mesh.manifests.common import StringMatch
from mesh.manifests.virtual_service import HTTPMatchRequest
from mesh.resolve.matches import is_catch_all, route_match

TO_SERVER = "route: [{destination: {host: server}}]"


def names(http: str, *documents: str) -> list[str]:
    return [route.name for route in routes(view_of(CLIENT, SERVER, virtual_service(http), *documents))]


def match_of(condition: str) -> RouteMatch:
    (route,) = routes(view_of(CLIENT, SERVER, virtual_service(f"- match: [{condition}]\n  {TO_SERVER}")))
    return route.match


EXACT, PREFIX, REGEX = MatchKind.EXACT, MatchKind.PREFIX, MatchKind.REGEX


@pytest.mark.parametrize(
    "condition, match",
    [
        ("{uri: {exact: /a}}", RouteMatch(path=StringMatcher(EXACT, "/a"))),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", RouteMatch(path=StringMatcher(PREFIX, "/a", True))),
        ("{uri: {regex: /a.*}}", RouteMatch(path=StringMatcher(REGEX, "/a.*"))),
        ("{method: {exact: POST}}", RouteMatch(method=StringMatcher(EXACT, "POST"))),
        ("{scheme: {exact: https}}", RouteMatch(scheme=StringMatcher(EXACT, "https"))),
        ("{authority: {prefix: a.}}", RouteMatch(authority=StringMatcher(PREFIX, "a."))),
        (
            "{headers: {x-b: {exact: 'one'}, x-a: {}}}",
            RouteMatch(
                headers=(
                    NamedMatcher("x-a", StringMatcher(MatchKind.PRESENT)),
                    NamedMatcher("x-b", StringMatcher(EXACT, "one")),
                )
            ),
        ),
        (
            "{withoutHeaders: {x-a: {prefix: old}}}",
            RouteMatch(headers=(NamedMatcher("x-a", StringMatcher(PREFIX, "old"), invert=True),)),
        ),
        (
            "{queryParams: {q: {exact: yes please}}}",
            RouteMatch(query=(NamedMatcher("q", StringMatcher(EXACT, "yes please")),)),
        ),
        ("{name: here, uri: {exact: /}}", RouteMatch(path=StringMatcher(EXACT, "/"), name="here")),
    ],
)
def test_conditions_are_carried_over_as_they_are_written(condition: str, match: RouteMatch) -> None:
    assert match_of(condition) == match


def test_names_of_headers_have_no_case_and_names_of_claims_do() -> None:
    said = {"X-A": StringMatch(exact="b"), "@Request.auth.claims.Group": StringMatch(exact="c")}

    found = route_match(HTTPMatchRequest(headers=said))

    assert [one.name for one in found.headers] == ["x-a"]
    assert found.claims == (ClaimMatcher(("Group",), StringMatcher(EXACT, "c")),)


@pytest.mark.parametrize("name", ["@request.auth.claims.group.id", "@request.auth.claims[group][id]"])
def test_a_claim_may_be_within_another_and_must_not_match(name: str) -> None:
    found = route_match(HTTPMatchRequest(without_headers={name: StringMatch(prefix="a")}))

    assert found.claims == (ClaimMatcher(("group", "id"), StringMatcher(PREFIX, "a"), invert=True),)
    assert found.headers == ()
    assert not is_catch_all(found)


def test_sidecars_have_no_routes_by_claims_as_they_know_none() -> None:
    rules = f"""
- {{name: claim, match: [{{headers: {{"@request.auth.claims.group": {{exact: a}}}}}}], {TO_SERVER}}}
- {{name: all, {TO_SERVER}}}
"""
    rule = virtual_service(rules, more="gateways: [mesh, edge]")

    assert [one.name for one in routes(view_of(CLIENT, SERVER, rule))] == ["all"]


@pytest.mark.parametrize(
    "condition, holds",
    [
        ("{port: 8080}", True),
        ("{port: 9090}", False),
        ("{sourceLabels: {app: client}}", True),
        ("{sourceLabels: {app: other}}", False),
        ("{sourceNamespace: shop}", True),
        ("{sourceNamespace: other}", False),
        ("{gateways: [mesh]}", True),
        ("{gateways: [edge]}", False),
        ("{gateways: [mesh], sourceLabels: {app: other}}", True),
    ],
)
def test_what_is_known_of_a_proxy_decides_before_any_request(condition: str, holds: bool) -> None:
    http = f"- {{name: some, match: [{condition}], {TO_SERVER}}}\n- {{name: rest, {TO_SERVER}}}"

    found = names(http)

    assert found == (["some"] if holds else ["rest"])


def test_nothing_follows_a_rule_that_takes_everything() -> None:
    http = f"""
- {{name: first, match: [{{uri: {{exact: /a}}}}], {TO_SERVER}}}
- {{name: second, {TO_SERVER}}}
- {{name: third, {TO_SERVER}}}
"""
    assert names(http) == ["first", "second"]


def test_each_condition_of_a_rule_is_a_route_with_its_name() -> None:
    http = f"- {{name: r, match: [{{name: a, uri: {{exact: /a}}}}, {{uri: {{exact: /b}}}}], {TO_SERVER}}}"

    assert names(http) == ["r.a", "r"]


def test_a_virtual_service_without_a_rule_for_a_proxy_leaves_the_service_as_it_is() -> None:
    http = f"- {{name: some, match: [{{sourceLabels: {{app: other}}}}], {TO_SERVER}}}"

    assert names(http) == ["default"]


def test_a_destination_without_a_port_means_the_port_that_was_called() -> None:
    route = routes(
        view_of(CLIENT, SERVER, service("other"), virtual_service("- route: [{destination: {host: other}}]"))
    )

    assert forwarded(route[0]).destinations[0].cluster == f"outbound|8080||{host('other')}"


def test_weights_stay_as_written_and_zero_gets_nothing() -> None:
    http = """
- route:
    - {destination: {host: server, subset: v1}, weight: 90}
    - {destination: {host: server, subset: v2}, weight: 10}
    - {destination: {host: server, subset: v3}, weight: 0}
"""
    found = forwarded(routes(view_of(CLIENT, SERVER, virtual_service(http)))[0])

    assert [(one.cluster.split("|")[2], one.weight) for one in found.destinations] == [("v1", 90), ("v2", 10)]


RETRY_DEFAULT = (
    2,
    ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"),
    (),
)
"""Without HTTP's 503, since Istio 1.24: it may come from a server that has begun on the request."""


@pytest.mark.parametrize(
    "said, mesh, expected",
    [
        ("", "", RETRY_DEFAULT),
        ("", "defaultHttpRetryPolicy: {attempts: 7}", (7, *RETRY_DEFAULT[1:])),
        ("retries: {attempts: 3}", "defaultHttpRetryPolicy: {attempts: 7}", (3, *RETRY_DEFAULT[1:])),
        ("retries: {attempts: 0}", "", (0, *RETRY_DEFAULT[1:])),
        (
            "retries: {attempts: 1, retryOn: 'reset,502'}",
            "",
            (1, ("reset", "retriable-status-codes"), (502,)),
        ),
        ("retries: {attempts: 1, retryOn: unavailable}", "", (1, ("unavailable",), ())),
    ],
)
def test_a_rules_retries_come_before_the_meshs_and_those_before_istios(
    said: str, mesh: str, expected: tuple[object, ...]
) -> None:
    http = f"- {TO_SERVER}\n" + (f"  {said}" if said else "")
    documents = [mesh_config(mesh)] if mesh else []

    found = forwarded(routes(view_of(CLIENT, SERVER, virtual_service(http), *documents))[0]).retries

    assert found is not None
    assert (found.attempts, found.conditions, found.statuses) == expected


def test_a_service_without_rules_is_retried_as_the_mesh_says() -> None:
    config = mesh_config("defaultHttpRetryPolicy: {attempts: 5}")

    found = forwarded(routes(view_of(CLIENT, SERVER, config))[0])

    assert found.retries is not None
    assert found.retries.attempts == 5
    assert found.timeout is None


def test_there_is_no_limit_of_time_unless_it_is_said() -> None:
    def timeout(said: str) -> timedelta | None:
        return forwarded(
            routes(view_of(CLIENT, SERVER, virtual_service(f"- {TO_SERVER}\n  {said}")))[0]
        ).timeout

    assert timeout("") is None
    assert timeout("timeout: 2s") == timedelta(seconds=2)


def test_retries_of_a_consistent_hash_go_to_the_same_host_unless_it_is_said_otherwise() -> None:
    rule = manifest(
        "DestinationRule",
        "server",
        "host: server\ntrafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
    )
    hashed = forwarded(routes(view_of(CLIENT, SERVER, rule, virtual_service(f"- {TO_SERVER}")))[0])
    said = forwarded(
        routes(
            view_of(
                CLIENT,
                SERVER,
                rule,
                virtual_service(f"- {TO_SERVER}\n  retries: {{attempts: 1, retryIgnorePreviousHosts: true}}"),
            )
        )[0]
    )

    assert hashed.hash_on == (HashOn(header="x-user"),)
    assert hashed.retries is not None
    assert not hashed.retries.ignore_previous_hosts
    assert said.retries is not None
    assert said.retries.ignore_previous_hosts


def test_a_service_without_rules_is_hashed_as_its_destination_rule_says() -> None:
    rule = manifest(
        "DestinationRule",
        "server",
        "host: server\ntrafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}",
    )

    assert forwarded(routes(view_of(CLIENT, SERVER, rule))[0]).hash_on == (HashOn(source_ip=True),)


def test_mirrors_copy_everything_unless_a_share_is_said_and_none_for_zero() -> None:
    http = f"""
- {TO_SERVER}
  mirrors:
    - {{destination: {{host: server, subset: all}}}}
    - {{destination: {{host: server, subset: half}}, percentage: {{value: 50}}}}
    - {{destination: {{host: server, subset: none}}, percentage: {{value: 0}}}}
"""
    found = forwarded(routes(view_of(CLIENT, SERVER, virtual_service(http)))[0]).mirrors

    assert [(one.cluster.split("|")[2], one.percent) for one in found] == [("all", 100.0), ("half", 50.0)]


def test_a_fault_without_a_percentage_hits_nobody() -> None:
    http = f"""
- {TO_SERVER}
  fault:
    delay: {{fixedDelay: 2s}}
    abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 2.5}}}}
"""
    found = routes(view_of(CLIENT, SERVER, virtual_service(http)))[0].fault

    assert found is not None
    assert (found.delay, found.delay_percent) == (timedelta(seconds=2), 0.0)
    assert (found.abort_grpc, found.abort_http, found.abort_percent) == (14, None, 2.5)


def test_a_redirect_leaves_out_the_port_that_the_scheme_has_anyway() -> None:
    def redirect(said: str) -> Redirect:
        action = routes(view_of(CLIENT, SERVER, virtual_service(f"- redirect: {said}")))[0].action
        assert isinstance(action, Redirect)
        return action

    assert redirect("{authority: a.example.com, redirectCode: 302}") == Redirect(
        authority="a.example.com", code=302
    )
    assert redirect("{scheme: https, port: 443}") == Redirect(scheme="https")
    assert redirect("{scheme: https, port: 8443}") == Redirect(scheme="https", port=8443)
    assert redirect("{derivePort: FROM_REQUEST_PORT}") == Redirect(port=8080)


def test_an_answer_of_the_proxys_own() -> None:
    http = "- directResponse: {status: 418, body: {string: short and stout}}"

    assert routes(view_of(CLIENT, SERVER, virtual_service(http)))[0].action == DirectResponse(
        status=418, body=b"short and stout"
    )


def test_setting_the_host_header_rewrites_the_authority() -> None:
    http = f"""
- {TO_SERVER}
  headers:
    request:
      set: {{host: a.example.com, x-a: "1"}}
      add: {{x-b: "2"}}
      remove: [x-c]
    response: {{remove: [server]}}
"""
    (route,) = routes(view_of(CLIENT, SERVER, virtual_service(http)))
    rewrite = forwarded(route).rewrite

    assert rewrite is not None
    assert rewrite.authority == "a.example.com"
    assert (route.request_headers.set, route.request_headers.add) == ({"x-a": "1"}, {"x-b": "2"})
    assert route.request_headers.remove == ("x-c",)
    assert route.response_headers.remove == ("server",)


def test_what_a_destination_does_to_headers_stays_beside_what_its_rule_does() -> None:
    http = """
- headers: {request: {add: {x-a: rule}}}
  route: [{destination: {host: server}, headers: {request: {add: {x-a: destination}}}}]
"""
    (route,) = routes(view_of(CLIENT, SERVER, virtual_service(http)))
    (destination,) = forwarded(route).destinations

    assert route.request_headers.add == {"x-a": "rule"}
    assert destination.request_headers.add == {"x-a": "destination"}


def test_a_rewrite_changes_path_and_authority() -> None:
    http = f"- {TO_SERVER}\n  rewrite: {{uri: /new, authority: rewrite.example.com}}"
    rewrite = forwarded(routes(view_of(CLIENT, SERVER, virtual_service(http)))[0]).rewrite

    assert rewrite is not None
    assert (rewrite.path, rewrite.authority) == ("/new", "rewrite.example.com")


def test_an_origin_names_the_rule() -> None:
    http = f"- {{match: [{{uri: {{exact: /a}}}}], {TO_SERVER}}}\n- {TO_SERVER}\n  retries: {{attempts: 1}}"
    first, second = routes(view_of(CLIENT, SERVER, virtual_service(http)))
    retries = forwarded(second).retries

    assert (first.origin.path, second.origin.path) == ("spec.http[0]", "spec.http[1]")
    assert retries is not None
    assert retries.origin.path == "spec.http[1].retries"
