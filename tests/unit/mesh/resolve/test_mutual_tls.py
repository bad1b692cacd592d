"""https://istio.io/latest/docs/concepts/security/#mutual-tls-authentication and its two ends."""

from __future__ import annotations

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    host,
    listener,
    manifest,
    mesh_config,
    of_service,
    service,
    view_of,
    workload,
)

from mesh.ir.cluster import UpstreamTlsMode
from mesh.ir.security import MutualTls


def tls_rule(tls: str) -> str:
    return manifest("DestinationRule", "tls", f"host: server\ntrafficPolicy: {{tls: {tls}}}")


def peers(name: str, mode: str, *, namespace: str = "shop", selector: str = "", ports: str = "") -> str:
    lines = [f"mtls: {{mode: {mode}}}"] if mode else []
    lines += [f"selector: {{matchLabels: {selector}}}"] if selector else []
    lines += [f"portLevelMtls: {ports}"] if ports else []
    return manifest("PeerAuthentication", name, "\n".join(lines), namespace=namespace)


def hosts_with_tls(*documents: str) -> dict[str, bool]:
    found = of_service(view_of(CLIENT, *documents), "server")
    return {one.workload: one.tls for group in found.groups for one in group.hosts}


def test_hosts_with_a_sidecar_are_called_with_their_identity_where_nothing_is_said() -> None:
    found = of_service(view_of(CLIENT, SERVER), "server").tls

    assert found is not None
    assert found.mode is UpstreamTlsMode.ISTIO_MUTUAL
    assert found.identities == ("spiffe://cluster.local/ns/shop/sa/server",)
    assert found.sni == f"outbound_.8080_._.{host('server')}"


def test_hosts_without_a_sidecar_are_called_in_plaintext() -> None:
    documents = (
        service("server"),
        workload("with", "server"),
        workload("without", "server", account=""),
        workload("labelled", "server", labels={"security.istio.io/tlsMode": "disabled"}),
    )

    assert hosts_with_tls(*documents) == {"shop/with": True, "shop/without": False, "shop/labelled": False}


def test_hosts_that_take_only_plaintext_are_called_so() -> None:
    one = peers("plain", "DISABLE", selector="{version: old}")
    documents = (
        service("server"),
        workload("old", "server", labels={"version": "old"}),
        workload("new", "server", labels={"version": "new"}),
    )

    assert hosts_with_tls(*documents, one) == {"shop/old": False, "shop/new": True}


def test_what_a_rule_asks_for_in_so_many_words_holds_for_every_host() -> None:
    plain = workload("plain", "server", account="")

    assert hosts_with_tls(service("server"), plain, tls_rule("{mode: ISTIO_MUTUAL}")) == {"shop/plain": True}


def test_a_rule_may_switch_mutual_tls_off() -> None:
    found = of_service(view_of(CLIENT, SERVER, tls_rule("{mode: DISABLE}")), "server").tls

    assert found is not None
    assert found.mode is UpstreamTlsMode.DISABLE


def test_a_rules_names_replace_the_workloads_identities() -> None:
    rule = tls_rule("{mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b'], sni: other}")
    found = of_service(view_of(CLIENT, SERVER, rule), "server").tls

    assert found is not None
    assert (found.identities, found.sni) == (("spiffe://cluster.local/ns/a/sa/b",), "other")


def test_the_mesh_may_switch_automatic_mutual_tls_off() -> None:
    assert of_service(view_of(CLIENT, SERVER, mesh_config("enableAutoMtls: false")), "server").tls is None


def test_services_outside_the_mesh_are_called_in_plaintext_unless_a_rule_says_otherwise() -> None:
    outside = manifest(
        "ServiceEntry",
        "api",
        """
hosts: [api.example.com]
location: MESH_EXTERNAL
resolution: DNS
ports: [{number: 443, name: http, protocol: HTTP}]
subjectAltNames: [api.example.com]
""",
    )
    rule = manifest("DestinationRule", "api", "host: api.example.com\ntrafficPolicy: {tls: {mode: SIMPLE}}")

    def tls(*documents: str) -> object:
        return next(one for one in view_of(CLIENT, outside, *documents).clusters if "api" in one.name).tls

    assert tls() is None
    secured = tls(rule)
    assert getattr(secured, "mode", None) is UpstreamTlsMode.SIMPLE
    assert getattr(secured, "identities", None) == ("api.example.com",)


def accepted(*documents: str) -> MutualTls:
    view = view_of(CLIENT, SERVER, *documents, proxy="server")
    return listener(view, "127.1.0.1_9443").mutual_tls


ROOT_STRICT = peers("mesh", "STRICT", namespace="istio-system")


@pytest.mark.parametrize(
    "policies, mode",
    [
        ([], MutualTls.PERMISSIVE),
        ([ROOT_STRICT], MutualTls.STRICT),
        ([ROOT_STRICT, peers("own", "DISABLE")], MutualTls.DISABLE),
        ([ROOT_STRICT, peers("own", "UNSET")], MutualTls.STRICT),
        (
            [peers("own", "STRICT"), peers("one", "PERMISSIVE", selector="{app: server}")],
            MutualTls.PERMISSIVE,
        ),
        ([peers("own", "STRICT"), peers("one", "DISABLE", selector="{app: other}")], MutualTls.STRICT),
        ([peers("own", "STRICT"), peers("one", "UNSET", selector="{app: server}")], MutualTls.STRICT),
        (
            [peers("one", "STRICT", selector="{app: server}", ports="{9443: {mode: DISABLE}}")],
            MutualTls.DISABLE,
        ),
        (
            [peers("one", "STRICT", selector="{app: server}", ports="{9443: {mode: UNSET}}")],
            MutualTls.STRICT,
        ),
        (
            [peers("one", "STRICT", selector="{app: server}", ports="{8080: {mode: DISABLE}}")],
            MutualTls.STRICT,
        ),
        ([peers("first", "STRICT"), peers("second", "DISABLE")], MutualTls.STRICT),
    ],
)
def test_the_narrowest_policy_says_what_a_port_accepts(policies: list[str], mode: MutualTls) -> None:
    assert accepted(*policies) is mode


def test_what_decided_is_cited() -> None:
    view = view_of(CLIENT, SERVER, ROOT_STRICT, proxy="server")
    origin = listener(view, "127.1.0.1_9443").mutual_tls_origin

    assert origin is not None
    assert (origin.namespace, origin.name, origin.path) == ("istio-system", "mesh", "spec.mtls.mode")
