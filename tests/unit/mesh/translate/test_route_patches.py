"""EnvoyFilter patches of route tables, virtual hosts and routes."""

from __future__ import annotations

from typing import Any

import pytest
from golden.views import SESSION, cluster, gateway_view, origin, outbound, patch, route, table, view

from mesh.ir.listener import Chain, Direction, HttpChain
from mesh.ir.patch import Operation, Patch, Target
from mesh.ir.route import DirectResponse, RouteTable, VirtualHost
from mesh.translate import PatchError, translate
from mesh.xds.protos import http_connection_manager_pb2
from mesh.xds.resources import LISTENER, ROUTES, Resources

ADD, REMOVE, MERGE, BEFORE, AFTER, FIRST, REPLACE = (
    Operation.ADD,
    Operation.REMOVE,
    Operation.MERGE,
    Operation.INSERT_BEFORE,
    Operation.INSERT_AFTER,
    Operation.INSERT_FIRST,
    Operation.REPLACE,
)


def patched(*patches: Patch, **said: Any) -> Resources:
    """A sidecar with patches."""
    return translate(view(patches=patches, **said))


def three() -> tuple[RouteTable, ...]:
    """A table of three routes, beside the inbound one."""
    routes = [
        route("a", origin=origin("a", 1)),
        route("b", origin=origin("b", 2)),
        route("c", origin=origin("c", 3)),
    ]
    routes[2] = route("c", action=DirectResponse(status=200), origin=origin("c", 3))
    return table(routes=routes), view().route_tables[1]


MINE = {"name": "mine", "match": {"path": "/mine"}, "direct_response": {"status": 204}}


@pytest.mark.parametrize(
    "operation, match, expected",
    [
        (ADD, {}, ["a", "b", "c", "mine"]),
        (BEFORE, {"route_name": "b"}, ["a", "mine", "b", "c"]),
        (AFTER, {"route_name": "b"}, ["a", "b", "mine", "c"]),
        (FIRST, {}, ["mine", "a", "b", "c"]),
        (FIRST, {"route_name": "c"}, ["mine", "a", "b", "c"]),
        (FIRST, {"route_name": "absent"}, ["a", "b", "c"]),
        (BEFORE, {"route_action": "DIRECT_RESPONSE"}, ["a", "b", "mine", "c"]),
        (REMOVE, {"route_name": "b"}, ["a", "c"]),
        (REMOVE, {"route_action": "ROUTE"}, ["c"]),
        (BEFORE, {"route_name": "b", "virtual_host_name": "other"}, ["a", "b", "c"]),
        (BEFORE, {"route_name": "b", "virtual_host_domain": SESSION}, ["a", "mine", "b", "c"]),
        (BEFORE, {"route_name": "b", "route_port": 9}, ["a", "b", "c"]),
        (BEFORE, {"route_name": "b", "route_port": 8080}, ["a", "mine", "b", "c"]),
    ],
)
def test_routes_are_put_where_they_are_wanted(
    operation: Operation, match: dict[str, Any], expected: list[str]
) -> None:
    value = None if operation is REMOVE else MINE
    given = patch(Target.HTTP_ROUTE, operation, value, direction=Direction.OUTBOUND, **match)
    made: Any = patched(given, route_tables=three()).of(ROUTES)["8080"]
    assert [item.name for item in made.virtual_hosts[0].routes] == expected


def test_origins_follow_routes_that_moved() -> None:
    insert = patch(Target.HTTP_ROUTE, BEFORE, MINE, direction=Direction.OUTBOUND, route_name="b")
    merge = patch(
        Target.HTTP_ROUTE, MERGE, {"route": {"timeout": "3s"}}, direction=Direction.OUTBOUND, route_name="b"
    )
    made = patched(insert, merge, route_tables=three())
    at = (ROUTES, "8080", f"{SESSION}:8080")
    cited = [made.origins[(*at, str(index))] for index in range(4)]
    assert [item.name for item in cited] == ["a", "patches", "b", "c"]
    assert made.origins[(*at, "2", "patch")].name == "patches"


