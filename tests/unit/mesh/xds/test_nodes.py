"""Who may have which view."""

from __future__ import annotations

import pytest

from mesh.ir.view import Proxy, ProxyKind
from mesh.xds.nodes import Refused, Unauthenticated, authorise, node_id, parse_node_id, peer

SIDECAR = Proxy(name="session-a.b", namespace="causeway", kind=ProxyKind.SIDECAR, service_account="session")
GATEWAY = Proxy(name="ingress", namespace="edge", kind=ProxyKind.GATEWAY, service_account="ingress")


def find(namespace: str, name: str) -> Proxy | None:
    return {(p.namespace, p.name): p for p in (SIDECAR, GATEWAY)}.get((namespace, name))


@pytest.mark.parametrize("proxy", [SIDECAR, GATEWAY])
def test_a_proxy_with_its_own_certificate_is_known(proxy: Proxy) -> None:
    assert authorise(node_id(proxy), proxy.spiffe_id, find) == proxy
    parsed = parse_node_id(node_id(proxy))
    assert (parsed.name, parsed.namespace, parsed.kind) == (proxy.name, proxy.namespace, proxy.kind)


def test_a_client_without_a_proxy_stands_in_for_the_sidecar_of_its_workload() -> None:
    claimed = node_id(SIDECAR).replace("sidecar~", "grpc~")
    assert authorise(claimed, SIDECAR.spiffe_id, find).kind is ProxyKind.PROXYLESS
    with pytest.raises(Refused):
        authorise(node_id(GATEWAY).replace("router~", "grpc~"), GATEWAY.spiffe_id, find)


def test_a_foreign_id_is_refused_and_does_not_show_whether_it_exists() -> None:
    refusals = []
    for claimed in (node_id(GATEWAY), "router~127.0.0.1~nobody.edge~edge.svc.cluster.local"):
        with pytest.raises(Refused) as caught:
            authorise(claimed, SIDECAR.spiffe_id, find)
        refusals.append(str(caught.value).replace("ingress", "X").replace("nobody", "X"))
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize(
    "text", ["", "sidecar", "sidecar~x~y~z", "pod~1.2.3.4~a.b~c", "sidecar~1.2.3.4~a~b", "~~~"]
)
def test_an_id_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_node_id(text)


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"transport_security_type": [b"ssl"], "x509_pem_cert": [b"x"]},
        {"peer_spiffe_id": [b"spiffe://a/b", b"spiffe://a/c"], "x509_pem_cert": [b"x"]},
    ],
)
def test_a_client_without_one_spiffe_identity_is_nobody(context: dict[str, list[bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        peer(context)
