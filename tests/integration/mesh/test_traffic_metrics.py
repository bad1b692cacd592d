"""Istio's standard metrics, as Telemetry asks for them, scraped from real Envoys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_bytes import answering, greetings
from support.mesh_echo import Client
from support.mesh_manifests import WEST, Instance, host, yaml
from support.mesh_metrics import Sample, having, scrape, total
from support.mesh_processes import eventually

from mesh.local.addresses import EGRESS, HTTPS_MESH, INBOUND
from mesh.translate.metrics import LIMIT

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = [
    Instance(name="ingress", app="ingress", ingress=True, gateway_ports={"http": HTTPS_MESH}),
    Instance(name="web", app="web"),
    Instance(name="echo", app="echo", version="v2"),
]
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
REQUESTS, DURATION = "istio_requests_total", "istio_request_duration_milliseconds"
SIZES = ("istio_request_bytes", "istio_response_bytes")
FAIL = "/test.Echo/Fail"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("metrics"), INSTANCES) as mesh:
        yield mesh


def metrics(overrides: str = "[]", name: str = "default", namespace: str = "istio-system") -> str:
    """A Telemetry that asks for metrics; overrides as a list in YAML's flow style."""
    return yaml(
        "Telemetry",
        name,
        f"metrics: [{{providers: [{{name: prometheus}}], overrides: {overrides}}}]",
        namespace,
    )


async def counted(mesh: Mesh, instance: str, name: str, count: float, **labels: str) -> list[Sample]:
    """The series of a metric with these labels, once they add up to `count`: a proxy counts after the caller
    has its answer."""
    found: list[Sample] = []

    async def there() -> bool:
        found[:] = having(await scrape(mesh.proxies[instance]), name, **labels)
        assert sum(one.value for one in found) == count, found
        return True

    await eventually(there, f"{name} at {count:g}", limit=10.0)
    return found


async def test_without_telemetry_there_are_no_metrics(mesh: Mesh) -> None:
    await mesh.apply(STRICT)
    await mesh.client("web").call()
    for name in ("web", "echo"):
        assert await scrape(mesh.proxies[name]) == []


async def test_both_sides_of_a_call_count_it_with_istios_labels(mesh: Mesh) -> None:
    await mesh.apply(STRICT, metrics())
    mesh.echoes["echo"].fails_in = {FAIL: grpc.StatusCode.NOT_FOUND}
    assert await mesh.client("web").many(7) == {"echo": 7}
    assert await mesh.client("web").code(FAIL) == "NOT_FOUND"
    callee = {
        "destination_app": "echo",
        "destination_canonical_revision": "v2",
        "destination_canonical_service": "echo",
        "destination_cluster": WEST,
        "destination_principal": "spiffe://cluster.local/ns/causeway/sa/echo",
        "destination_service": host("echo"),
        "destination_service_name": "echo",
        "destination_service_namespace": "causeway",
        "destination_version": "v2",
        "destination_workload": "echo-us-west-2",
        "destination_workload_namespace": "causeway",
    }
    call = {"request_protocol": "grpc", "response_code": "200", "response_flags": "-"}
    caller = {
        "source_app": "web",
        "source_canonical_revision": "v1",
        "source_canonical_service": "web",
        "source_cluster": WEST,
        "source_version": "v1",
        "source_workload": "web-us-west-2",
    }
    # What a certificate does not say, the other side does not know.
    somebody = dict.fromkeys(caller, "unknown") | {"source_canonical_revision": "latest"}
    proved = {
        "source_principal": "spiffe://cluster.local/ns/causeway/sa/web",
        "source_workload_namespace": "causeway",
    }
    for instance, own in (
        ("web", {"reporter": "source", "connection_security_policy": "unknown", **caller}),
        ("echo", {"reporter": "destination", "connection_security_policy": "mutual_tls", **somebody}),
    ):
        expected = {**callee, **call, **own, **proved}
        (good,) = await counted(mesh, instance, REQUESTS, 7, grpc_response_status="0")
        (bad,) = await counted(mesh, instance, REQUESTS, 1, grpc_response_status="5")
        assert good.labels == expected | {"grpc_response_status": "0"}
        assert bad.labels == expected | {"grpc_response_status": "5"}
        for name in (DURATION, *SIZES):
            (histogram,) = await counted(mesh, instance, f"{name}_count", 7, grpc_response_status="0")
            assert histogram.labels == good.labels, name
        for name in SIZES:
            assert total(await scrape(mesh.proxies[instance]), f"{name}_sum") > 8 * 10, "bytes on the wire"


