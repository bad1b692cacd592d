"""EnvoyFilter patches: every operation on every kind of object, and no patch dropped in silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from golden.views import (
    OUTBOUND,
    SESSION,
    application,
    cluster,
    inbound,
    origin,
    outbound,
    patch,
    view,
)

from mesh.ir.listener import Chain, Direction, HttpChain
from mesh.ir.patch import Operation, Patch, Target
from mesh.ir.view import ProxyView
from mesh.translate import PatchError, Reuse, translate, unused_patches
from mesh.xds.protos import fault_pb2, http_connection_manager_pb2, lua_pb2, tls_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Resources
from mesh.xds.snapshot import Packer

ADD, REMOVE, MERGE, BEFORE, AFTER, FIRST, REPLACE = (
    Operation.ADD,
    Operation.REMOVE,
    Operation.MERGE,
    Operation.INSERT_BEFORE,
    Operation.INSERT_AFTER,
    Operation.INSERT_FIRST,
    Operation.REPLACE,
)
HTTP = "type.googleapis.com/envoy.extensions.filters.http"
HCM = "envoy.filters.network.http_connection_manager"
HCM_TYPE = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "envoy.filters.http.router"
LUA = {
    "name": "lua",
    "typed_config": {"@type": f"{HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": "x"}},
}
IN, OUT = "127.66.1.1_9443", "127.66.1.1_8080"


def patched(*patches: Patch, **said: Any) -> Resources:
    """A sidecar with patches."""
    return translate(view(patches=patches, **said))


def manager(resources: Resources, listener: str = OUT, chain: int = 0) -> Any:
    """A listener's connection manager."""
    found = http_connection_manager_pb2.HttpConnectionManager()
    made: Any = resources.of(LISTENER)[listener]
    (config,) = [item for item in made.filter_chains[chain].filters if item.name == HCM]
    assert config.typed_config.Unpack(found)
    return found


def filters(resources: Resources, listener: str = OUT) -> list[str]:
    """Names of a listener's HTTP filters."""
    return [
        item.name.removeprefix("envoy.filters.http.") for item in manager(resources, listener).http_filters
    ]


def faulty() -> ProxyView:
    """A sidecar whose outbound listener has a fault filter before the router."""
    content = HttpChain(route_table="8080", fault=True, stats_prefix="x")
    chain = Chain(name="chain", content=content, origin=origin())
    return view(listeners=(outbound(chains=(chain,)), inbound()))


@pytest.mark.parametrize(
    "operation, after, expected",
    [
        (BEFORE, ROUTER, ["fault", "lua", "router"]),
        (AFTER, "envoy.filters.http.fault", ["fault", "lua", "router"]),
        (FIRST, "", ["lua", "fault", "router"]),
        (FIRST, ROUTER, ["lua", "fault", "router"]),
        (BEFORE, "", ["lua", "fault", "router"]),
        (REPLACE, "envoy.filters.http.fault", ["lua", "router"]),
        (BEFORE, "absent", ["fault", "router"]),
    ],
)
def test_http_filters_are_put_where_they_are_wanted(
    operation: Operation, after: str, expected: list[str]
) -> None:
    given = patch(Target.HTTP_FILTER, operation, LUA, filter_name=HCM, sub_filter_name=after)
    base = faulty()
    made = translate(view(listeners=base.listeners, patches=(given,)))
    assert filters(made) == expected


def test_an_http_filter_is_removed() -> None:
    given = patch(Target.HTTP_FILTER, REMOVE, sub_filter_name="envoy.filters.http.fault")
    assert filters(translate(view(listeners=faulty().listeners, patches=(given,)))) == ["router"]


def test_added_filters_stand_behind_those_of_their_class() -> None:
    for name, expected in (("AUTHN", ["lua", "router"]), ("STATS", ["lua", "router"])):
        assert filters(patched(patch(Target.HTTP_FILTER, ADD, LUA, filter_class=name))) == expected


def test_a_filter_behind_the_router_is_an_error() -> None:
    with pytest.raises(PatchError, match="INSERT_BEFORE") as raised:
        patched(patch(Target.HTTP_FILTER, ADD, LUA))
    assert raised.value.origin.line == 7