def test_virtual_hosts_and_tables_are_merged() -> None:
    limits = {
        "rate_limits": [{"actions": [{"request_headers": {"header_name": "a", "descriptor_key": "a"}}]}]
    }
    made: Any = patched(
        patch(Target.VIRTUAL_HOST, MERGE, limits, virtual_host_name=f"{SESSION}:8080"),
        patch(
            Target.ROUTE_CONFIGURATION,
            MERGE,
            {"response_headers_to_remove": ["server"]},
            route_table_name="8080",
        ),
    ).of(ROUTES)["8080"]
    assert made.virtual_hosts[0].rate_limits[0].actions[0].request_headers.header_name == "a"
    assert list(made.response_headers_to_remove) == ["server"]


def test_virtual_hosts_are_added_replaced_and_removed() -> None:
    value = {"name": "mine", "domains": ["mine.local"], "routes": [MINE]}

    def names(*patches: Patch) -> list[str]:
        made: Any = patched(*patches).of(ROUTES)["8080"]
        return [item.name for item in made.virtual_hosts]

    out = {"direction": Direction.OUTBOUND}
    assert names(patch(Target.VIRTUAL_HOST, ADD, value, **out)) == [f"{SESSION}:8080", "mine"]
    assert names(patch(Target.VIRTUAL_HOST, REPLACE, value, virtual_host_name=f"{SESSION}:8080", **out)) == [
        "mine"
    ]
    assert names(patch(Target.VIRTUAL_HOST, REMOVE, virtual_host_name=f"{SESSION}:8080", **out)) == []


def test_a_domain_that_is_taken_is_an_error() -> None:
    value = {"name": "mine", "domains": [SESSION]}
    with pytest.raises(PatchError, match="another virtual host of 8080"):
        patched(patch(Target.VIRTUAL_HOST, ADD, value, direction=Direction.OUTBOUND))


def test_inbound_routes_are_patched_before_they_go_into_their_listener() -> None:
    given = patch(Target.HTTP_ROUTE, FIRST, MINE, direction=Direction.INBOUND)
    listener: Any = patched(given).of(LISTENER)["127.66.1.1_9443"]
    made = http_connection_manager_pb2.HttpConnectionManager()
    assert listener.filter_chains[0].filters[0].typed_config.Unpack(made)
    assert [item.name for item in made.route_config.virtual_hosts[0].routes] == ["mine", "default"]


@pytest.mark.parametrize(
    "match, changed",
    [
        ({"gateway": "causeway/public"}, True),
        ({"gateway": "other/public"}, False),
        ({"route_port_name": "https"}, True),
        ({"route_port": 443}, True),
        ({"route_table_name": "http.80"}, False),
    ],
)
def test_a_gateways_tables_are_chosen_by_what_their_names_say(match: dict[str, Any], changed: bool) -> None:
    name = "https.443.https.public.causeway"
    content = HttpChain(route_table=name, stats_prefix="x")
    chain = Chain(name="gw", content=content, origin=origin())
    given = patch(Target.HTTP_ROUTE, FIRST, MINE, **match)
    made: Any = translate(gateway_view(outbound(chains=(chain,)), table(name), patches=(given,)))
    names = [item.name for item in made.of(ROUTES)[name].virtual_hosts[0].routes]
    assert (names[0] == "mine") is changed


def test_a_virtual_host_without_routes_can_be_patched() -> None:
    bare = VirtualHost(name="bare", domains=("bare",), routes=(), origin=origin())
    tables = (RouteTable(name="8080", hosts=(bare,)), view().route_tables[1])
    given = patch(Target.HTTP_ROUTE, ADD, MINE, direction=Direction.OUTBOUND)
    made: Any = patched(given, route_tables=tables, clusters=(cluster(),)).of(ROUTES)["8080"]
    assert [item.name for item in made.virtual_hosts[0].routes] == ["mine"]