async def test_no_label_is_made_of_a_path_or_of_what_a_caller_wrote(mesh: Mesh) -> None:
    await mesh.apply(STRICT, metrics())
    before = total(await scrape(mesh.proxies["echo"]), REQUESTS)
    await mesh.client("web").call("/test.Echo/Unheard", x_secret="unheard")
    await counted(mesh, "echo", REQUESTS, before + 1)
    for name in ("web", "echo"):
        values = {value for one in await scrape(mesh.proxies[name]) for value in one.labels.values()}
        assert not [value for value in values if "nheard" in value or "test.Echo" in value]


async def test_labels_are_added_changed_and_taken_away_and_metrics_switched_off_for_a_side(
    mesh: Mesh,
) -> None:
    overrides = """[
      {match: {mode: CLIENT}, tagOverrides: {
        tenant: {value: "request.headers['x-tenant']"},
        kind: {operation: UPSERT, value: "request.url_path.endsWith('/Say') ? 'say' : 'other'"},
        port: {value: string(upstream.port)}}},
      {match: {metric: REQUEST_COUNT, mode: SERVER}, tagOverrides: {
        source_version: {operation: UPSERT, value: "'some'"},
        reporter: {operation: REMOVE}, response_flags: {operation: REMOVE}}},
      {match: {metric: REQUEST_SIZE}, disabled: true},
      {match: {customMetric: request_duration_milliseconds, mode: SERVER}, disabled: true}]"""
    await mesh.apply(STRICT, metrics(overrides))
    await mesh.client("web").call(x_tenant="acme")
    await mesh.client("web").call("/test.Echo/Else", x_tenant="initech")
    (acme,) = await counted(mesh, "web", REQUESTS, 1, tenant="acme", kind="say")
    (initech,) = await counted(mesh, "web", REQUESTS, 1, tenant="initech", kind="other")
    assert acme["port"] == initech["port"] == str(INBOUND)
    assert acme["source_version"] == "v1", "the other side's override is not this side's"
    (served,) = await counted(mesh, "echo", REQUESTS, 2, source_version="some")
    assert {"reporter", "response_flags", "tenant"}.isdisjoint(served.labels)
    await counted(mesh, "web", f"{DURATION}_count", 1, tenant="acme")
    (size,) = await counted(mesh, "echo", f"{SIZES[1]}_count", 2)
    assert size["reporter"] == "destination", "an override for one metric is not another's"
    for name, off in (("web", SIZES[:1]), ("echo", (SIZES[0], DURATION))):
        names = {one.name for one in await scrape(mesh.proxies[name])}
        for metric in off:
            assert not [one for one in names if one.startswith(metric)], f"{metric} of {name} is off"


async def test_all_metrics_of_one_side_are_off(mesh: Mesh) -> None:
    await mesh.apply(STRICT, metrics("[{match: {metric: ALL_METRICS, mode: SERVER}, disabled: true}]"))
    await mesh.client("web").call()
    await counted(mesh, "web", REQUESTS, 1)
    assert await scrape(mesh.proxies["echo"]) == []


async def test_a_namespace_and_a_workload_may_have_it_otherwise(mesh: Mesh) -> None:
    own = yaml(
        "Telemetry",
        "echo",
        "selector: {matchLabels: {app: echo}}\n"
        "metrics: [{overrides: [{tagOverrides: {whose: {value: \"'workload'\"}}}]}]",
    )
    space = metrics("[{tagOverrides: {whose: {value: \"'namespace'\"}}}]", "all", "causeway")
    await mesh.apply(STRICT, metrics(), space, own)
    await mesh.client("web").call()
    await counted(mesh, "web", REQUESTS, 1, whose="namespace")
    await counted(mesh, "echo", REQUESTS, 1, whose="workload")


