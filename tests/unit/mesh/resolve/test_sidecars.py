"""Listeners, clusters and patches of a sidecar; proxies that are none."""

from __future__ import annotations

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    cluster,
    host,
    listener,
    manifest,
    manifests,
    of_service,
    service,
    table,
    view_of,
    virtual_service,
    workload,
)

from mesh.ir.cluster import Discovery
from mesh.ir.listener import Direction, HttpChain, TcpChain
from mesh.ir.patch import Operation, Target
from mesh.ir.route import Forward
from mesh.ir.view import ProxyKind, ProxyView
from mesh.resolve import index, proxies

INGRESS = """
ingress:
  - port: {number: 9443, protocol: GRPC, name: grpc}
    bind: 127.1.0.1
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:5000
    connectionPool: {http: {http2MaxRequests: 7}}
egress: [{hosts: ["./*"]}]
"""


def server(*documents: str) -> ProxyView:
    return view_of(CLIENT, SERVER, *documents, proxy="server")


def test_an_ingress_listener_leads_to_its_endpoint() -> None:
    view = server(manifest("Sidecar", "server", INGRESS))

    found = listener(view, "127.1.0.1_9443")
    assert (found.direction, found.address, found.port) == (Direction.INBOUND, "127.1.0.1", 9443)
    inbound = cluster(view, "inbound|9443||")
    assert inbound.discovery is Discovery.STATIC
    assert [(one.address, one.port, one.tls) for group in inbound.groups for one in group.hosts] == [
        ("127.0.0.1", 5000, False)
    ]
    assert inbound.http2
    assert inbound.pool.max_requests == 7
    assert table(view, "inbound|9443||").hosts[0].name == "inbound|http|9443"


def test_without_ingress_listeners_every_port_that_a_service_leads_to_is_listened_for() -> None:
    view = server()

    assert listener(view, "127.1.0.1_9443").direction is Direction.INBOUND
    assert [one.port for group in cluster(view, "inbound|9443||").groups for one in group.hosts] == [9443]


def test_an_application_is_known_by_the_services_that_lead_to_its_port() -> None:
    """EnvoyFilters name inbound clusters by them. What a Sidecar writes out is the oldest's alone."""
    second = service("second", port=9090).replace("{app: second}", "{app: server}")

    assert cluster(server(second), "inbound|9443||").reached_as == (host("server"), host("second"))
    sidecar = manifest("Sidecar", "server", INGRESS)
    assert cluster(server(second, sidecar), "inbound|9443||").reached_as == (host("server"),)
    elsewhere = manifest("Sidecar", "server", INGRESS.replace("number: 9443", "number: 9555"))
    assert cluster(server(second, elsewhere), "inbound|9555||").reached_as == ()


def test_an_inbound_route_has_no_limit_of_time() -> None:
    (route,) = table(server(), "inbound|9443||").hosts[0].routes

    assert isinstance(route.action, Forward)
    assert route.action.timeout is None


def test_what_a_destination_rule_says_of_connections_holds_for_the_way_to_the_application_too() -> None:
    rule = manifest(
        "DestinationRule",
        "server",
        "host: server\ntrafficPolicy: {connectionPool: {http: {http2MaxRequests: 9}}}",
    )

    assert cluster(server(rule), "inbound|9443||").pool.max_requests == 9
    assert (
        cluster(server(rule, manifest("Sidecar", "server", INGRESS)), "inbound|9443||").pool.max_requests == 7
    )


def test_requests_are_told_apart_and_opaque_bytes_are_not() -> None:
    documents = (service("web", port=80, protocol="HTTP"), service("db", port=5432, protocol="TCP"))
    view = view_of(CLIENT, *documents)

    web, db = (listener(view, f"127.1.0.9_{port}").chains[0].content for port in (80, 5432))
    assert isinstance(web, HttpChain)
    assert web.route_table == "80"
    assert isinstance(db, TcpChain)
    assert [one.cluster for one in db.destinations] == [f"outbound|5432||{host('db')}"]


