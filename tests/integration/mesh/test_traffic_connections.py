"""Connections that no proxy looks into: TLS by the name it asks for, and bare bytes, as `tls` and `tcp`
routes of VirtualServices send them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_bytes import answering, greeting, greetings
from support.mesh_manifests import WEST, Instance, yaml

from mesh.local.addresses import EGRESS, HTTPS, HTTPS_MESH, INBOUND
from mesh.pki.gateways import GatewayCertificates

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = [
    Instance(name="ingress", app="ingress", ingress=True, gateway_ports={"tls": HTTPS, "tcp": HTTPS_MESH}),
    Instance(name="caller", app="caller"),
    Instance(name="other", app="other"),
    Instance(name="echo", app="echo"),
]
TLS, TCP = HTTPS, HTTPS_MESH
"""Ports that each workload's address has free."""
INSIDE = "causeway-ingress"
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("connections"), INSTANCES) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(mesh: Mesh) -> AsyncIterator[Mapping[str, int]]:
    """Where the servers are: `one` and `two` speak TLS, both by either name, the others bare bytes."""
    async with AsyncExitStack() as stack:
        found = {}
        certificates = GatewayCertificates(mesh.pki, WEST)
        for name in ("one", "two"):
            certificates.ensure(name, ["one.test", "two.test", "deep.wild.test"])
            found[name] = await stack.enter_async_context(answering(name, certificates.path(name)))
        for name in ("red", "violet", "store"):
            found[name] = await stack.enter_async_context(answering(name))
        yield found


def trust(mesh: Mesh) -> Path:
    return GatewayCertificates(mesh.pki, WEST).trust


def outside(name: str, protocol: str, number: int, port: int) -> str:
    """A server that is not part of the mesh."""
    spec = f"""
    hosts: [{name}.test]
    location: MESH_EXTERNAL
    resolution: STATIC
    ports: [{{number: {number}, name: p, protocol: {protocol}, targetPort: {port}}}]
    endpoints: [{{address: 127.0.0.1}}]
    """
    return yaml("ServiceEntry", name, spec)


def listeners(mesh: Mesh, instance: str) -> str:
    """A sidecar that takes connections of all kinds; it goes before the one of the topology."""
    address = mesh.network.address(instance)
    egress = "\n".join(
        f"- port: {{number: {number}, protocol: {protocol}, name: {protocol.lower()}}}\n"
        f"  bind: {address}\n  captureMode: NONE\n  hosts: ['./*']"
        for number, protocol in ((EGRESS, "GRPC"), (TLS, "TLS"), (TCP, "TCP"))
    )
    return yaml(
        "Sidecar", instance, f"workloadSelector: {{labels: {{instance: {instance}}}}}\negress:\n{egress}"
    )


def tls_routes(*rules: tuple[str, str], hosts: str, gateways: str = "mesh") -> str:
    lines = "\n".join(f"- match: [{{sniHosts: [{name}]}}]\n  route: {route}" for name, route in rules)
    return yaml("VirtualService", "tls", f"hosts: {hosts}\ngateways: [{gateways}]\ntls:\n{lines}")


def to(name: str, port: int, weight: int = 100) -> str:
    return f"{{destination: {{host: {name}.test, port: {{number: {port}}}}}, weight: {weight}}}"


async def test_tls_goes_where_its_name_says_and_is_not_opened(mesh: Mesh, ports: Mapping[str, int]) -> None:
    servers = [outside(name, "TLS", TLS, ports[name]) for name in ("one", "two")]
    await mesh.apply(STRICT, listeners(mesh, "caller"), *servers)
    sidecar = mesh.network.address("caller")
    for name in ("one", "two"):
        # The certificate is the server's own: it was checked against the name.
        assert await greeting(sidecar, TLS, name=f"{name}.test", trust=trust(mesh)) == name
    assert await greeting(sidecar, TLS, name="three.test", trust=trust(mesh)) == "", "only what is declared"
    assert await greeting(sidecar, TLS) == "", "and only TLS"


async def test_tls_routes_send_names_to_other_servers_and_in_shares(
    mesh: Mesh, ports: Mapping[str, int]
) -> None:
    servers = [outside(name, "TLS", TLS, ports[name]) for name in ("one", "two")]
    shares = f"[{to('one', TLS, 75)}, {to('two', TLS, 25)}]"
    routes = tls_routes(
        ("one.test", f"[{to('two', TLS)}]"), ("two.test", shares), hosts="[one.test, two.test]"
    )
    await mesh.apply(STRICT, listeners(mesh, "caller"), *servers, routes)
    sidecar = mesh.network.address("caller")
    assert await greetings(20, sidecar, TLS, name="one.test", trust=trust(mesh)) == {"two": 20}
    found = await greetings(800, sidecar, TLS, name="two.test", trust=trust(mesh))
    # Five standard deviations of a binomial with 800 trials are 61.
    assert set(found) == {"one", "two"}, found
    assert abs(found["one"] - 600) < 62, found


