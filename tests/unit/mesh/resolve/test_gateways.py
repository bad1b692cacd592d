"""https://istio.io/latest/docs/reference/config/networking/gateway/"""

from __future__ import annotations

from unit.mesh.resolve.documents import (
    SERVER,
    forwarded,
    host,
    listener,
    manifest,
    table,
    view_of,
    workload,
)

from mesh.ir.listener import Direction, HttpChain, TcpChain
from mesh.ir.route import RouteTable
from mesh.ir.security import ServerTlsMode
from mesh.ir.view import ProxyView

EDGE = workload(
    "edge", "edge", address="127.1.0.8", labels={"istio": "ingressgateway"}, more="ports: {https: 40443}"
)


def gateway(servers: str, *, name: str = "edge", selector: str = "{istio: ingressgateway}") -> str:
    return manifest("Gateway", name, f"selector: {selector}\nservers:\n{servers}")


def http_server(hosts: str = '"*"', *, port: int = 80, tls: str = "") -> str:
    said = f", tls: {tls}" if tls else ""
    return f"  - {{port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: [{hosts}]{said}}}"


def https_server(
    hosts: str, *, name: str = "https", tls: str = "{mode: SIMPLE, credentialName: cert}"
) -> str:
    return f"  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{hosts}], tls: {tls}}}"


def routes_of(
    hosts: str, *, name: str = "web", gateways: str = "edge", namespace: str = "shop", more: str = ""
) -> str:
    target = host("server")
    spec = f"""
hosts: [{hosts}]
gateways: [{gateways}]
http: [{{name: {name}, {more}route: [{{destination: {{host: {target}}}}}]}}]
"""
    return manifest("VirtualService", name, spec, namespace=namespace)


def edge(*documents: str) -> ProxyView:
    return view_of(EDGE, SERVER, *documents, proxy="edge")


def by_domain(found: RouteTable) -> dict[str, list[str]]:
    return {domain: [route.name for route in one.routes] for one in found.hosts for domain in one.domains}


def test_a_plaintext_port_routes_by_the_virtual_services_bound_to_its_gateway() -> None:
    view = edge(
        gateway(http_server()), routes_of("a.example"), routes_of("b.example", name="mesh", gateways="mesh")
    )

    assert [one.name for one in view.listeners] == ["127.1.0.8_80"]
    assert view.listeners[0].direction is Direction.GATEWAY
    assert by_domain(table(view, "http.80")) == {"a.example": ["web"]}
    target = forwarded(table(view, "http.80").hosts[0].routes[0]).destinations[0]
    assert target.cluster == f"outbound|8080||{host('server')}"


def test_a_gateway_takes_the_proxies_that_its_selector_means_in_any_namespace() -> None:
    assert edge(gateway(http_server(), selector="{istio: other}")).listeners == ()
    elsewhere = manifest(
        "Gateway", "far", f"selector: {{istio: ingressgateway}}\nservers:\n{http_server()}", namespace="other"
    )
    assert len(edge(elsewhere).listeners) == 1


def test_a_port_without_virtual_services_answers_404() -> None:
    assert by_domain(table(edge(gateway(http_server())), "http.80")) == {"*": []}


def test_hosts_of_the_server_and_of_the_virtual_service_meet_in_the_narrower() -> None:
    view = edge(
        gateway(http_server('"*.example"')), routes_of("a.example, b.other"), routes_of('"*"', name="all")
    )

    assert by_domain(table(view, "http.80")) == {"a.example": ["web"], "*.example": ["all"]}


def test_a_servers_host_may_be_for_the_virtual_services_of_one_namespace() -> None:
    servers = http_server("other/a.example, ./b.example, '*/c.example'")

    def domains(namespace: str) -> set[str]:
        bound = routes_of("'*'", gateways="shop/edge", namespace=namespace)
        return set(by_domain(table(edge(gateway(servers), bound), "http.80")))

    assert domains("other") == {"a.example", "c.example"}
    assert domains("shop") == {"b.example", "c.example"}


def test_virtual_services_of_one_host_are_joined_and_catch_alls_come_last() -> None:
    view = edge(
        gateway(http_server()),
        routes_of("a.example", name="all"),
        routes_of("a.example", name="some", more="match: [{uri: {prefix: /a}}], "),
    )

    assert by_domain(table(view, "http.80")) == {"a.example": ["some", "all"]}


def test_hosts_with_the_same_routes_are_one_virtual_host() -> None:
    view = edge(gateway(http_server()), routes_of("b.example, a.example"))

    assert [(one.name, one.domains) for one in table(view, "http.80").hosts] == [
        ("a.example:80", ("a.example", "b.example"))
    ]


def test_https_redirect_asks_for_tls_with_and_without_routes() -> None:
    view = edge(
        gateway(http_server("a.example, b.example", tls="{httpsRedirect: true}")), routes_of("a.example")
    )

    assert {one.name: (one.require_tls, len(one.routes)) for one in table(view, "http.80").hosts} == {
        "a.example:80": (True, 1),
        "b.example:80": (True, 0),
    }