async def test_a_call_that_reaches_nobody_names_its_service_alone(mesh: Mesh) -> None:
    gone = f"""
    hosts: [{host("gone")}]
    location: MESH_INTERNAL
    resolution: STATIC
    ports: [{{number: 8080, name: grpc, protocol: GRPC}}]
    workloadSelector: {{labels: {{app: gone}}}}
    """
    await mesh.apply(STRICT, metrics(), yaml("ServiceEntry", "gone", gone))
    assert await mesh.client("web", "gone").code() == "UNAVAILABLE"
    (one,) = await counted(mesh, "web", REQUESTS, 1, response_flags="UH")
    assert (one["destination_service"], one["destination_service_namespace"]) == (host("gone"), "causeway")
    assert one["destination_workload"] == one["destination_principal"] == one["source_principal"] == "unknown"
    assert (one["source_workload"], one["request_protocol"]) == ("web-us-west-2", "grpc")
    assert one["grpc_response_status"] == "14"


async def test_a_caller_without_tls_and_one_that_is_refused(mesh: Mesh) -> None:
    permissive = yaml("PeerAuthentication", "default", "mtls: {mode: PERMISSIVE}", "istio-system")
    nobody = yaml(
        "AuthorizationPolicy",
        "echo",
        "selector: {matchLabels: {app: echo}}\naction: DENY\n"
        "rules: [{from: [{source: {principals: ['*']}}]}]",
    )
    await mesh.apply(permissive, nobody, metrics())
    async with grpc.aio.insecure_channel(f"{mesh.network.address('echo')}:{INBOUND}") as channel:
        assert await Client(channel).who() == "echo"
    (plain,) = await counted(mesh, "echo", REQUESTS, 1, connection_security_policy="none")
    assert plain["source_principal"] == plain["destination_principal"] == "unknown"
    assert plain["source_workload_namespace"] == "unknown"
    assert await mesh.client("web").code() == "PERMISSION_DENIED"
    (refused,) = await counted(mesh, "echo", REQUESTS, 1, connection_security_policy="mutual_tls")
    assert refused["grpc_response_status"] == "7"
    assert refused["destination_service"] == host("echo")
    assert refused["source_principal"] == "spiffe://cluster.local/ns/causeway/sa/web"


async def test_a_gateway_is_the_source_of_what_it_passes_on(mesh: Mesh) -> None:
    gateway = """
    selector: {istio: ingressgateway}
    servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [api.test]}]
    """
    route = f"""
    hosts: [api.test]
    gateways: [public]
    http: [{{route: [{{destination: {{host: {host("echo")}, port: {{number: 8080}}}}}}]}}]
    """
    inside = "causeway-ingress"
    await mesh.apply(
        STRICT,
        metrics(),
        yaml("Gateway", "public", gateway, inside),
        yaml("VirtualService", "api", route, inside),
    )
    target = f"{mesh.network.address('ingress')}:{HTTPS_MESH}"
    for name in ("api.test", "else.test"):
        options = [("grpc.default_authority", name)]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            await Client(channel).code()
    (passed,) = await counted(mesh, "ingress", REQUESTS, 1, grpc_response_status="0")
    assert (passed["reporter"], passed["source_app"]) == ("source", "ingress")
    assert passed["source_principal"] == f"spiffe://cluster.local/ns/{inside}/sa/ingress"
    assert passed["destination_workload"] == "echo-us-west-2"
    (lost,) = await counted(mesh, "ingress", REQUESTS, 1, response_flags="NR")
    assert lost["destination_service"] == "unknown", "not the name that the caller gave"
    (got,) = await counted(mesh, "echo", REQUESTS, 1, reporter="destination")
    assert got["source_workload_namespace"] == inside