def test_tls_that_is_not_ended_here_is_told_apart_by_server_name() -> None:
    documents = (service("a", port=443, protocol="TLS"), service("b", port=443, protocol="TLS"))
    found = listener(view_of(CLIENT, *documents), "127.1.0.9_443")

    assert [one.server_names for one in found.chains] == [(host("a"),), (host("b"),)]


def test_of_two_opaque_services_on_a_port_the_older_one_is_reached() -> None:
    documents = (service("old", port=5432, protocol="TCP"), service("new", port=5432, protocol="TCP"))
    found = listener(view_of(CLIENT, *documents), "127.1.0.9_5432")

    assert [one.name for one in found.chains] == [f"outbound|5432||{host('old')}"]


def test_tcp_rules_of_a_virtual_service_count_for_its_service() -> None:
    rule = manifest(
        "VirtualService",
        "db",
        """
hosts: [db]
tcp:
  - match: [{sourceLabels: {app: other}}]
    route: [{destination: {host: db, subset: never}}]
  - route: [{destination: {host: db, subset: v2}}]
""",
    )
    (chain,) = listener(
        view_of(CLIENT, service("db", port=5432, protocol="TCP"), rule), "127.1.0.9_5432"
    ).chains

    assert isinstance(chain.content, TcpChain)
    assert [one.cluster for one in chain.content.destinations] == [f"outbound|5432|v2|{host('db')}"]


def test_every_table_that_a_listener_names_is_there_once() -> None:
    view = server(service("web", port=80, protocol="HTTP"))
    named = {
        chain.content.route_table
        for one in view.listeners
        for chain in one.chains
        if isinstance(chain.content, HttpChain)
    }

    assert sorted(named) == [one.name for one in view.route_tables]


def test_clusters_listeners_and_tables_are_ordered_by_name_and_named_once() -> None:
    view = server(service("web", port=80, protocol="HTTP"), service("another"))

    for names in (
        [one.name for one in view.clusters],
        [one.name for one in view.listeners],
        [one.name for one in view.route_tables],
    ):
        assert names == sorted(set(names))


def test_a_subset_has_the_hosts_with_its_labels() -> None:
    rule = manifest(
        "DestinationRule",
        "server",
        "host: server\nsubsets: [{name: v2, labels: {version: v2}}, {name: none, labels: {version: v3}}]",
    )
    view = view_of(
        CLIENT,
        service("server"),
        workload("one", "server", labels={"version": "v1"}),
        workload("two", "server", labels={"version": "v2"}),
        rule,
    )

    found = of_service(view, "server", subset="v2")
    assert [one.workload for group in found.groups for one in group.hosts] == ["shop/two"]
    assert of_service(view, "server", subset="none").groups == ()


def test_services_found_by_dns_are_left_to_the_proxy() -> None:
    outside = manifest(
        "ServiceEntry",
        "api",
        """
hosts: [api.example.com]
location: MESH_EXTERNAL
resolution: DNS
ports: [{number: 443, name: tls, protocol: TLS}]
""",
    )
    found = cluster(view_of(CLIENT, outside), "outbound|443||api.example.com")

    assert found.discovery is Discovery.DNS
    assert [(one.address, one.port) for group in found.groups for one in group.hosts] == [
        ("api.example.com", 443)
    ]


def test_a_probe_of_a_workload_group_makes_its_callers_ask() -> None:
    group = manifest(
        "WorkloadGroup",
        "server",
        """
template: {labels: {app: server}}
probe: {periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 2, grpc: {port: 9443, service: ready}}
""",
    )
    found = of_service(view_of(CLIENT, SERVER, group), "server").health_check

    assert found is not None
    assert (found.interval.total_seconds(), found.unhealthy_after, found.grpc_service) == (1.0, 2, "ready")


def test_a_client_without_a_sidecar_has_a_listener_for_each_target_that_it_may_dial() -> None:
    client = workload("client", "client", annotations={"inject.istio.io/templates": "grpc-agent"})
    rule = virtual_service("- route: [{destination: {host: server, subset: v1}}]")

    view = view_of(client, SERVER, rule)

    (found,) = view.listeners
    assert found.name == f"{host('server')}:8080"
    content = found.chains[0].content
    assert isinstance(content, HttpChain)
    assert content.route_table == f"outbound|8080||{host('server')}"
    (virtual,) = table(view, content.route_table).hosts
    assert host("server") in virtual.domains
    assert isinstance(virtual.routes[0].action, Forward)