def test_each_server_that_ends_tls_has_a_chain_a_table_and_a_certificate_of_its_own() -> None:
    servers = "\n".join(
        (
            https_server("a.example", name="a"),
            https_server("b.example", name="b", tls="{mode: MUTUAL, credentialName: other}"),
        )
    )
    view = edge(gateway(servers), routes_of("a.example, b.example"))

    (found,) = view.listeners
    assert [
        (one.server_names, one.gateway_tls.mode if one.gateway_tls else None) for one in found.chains
    ] == [
        (("a.example",), ServerTlsMode.SIMPLE),
        (("b.example",), ServerTlsMode.MUTUAL),
    ]
    assert [one.name for one in view.route_tables] == ["https.443.a.edge.shop", "https.443.b.edge.shop"]
    assert set(by_domain(table(view, "https.443.b.edge.shop"))) == {"b.example"}
    assert view.credentials == ("cert", "other")


def test_a_server_for_every_host_matches_any_server_name() -> None:
    (found,) = edge(gateway(https_server('"*"')), routes_of("a.example")).listeners

    assert found.chains[0].server_names == ()


def test_a_port_is_listened_for_where_the_workload_says_by_the_ports_name() -> None:
    view = edge(gateway(https_server('"*"')), routes_of("a.example"))

    assert [one.port for one in view.listeners] == [40443]


def test_a_port_is_listened_for_where_a_service_of_the_gateway_leads() -> None:
    behind = manifest(
        "Service",
        "edge",
        "selector: {istio: ingressgateway}\nports: [{name: web, port: 80, targetPort: 8080}]",
    )

    view = edge(behind, gateway(http_server()), routes_of("a.example"))

    assert [one.name for one in view.listeners] == ["127.1.0.8_8080"]
    assert [one.name for one in view.route_tables] == ["http.8080"]


def test_the_older_of_two_servers_that_contradict_one_another_stays() -> None:
    plain = gateway("  - {port: {number: 443, name: https, protocol: HTTP}, hosts: ['*']}", name="plain")

    view = edge(gateway(https_server('"*"')), plain, routes_of("a.example"))

    assert [one.name for one in view.route_tables] == ["https.443.https.edge.shop"]


def test_passed_through_tls_is_told_apart_by_server_name() -> None:
    servers = https_server('"*.example"', tls="{mode: PASSTHROUGH}")
    rule = manifest(
        "VirtualService",
        "pass",
        f"""
hosts: ["*.example"]
gateways: [edge]
tls:
  - match: [{{port: 443, sniHosts: [a.example]}}]
    route: [{{destination: {{host: {host("server")}, port: {{number: 8080}}}}}}]
""",
    )
    (found,) = edge(gateway(servers), rule).listeners

    (chain,) = found.chains
    assert chain.server_names == ("a.example",)
    assert isinstance(chain.content, TcpChain)
    assert [one.cluster for one in chain.content.destinations] == [f"outbound|8080||{host('server')}"]


def test_opaque_connections_go_to_the_virtual_service_of_the_port() -> None:
    servers = "  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ['*']}"
    rule = manifest(
        "VirtualService",
        "tcp",
        f"""
hosts: ["*"]
gateways: [edge]
tcp:
  - match: [{{port: 1}}]
    route: [{{destination: {{host: other}}}}]
  - match: [{{port: 5432}}]
    route:
      - {{destination: {{host: {host("server")}, subset: a}}, weight: 60}}
      - {{destination: {{host: {host("server")}, subset: b}}, weight: 40}}
""",
    )
    content = listener(edge(gateway(servers), rule), "127.1.0.8_5432").chains[0].content

    assert isinstance(content, TcpChain)
    assert [(one.cluster.split("|")[2], one.weight) for one in content.destinations] == [("a", 60), ("b", 40)]


def test_conditions_on_gateways_are_understood_in_short_and_in_full() -> None:
    view = edge(
        gateway(http_server()),
        routes_of("a.example", name="short", more="match: [{gateways: [edge]}], "),
        routes_of("b.example", name="full", more="match: [{gateways: [shop/edge]}], "),
        routes_of("c.example", name="other", more="match: [{gateways: [mesh]}], "),
    )

    assert set(by_domain(table(view, "http.80"))) == {"a.example", "b.example"}


def test_routes_that_answer_browsers_or_injure_requests_are_noted_in_the_chain() -> None:
    rule = routes_of("a.example", more="corsPolicy: {allowOrigins: [{exact: https://a.example}]}, ")
    content = edge(gateway(http_server()), rule).listeners[0].chains[0].content

    assert isinstance(content, HttpChain)
    assert (content.cors, content.fault) == (True, False)


def test_a_gateway_sees_every_service_exported_to_it() -> None:
    scope = manifest("Sidecar", "scope", "egress: [{hosts: ['~/*']}]")

    names = {one.name for one in edge(gateway(http_server()), scope).clusters}

    assert names == {"BlackHoleCluster", f"outbound|8080||{host('server')}"}