def test_a_filters_configuration_is_merged() -> None:
    value = {
        "name": "envoy.filters.http.fault",
        "typed_config": {
            "@type": f"{HTTP}.fault.v3.HTTPFault",
            "max_active_faults": 5,
            "downstream_nodes": ["a"],
        },
    }
    given = patch(Target.HTTP_FILTER, MERGE, value, sub_filter_name="envoy.filters.http.fault")
    made = manager(translate(view(listeners=faulty().listeners, patches=(given, given))))
    found = fault_pb2.HTTPFault()
    assert made.http_filters[0].typed_config.Unpack(found)
    assert found.max_active_faults.value == 5
    assert list(found.downstream_nodes) == ["a", "a"], "lists are appended to"


def test_configurations_of_different_types_are_not_merged() -> None:
    given = patch(Target.HTTP_FILTER, MERGE, LUA, sub_filter_name=ROUTER)
    with pytest.raises(PatchError, match="a Lua cannot be merged into a Router"):
        patched(given)


def test_merges_come_after_insertions() -> None:
    """As in Istio: a merge finds what a patch after it puts in."""
    merge = patch(
        Target.HTTP_FILTER,
        MERGE,
        {"typed_config": {"@type": f"{HTTP}.lua.v3.Lua", "stat_prefix": "mine"}},
        sub_filter_name="lua",
    )
    insert = patch(Target.HTTP_FILTER, FIRST, LUA)
    found = lua_pb2.Lua()
    assert manager(patched(merge, insert)).http_filters[0].typed_config.Unpack(found)
    assert found.stat_prefix == "mine"
    assert found.default_source_code.inline_string == "x"


def test_only_the_sides_meant_are_changed() -> None:
    given = patch(Target.HTTP_FILTER, FIRST, LUA, direction=Direction.INBOUND)
    made = patched(given)
    assert filters(made, IN) == ["lua", "router"]
    assert filters(made, OUT) == ["router"]


@pytest.mark.parametrize(
    "match, changed",
    [
        ({"listener_port": 8080}, {OUT}),
        ({"listener_name": IN}, {IN}),
        ({"chain_name": "inbound"}, {IN}),
        ({"chain_transport_protocol": "raw_buffer"}, set()),
        ({"chain_sni": "x"}, set()),
        ({"filter_name": "envoy.filters.network.tcp_proxy"}, set()),
        ({}, {IN, OUT}),
    ],
)
def test_listeners_and_chains_are_chosen(match: dict[str, Any], changed: set[str]) -> None:
    made = patched(patch(Target.HTTP_FILTER, FIRST, LUA, **match))
    assert {name for name in (IN, OUT) if "lua" in filters(made, name)} == changed


def test_network_filters() -> None:
    rbac = {
        "name": "mine",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
            "stat_prefix": "x",
        },
    }

    def names(*patches: Patch) -> list[str]:
        made: Any = patched(*patches).of(LISTENER)[OUT]
        return [item.name for item in made.filter_chains[0].filters]

    out = {"direction": Direction.OUTBOUND}
    assert names(patch(Target.NETWORK_FILTER, BEFORE, rbac, filter_name=HCM, **out)) == ["mine", HCM]
    assert names(patch(Target.NETWORK_FILTER, FIRST, rbac, **out)) == ["mine", HCM]
    assert names(patch(Target.NETWORK_FILTER, REPLACE, rbac, filter_name=HCM, **out)) == ["mine"]
    assert names(
        patch(Target.NETWORK_FILTER, FIRST, rbac, **out),
        patch(Target.NETWORK_FILTER, REMOVE, filter_name="mine", **out),
    ) == [HCM]


def test_a_connection_manager_is_merged() -> None:
    value = {
        "typed_config": {
            "@type": HCM_TYPE,
            "stream_idle_timeout": "0.5s",
            "common_http_protocol_options": {"max_connection_duration": "600s"},
        }
    }
    made = manager(patched(patch(Target.NETWORK_FILTER, MERGE, value, filter_name=HCM)))
    assert made.common_http_protocol_options.max_connection_duration.seconds == 600
    assert (made.stream_idle_timeout.seconds, made.stream_idle_timeout.nanos) == (0, 500_000_000)
    assert made.http_filters[-1].name == ROUTER


def test_durations_are_replaced_whole() -> None:
    """Ten seconds and half a second are not ten and a half."""
    given = patch(Target.CLUSTER, MERGE, {"connect_timeout": "0.5s"}, cluster_name=OUTBOUND)
    made: Any = patched(given).of(CLUSTER)[OUTBOUND]
    assert (made.connect_timeout.seconds, made.connect_timeout.nanos) == (0, 500_000_000)


def test_what_only_a_removed_connection_manager_asked_for_goes_with_it() -> None:
    given = patch(Target.LISTENER, REMOVE, listener_name=OUT)
    made = patched(given)
    assert list(made.of(LISTENER)) == [IN]
    assert not made.of(ROUTES)
    found = [str(item) for item in Packer().pack(made).inconsistencies()]
    assert [item for item in found if not item.startswith("SDS")] == []