async def test_bare_connections_are_shared_out_as_a_tcp_route_says(
    mesh: Mesh, ports: Mapping[str, int]
) -> None:
    # Nothing tells their connections apart, so that the first has the port.
    servers = [outside(name, "TCP", TCP, ports[name]) for name in ("red", "violet")]
    route = f"hosts: [red.test]\ntcp: [{{route: [{to('red', TCP, 75)}, {to('violet', TCP, 25)}]}}]"
    sidecar = mesh.network.address("caller")
    await mesh.apply(STRICT, listeners(mesh, "caller"), *servers)
    assert await greetings(20, sidecar, TCP) == {"red": 20}
    await mesh.apply(STRICT, listeners(mesh, "caller"), *servers, yaml("VirtualService", "tcp", route))
    found = await greetings(800, sidecar, TCP)
    assert set(found) == {"red", "violet"}, found
    assert abs(found["red"] - 600) < 62, found


async def test_an_ingress_passes_tls_on_by_name_and_bytes_by_port(
    mesh: Mesh, ports: Mapping[str, int]
) -> None:
    servers = [outside(name, "TLS", TLS, ports[name]) for name in ("one", "two")]
    gateway = yaml(
        "Gateway",
        "public",
        """
        selector: {istio: ingressgateway}
        servers:
        - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.test"], tls: {mode: PASSTHROUGH}}
        - {port: {number: 444, name: tcp, protocol: TCP}, hosts: ["*"]}
        """,
        INSIDE,
    )
    service = yaml(
        "ServiceEntry",
        "ingress",
        f"""
        hosts: [ingress.{INSIDE}.svc.cluster.local]
        location: MESH_INTERNAL
        resolution: STATIC
        ports:
        - {{number: 443, name: tls, protocol: TLS, targetPort: {TLS}}}
        - {{number: 444, name: tcp, protocol: TCP, targetPort: {TCP}}}
        workloadSelector: {{labels: {{app: ingress}}}}
        """,
        INSIDE,
    )
    names = tls_routes(
        ("one.test", f"[{to('one', TLS)}]"),
        ("'*.wild.test'", f"[{to('two', TLS)}]"),
        hosts="[one.test, '*.wild.test']",
        gateways=f"{INSIDE}/public",
    )
    rest = yaml(
        "VirtualService",
        "tcp",
        f"hosts: ['*']\ngateways: [{INSIDE}/public]\n"
        f"tcp: [{{match: [{{port: 444}}], route: [{to('red', TCP)}]}}]",
    )
    await mesh.apply(
        STRICT, gateway, service, *servers, outside("red", "TCP", TCP, ports["red"]), names, rest
    )
    ingress = mesh.network.address("ingress")
    assert await greeting(ingress, TLS, name="one.test", trust=trust(mesh)) == "one"
    assert await greeting(ingress, TLS, name="deep.wild.test", trust=trust(mesh)) == "two"
    assert await greeting(ingress, TLS, name="two.test", trust=trust(mesh)) == "", "no route has that name"
    assert await greeting(ingress, TCP) == "red"


async def test_bytes_between_sidecars_go_over_mutual_tls_and_only_for_whom_may(
    mesh: Mesh, ports: Mapping[str, int]
) -> None:
    address, grpc_port = mesh.network.address("echo"), mesh.echoes["echo"].port
    server = yaml(
        "Sidecar",
        "echo",
        f"""
        workloadSelector: {{labels: {{instance: echo}}}}
        ingress:
        - port: {{number: {INBOUND}, protocol: GRPC, name: grpc}}
          bind: {address}
          captureMode: NONE
          defaultEndpoint: 127.0.0.1:{grpc_port}
        - port: {{number: {TCP}, protocol: TCP, name: tcp}}
          bind: {address}
          captureMode: NONE
          defaultEndpoint: 127.0.0.1:{ports["store"]}
        egress: [{{hosts: ['~/*']}}]
        """,
    )
    store = yaml(
        "ServiceEntry",
        "store",
        f"""
        hosts: [store.causeway.svc.cluster.local]
        location: MESH_INTERNAL
        resolution: STATIC
        ports: [{{number: {TCP}, name: tcp, protocol: TCP, targetPort: {TCP}}}]
        workloadSelector: {{labels: {{app: echo}}}}
        """,
    )
    allow = yaml(
        "AuthorizationPolicy",
        "store",
        f"""
        selector: {{matchLabels: {{app: echo}}}}
        rules:
        - from: [{{source: {{principals: [cluster.local/ns/causeway/sa/caller]}}}}]
          to: [{{operation: {{ports: ["{TCP}"]}}}}]
        """,
    )
    callers = [listeners(mesh, name) for name in ("caller", "other")]
    await mesh.apply(STRICT, *callers, server, store, allow)
    assert await greeting(mesh.network.address("caller"), TCP) == "store"
    assert await greeting(mesh.network.address("other"), TCP) == "", "another identity"
    assert await greeting(address, TCP) == "", "no identity at all"