@pytest.mark.parametrize(
    "document, kind",
    [
        (workload("w", "app"), ProxyKind.SIDECAR),
        (workload("w", "app", account=""), None),
        (workload("w", "app", account="", labels={"security.istio.io/tlsMode": "istio"}), ProxyKind.SIDECAR),
        (workload("w", "app", labels={"security.istio.io/tlsMode": "disabled"}), None),
        (workload("w", "app", annotations={"sidecar.istio.io/inject": "false"}), None),
        (workload("w", "app", labels={"istio": "ingressgateway"}), ProxyKind.GATEWAY),
        (workload("w", "app", annotations={"inject.istio.io/templates": "gateway"}), ProxyKind.GATEWAY),
        (workload("w", "app", annotations={"inject.istio.io/templates": "grpc-agent"}), ProxyKind.PROXYLESS),
    ],
)
def test_a_workload_says_which_proxy_it_has(document: str, kind: ProxyKind | None) -> None:
    assert [one.kind for one in proxies(manifests(document))] == ([] if kind is None else [kind])


def test_a_proxys_identity_is_its_workloads() -> None:
    read = manifests(workload("w", "app", address="127.9.9.9", locality="west/west-a"))
    (found,) = proxies(read)

    assert proxies(index(read)) == (found,)
    assert found.spiffe_id == "spiffe://cluster.local/ns/shop/sa/app"
    assert (found.address, str(found.locality)) == ("127.9.9.9", "west/west-a")
    assert found.labels["topology.kubernetes.io/region"] == "west"


def patch(
    name: str, *, priority: int = 0, context: str = "ANY", selector: str = "", namespace: str = "shop"
) -> str:
    chosen = f"workloadSelector: {{labels: {selector}}}" if selector else ""
    return manifest(
        "EnvoyFilter",
        name,
        f"""
priority: {priority}
{chosen}
configPatches:
  - applyTo: CLUSTER
    match: {{context: {context}, cluster: {{service: {host("server")}, portNumber: 8080}}}}
    patch: {{operation: MERGE, value: {{alt_stat_name: {name}}}}}
""",
        namespace=namespace,
    )


def test_patches_are_made_in_istios_order() -> None:
    """By priority, whatever the namespace; the root namespace's come first only among equals."""
    view = view_of(
        CLIENT,
        SERVER,
        patch("late", priority=5),
        patch("early", priority=-5),
        patch("plain"),
        patch("younger"),
        patch("root-late", priority=9, namespace="istio-system"),
        patch("root-plain", namespace="istio-system"),
        patch("foreign", namespace="other"),
        patch("chosen", selector="{app: client}"),
        patch("not-chosen", selector="{app: server}"),
        patch("gateways", context="GATEWAY"),
    )

    assert [one.origin.name for one in view.patches] == [
        "early",
        "root-plain",
        "plain",
        "younger",
        "chosen",
        "late",
        "root-late",
    ]
    last = view.patches[-1]
    assert (last.target, last.operation, last.value) == (
        Target.CLUSTER,
        Operation.MERGE,
        {"alt_stat_name": "root-late"},
    )
    assert (last.match.cluster_service, last.match.cluster_port) == (host("server"), 8080)


def test_an_application_at_its_workloads_address_is_called_there() -> None:
    other = workload("server-2", "server", address="127.1.0.2")
    ingress = INGRESS.replace("    bind: 127.1.0.1\n", "").replace("127.0.0.1:5000", "0.0.0.0:5000")
    for name, address in (("server", "127.1.0.1"), ("server-2", "127.1.0.2")):
        view = view_of(CLIENT, SERVER, other, manifest("Sidecar", "server", ingress), proxy=name)
        ((hosts,),) = ([group.hosts for group in cluster(view, "inbound|9443||").groups],)

        assert [(one.address, one.port) for one in hosts] == [(address, 5000)]
        assert f"{address}_9443" in {one.name for one in view.listeners}
