"""Which authorities a sidecar knows on an outbound port."""

from __future__ import annotations

from collections import Counter

from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    cluster_names,
    forwarded,
    host,
    manifest,
    service,
    table,
    view_of,
    virtual_host,
    virtual_service,
)

from mesh.ir.listener import Direction


def test_a_service_answers_to_its_full_and_short_names() -> None:
    found = virtual_host(view_of(CLIENT, SERVER), "server")

    assert found.name == f"{host('server')}:8080"
    assert set(found.domains) == {host("server"), "server", "server.shop", "server.shop.svc"}


def test_no_domain_is_in_two_virtual_hosts_and_the_full_name_keeps_its_owner() -> None:
    lookalike = manifest(
        "ServiceEntry",
        "lookalike",
        """
hosts: [server.shop]
location: MESH_EXTERNAL
resolution: STATIC
ports: [{number: 8080, name: grpc, protocol: GRPC}]
endpoints: [{address: 10.0.0.1}]
""",
    )
    hosts = table(view_of(CLIENT, SERVER, lookalike)).hosts

    assert max(Counter(domain for one in hosts for domain in one.domains).values()) == 1
    assert virtual_host(view_of(CLIENT, SERVER, lookalike), "server.shop").name == "server.shop:8080"


def test_a_pattern_routes_the_services_it_means_unless_a_name_or_a_longer_pattern_does() -> None:
    def to(name: str, hosts: list[str]) -> str:
        return virtual_service(
            f"- {{name: {name}, route: [{{destination: {{host: server}}}}]}}", name=name, hosts=hosts
        )

    view = view_of(
        CLIENT,
        SERVER,
        service("longer"),
        service("exact"),
        to("short", ["*.cluster.local"]),
        to("long", ["*.shop.svc.cluster.local"]),
        to("exact", ["exact"]),
    )

    assert virtual_host(view, host("longer")).routes[0].name == "long"
    assert virtual_host(view, host("exact")).routes[0].name == "exact"


def test_a_virtual_service_for_a_host_without_a_service_counts_on_port_80_alone() -> None:
    rule = virtual_service("- route: [{destination: {host: server}}]", hosts=["outside.example.com"])
    web = service("web", port=80, protocol="HTTP")

    view = view_of(CLIENT, SERVER, web, rule)

    domains = {name: [d for one in table(view, name).hosts for d in one.domains] for name in ("80", "8080")}
    assert "outside.example.com" in domains["80"]
    assert "outside.example.com" not in domains["8080"]


def test_a_service_on_another_port_is_not_in_the_table() -> None:
    view = view_of(CLIENT, SERVER, service("web", port=80, protocol="HTTP"))

    assert host("web") not in {domain for one in table(view).hosts for domain in one.domains}


def test_virtual_hosts_are_ordered_by_name_and_the_catch_all_is_last() -> None:
    names = [one.name for one in table(view_of(CLIENT, SERVER, service("another"))).hosts]

    assert names[:-1] == sorted(names[:-1])
    assert names[-1] == "block_all"


def test_a_service_of_two_manifests_has_the_ports_and_workloads_of_both() -> None:
    second = manifest(
        "ServiceEntry",
        "server-metrics",
        f"""
hosts: [{host("server")}]
location: MESH_INTERNAL
resolution: STATIC
ports: [{{number: 9090, name: http, protocol: HTTP}}]
workloadSelector: {{labels: {{app: server}}}}
""",
    )
    view = view_of(CLIENT, SERVER, second)

    assert forwarded(virtual_host(view, host("server"), "9090").routes[0]).destinations[0].cluster == (
        f"outbound|9090||{host('server')}"
    )


def test_a_kubernetes_service_is_a_service_like_any_other() -> None:
    kubernetes = manifest(
        "Service",
        "web",
        "selector: {app: server}\nports: [{name: grpc-web, port: 8080, targetPort: 9443}]",
    )
    view = view_of(CLIENT, SERVER.partition("---")[0], kubernetes)

    found = next(one for one in view.clusters if one.name == f"outbound|8080||{host('web')}")
    assert [(one.address, one.port) for group in found.groups for one in group.hosts] == [("127.1.0.1", 9443)]


def test_a_port_of_a_kubernetes_service_that_is_not_tcp_is_called_past_the_mesh() -> None:
    kubernetes = manifest(
        "Service",
        "server",
        "selector: {app: server}\n"
        "ports: [{name: grpc, port: 8080, protocol: TCP}, {name: names, port: 53, protocol: UDP}]",
    )
    view = view_of(CLIENT, SERVER.partition("---")[0], kubernetes)

    assert {one.port for one in view.listeners if one.direction is Direction.OUTBOUND} == {8080}
    assert cluster_names(view) == {f"outbound|8080||{host('server')}"}