def test_listeners_are_merged_and_added() -> None:
    value = {
        "name": "mine",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}},
        "filter_chains": [{"filters": []}],
    }
    made = patched(
        patch(Target.LISTENER, MERGE, {"per_connection_buffer_limit_bytes": 1024}, listener_name=OUT),
        patch(Target.LISTENER, ADD, value, direction=Direction.OUTBOUND),
    )
    assert sorted(made.of(LISTENER)) == [OUT, IN, "mine"]
    changed: Any = made.of(LISTENER)[OUT]
    assert changed.per_connection_buffer_limit_bytes.value == 1024


def test_filter_chains_are_added_removed_and_merged() -> None:
    def chains(*patches: Patch) -> list[str]:
        made: Any = patched(*patches).of(LISTENER)[OUT]
        return [item.name for item in made.filter_chains]

    assert chains(patch(Target.FILTER_CHAIN, ADD, {"name": "mine", "filters": []}, listener_name=OUT)) == [
        "chain",
        "mine",
    ]
    assert chains(patch(Target.FILTER_CHAIN, REMOVE, chain_name="chain")) == []
    made: Any = patched(
        patch(Target.FILTER_CHAIN, MERGE, {"transport_socket_connect_timeout": "3s"}, chain_name="chain")
    ).of(LISTENER)[OUT]
    assert made.filter_chains[0].transport_socket_connect_timeout.seconds == 3


TLS_PATCH = {
    "transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}},
        },
    }
}


def test_tls_settings_are_merged_with_what_is_there() -> None:
    made: Any = patched(patch(Target.FILTER_CHAIN, MERGE, TLS_PATCH, chain_name="inbound")).of(LISTENER)[IN]
    context = tls_pb2.DownstreamTlsContext()
    assert made.filter_chains[0].transport_socket.typed_config.Unpack(context)
    assert context.common_tls_context.tls_params.tls_minimum_protocol_version == 4
    assert context.require_client_certificate.value


def test_tls_and_more_in_one_patch_is_an_error_since_istio_drops_the_more() -> None:
    given = patch(
        Target.FILTER_CHAIN,
        MERGE,
        {**TLS_PATCH, "transport_socket_connect_timeout": "1s"},
        chain_name="inbound",
    )
    with pytest.raises(PatchError, match="transport_socket_connect_timeout"):
        patched(given)


def test_clusters_are_added_removed_and_merged() -> None:
    added = {"name": "files", "type": "STATIC", "load_assignment": {"cluster_name": "files"}}
    made = patched(
        patch(Target.CLUSTER, ADD, added),
        patch(Target.CLUSTER, MERGE, {"per_connection_buffer_limit_bytes": 9}, cluster_service=SESSION),
        patch(Target.CLUSTER, MERGE, {"alt_stat_name": "no"}, cluster_subset="v9"),
        patch(
            Target.CLUSTER, MERGE, {"alt_stat_name": "app"}, direction=Direction.INBOUND, cluster_port=9443
        ),
    )
    assert sorted(made.of(CLUSTER)) == ["files", "inbound|9443||", OUTBOUND]
    changed: Any = made.of(CLUSTER)[OUTBOUND]
    assert changed.per_connection_buffer_limit_bytes.value == 9
    assert not changed.alt_stat_name
    application: Any = made.of(CLUSTER)["inbound|9443||"]
    assert application.alt_stat_name == "app"


@pytest.mark.parametrize(
    "match, changed",
    [
        ({"cluster_service": SESSION, "direction": Direction.INBOUND}, {"inbound|9443||"}),
        ({"cluster_service": "messages.other", "direction": Direction.INBOUND}, {"inbound|9443||"}),
        ({"cluster_service": SESSION}, {"inbound|9443||", OUTBOUND}),
        ({"cluster_service": SESSION, "cluster_port": 9443}, {"inbound|9443||"}),
        ({"cluster_service": "policy.causeway", "direction": Direction.INBOUND}, set()),
    ],
)
def test_an_application_is_meant_by_the_services_that_lead_to_it(
    match: dict[str, Any], changed: set[str]
) -> None:
    """An inbound cluster's name has no host."""
    known = replace(application(), reached_as=(SESSION, "messages.other"))
    given = patch(Target.CLUSTER, MERGE, {"alt_stat_name": "x"}, **match)
    made: Any = translate(view(clusters=(known, cluster()), patches=(given,))).of(CLUSTER)
    assert {name for name in made if made[name].alt_stat_name == "x"} == changed