async def test_a_request_that_is_not_grpc_is_counted_as_http(mesh: Mesh) -> None:
    """One without a content-type, too, as a browser's."""
    sidecar = mesh.network.address("web")
    await mesh.apply(STRICT, metrics("[{tagOverrides: {verb: {value: request.method}}}]"))
    reader, writer = await asyncio.open_connection(sidecar, EGRESS)
    writer.write(f"GET / HTTP/1.1\r\nhost: {host('echo')}\r\nconnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()
    await counted(mesh, "web", REQUESTS, 1, verb="GET", request_protocol="http", grpc_response_status="")
    # A gRPC server does not take it, and it is tried again.
    served = having(await scrape(mesh.proxies["echo"]), REQUESTS, verb="GET")
    assert {one["request_protocol"] for one in served} == {"http"}


async def test_callers_cannot_fill_a_proxys_memory_with_labels(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        metrics("""[{match: {metric: REQUEST_COUNT, mode: CLIENT},
      tagOverrides: {word: {value: "request.headers['x-word']"}}}]"""),
    )
    client, words = mesh.client("web"), iter(range(LIMIT + 100))

    async def some() -> None:
        for word in words:
            await client.call(x_word=f"word-{word}")

    await asyncio.gather(*(some() for _ in range(32)))

    async def there() -> bool:
        return len(having(await scrape(mesh.proxies["web"]), REQUESTS)) >= LIMIT

    await eventually(there, "as many series as may be")
    assert len(having(await scrape(mesh.proxies["web"]), REQUESTS)) == LIMIT
    await client.call(x_word="word-0")
    await counted(mesh, "web", REQUESTS, 2, word="word-0")


async def test_a_stream_is_counted_when_it_ends(mesh: Mesh) -> None:
    await mesh.apply(STRICT, metrics())
    before = total(await scrape(mesh.proxies["web"]), REQUESTS)
    stream = mesh.client("web").watch()
    assert await stream.read()
    assert total(await scrape(mesh.proxies["web"]), REQUESTS) == before
    stream.cancel()
    await counted(mesh, "web", REQUESTS, before + 1)


async def test_connections_of_bytes_are_counted_opened_and_closed(mesh: Mesh) -> None:
    address = mesh.network.address("web")
    sidecar = f"""
    workloadSelector: {{labels: {{instance: web}}}}
    egress:
    - port: {{number: {HTTPS_MESH}, protocol: TCP, name: tcp}}
      bind: {address}
      captureMode: NONE
      hosts: ["./*"]
    """
    async with answering("red") as port:

        def outside(number: int) -> str:
            return f"""
            hosts: [red.test]
            location: MESH_EXTERNAL
            resolution: STATIC
            ports: [{{number: {HTTPS_MESH}, name: p, protocol: TCP, targetPort: {number}}}]
            endpoints: [{{address: 127.0.0.1, labels: {{app: red}}}}]
            """

        everything = (STRICT, metrics(), yaml("Sidecar", "web", sidecar))
        await mesh.apply(*everything, yaml("ServiceEntry", "red", outside(port)))
        assert await greetings(5, address, HTTPS_MESH) == {"red": 5}
        (closed,) = await counted(mesh, "web", "istio_tcp_connections_closed_total", 5)
        assert (closed["request_protocol"], closed["reporter"]) == ("tcp", "source")
        assert (closed["destination_service"], closed["destination_app"]) == ("red.test", "red")
        assert "response_code" not in closed.labels
        await counted(mesh, "web", "istio_tcp_connections_opened_total", 5)
        await counted(mesh, "web", "istio_tcp_received_bytes_total", 5 * len("?"))
        await counted(mesh, "web", "istio_tcp_sent_bytes_total", 5 * len("red"))
    assert await greetings(1, address, HTTPS_MESH) == {"": 1}, "nobody is there any more"
    flags = {"response_flags": "UF,URX"}
    await counted(mesh, "web", "istio_tcp_connections_opened_total", 1, **flags)
    await counted(mesh, "web", "istio_tcp_connections_closed_total", 1, **flags)


async def test_counting_costs_no_proxy_a_word_in_its_log(mesh: Mesh) -> None:
    """Envoy complains of a value that is not there for each request."""
    await mesh.apply(STRICT, metrics())
    assert await mesh.client("web").many(5) == {"echo": 5}
    for proxy in mesh.proxies.values():
        log = proxy.log.read_text()
        assert "access_loggers" not in log
        assert "eprecated" not in log
        assert "wasm" not in log