def test_a_removed_clusters_hosts_go_with_it() -> None:
    made = patched(patch(Target.CLUSTER, REMOVE, cluster_name=OUTBOUND))
    assert list(made.of(CLUSTER)) == ["inbound|9443||"]
    assert not made.of(ENDPOINTS)


def test_what_is_there_cannot_be_added_again() -> None:
    with pytest.raises(PatchError, match="already"):
        patched(patch(Target.CLUSTER, ADD, {"name": OUTBOUND}))


def test_shared_messages_stay_as_they_were() -> None:
    reuse = Reuse()
    plain = translate(view(), reuse)
    before = {name: message.SerializeToString() for name, message in plain.of(CLUSTER).items()}
    translate(view(patches=(patch(Target.CLUSTER, MERGE, {"alt_stat_name": "x"}),)), reuse)
    assert {name: message.SerializeToString() for name, message in plain.of(CLUSTER).items()} == before


def test_filter_configurations_can_be_sent_by_themselves() -> None:
    discovered = {
        "name": "mine",
        "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "type_urls": [f"{HTTP}.lua.v3.Lua"],
        },
    }
    made = patched(
        patch(Target.EXTENSION_CONFIG, ADD, {**LUA, "name": "mine"}),
        patch(Target.HTTP_FILTER, FIRST, discovered),
    )
    assert list(made.of(EXTENSION)) == ["mine"]
    assert Packer().pack(made).get(EXTENSION, "mine").name == "mine"


def test_types_that_are_not_known_here_can_be_carried() -> None:
    inner = "type.googleapis.com/envoy.extensions.filters.http.file_server.v3.FileServerConfig"
    carried = {
        "name": "files",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": inner,
            "value": {"path_mappings": [{"request_path_prefix": "/", "file_path_prefix": "/srv"}]},
        },
    }
    assert filters(patched(patch(Target.HTTP_FILTER, FIRST, carried)))[0] == "files"
    with pytest.raises(PatchError, match="TypedStruct"):
        patched(patch(Target.HTTP_FILTER, FIRST, {"name": "files", "typed_config": {"@type": inner}}))


@pytest.mark.parametrize(
    "given, says",
    [
        (patch(Target.HTTP_FILTER, REPLACE, LUA), "has to say what it replaces"),
        (patch(Target.HTTP_FILTER, REMOVE), "has to say what it removes"),
        (patch(Target.CLUSTER, BEFORE, {"name": "x"}), "does nothing to a CLUSTER"),
        (patch(Target.ROUTE_CONFIGURATION, ADD, {"name": "x"}), "does nothing to a ROUTE_CONFIGURATION"),
        (patch(Target.HTTP_ROUTE, REPLACE, {"name": "x"}), "does nothing to a HTTP_ROUTE"),
        (patch(Target.LISTENER, FIRST, {}), "does nothing to a LISTENER"),
        (patch(Target.CLUSTER, ADD, {"nmae": "x"}), "no field named"),
        (patch(Target.CLUSTER, MERGE, {"connect_timeout": "soon"}), "connect"),
        (patch(Target.CLUSTER, ADD, {}), "no name"),
        (patch(Target.EXTENSION_CONFIG, MERGE, {"name": "x"}), "does nothing"),
        (patch(Target.HTTP_FILTER, FIRST, {"nmae": "x"}, listener_name="elsewhere"), "no field named"),
    ],
)
def test_what_cannot_be_applied_is_an_error_that_names_its_place(given: Patch, says: str) -> None:
    with pytest.raises(PatchError, match=says) as raised:
        patched(given)
    assert str(raised.value).startswith("mesh.yaml:7 EnvoyFilter causeway/patches")


def test_patches_that_change_nothing_are_told() -> None:
    useful = patch(Target.CLUSTER, MERGE, {"alt_stat_name": "x"}, cluster_name=OUTBOUND)
    useless = patch(Target.CLUSTER, MERGE, {"alt_stat_name": "x"}, cluster_name="outbound|1||typo")
    assert unused_patches(view(patches=(useful, useless))) == (useless,)


def test_a_patched_view_is_equal_bytes_too() -> None:
    given = patch(Target.HTTP_FILTER, FIRST, LUA)
    first, second = patched(given), patched(given)
    assert first.of(LISTENER)[OUT].SerializeToString(deterministic=True) == second.of(LISTENER)[
        OUT
    ].SerializeToString(deterministic=True)
