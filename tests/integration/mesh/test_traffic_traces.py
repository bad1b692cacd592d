"""Spans that arrive at a collector over OTLP, as `istio/mesh.yaml` and `istio/base/telemetry.yaml` ask for
them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import SAY, Client
from support.mesh_manifests import WEST, Instance, host, yaml
from support.mesh_processes import eventually
from support.mesh_traces import EXPORT, Span, Spans

from mesh.local.addresses import HTTPS, INBOUND
from mesh.local.services import ISTIO
from mesh.pki.gateways import GatewayCertificates

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "api.causeway.local"
INSIDE = "causeway-ingress"
INSTANCES = [
    Instance(name="ingress", app="ingress", ingress=True, gateway_ports={"https": HTTPS}),
    Instance(name="web", app="web"),
    Instance(name="echo", app="echo"),
    Instance(name="collector", app="collector"),
]
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
GATEWAY = yaml(
    "Gateway",
    "public",
    f"""
    selector: {{istio: ingressgateway}}
    servers:
    - port: {{number: 443, name: https, protocol: HTTPS}}
      hosts: [{NAME}]
      tls: {{mode: SIMPLE, credentialName: api}}
    """,
    INSIDE,
)
ROUTE = yaml(
    "VirtualService",
    "api",
    f"""
    hosts: [{NAME}]
    gateways: [public]
    http: [{{route: [{{destination: {{host: {host("web")}, port: {{number: 8080}}}}}}]}}]
    """,
    INSIDE,
)
MESH = (ISTIO / "mesh.yaml").read_text()
TELEMETRY = (ISTIO / "base" / "telemetry.yaml").read_text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("traces"), INSTANCES) as mesh:
        yield mesh


@pytest.fixture
def spans(mesh: Mesh) -> Spans:
    """What the collector gets from now on."""
    spans = Spans()
    mesh.echoes["collector"].serves = {EXPORT: spans.take}
    return spans


def collector(mesh: Mesh) -> str:
    """The service that mesh.yaml speaks of."""
    spec = f"""
    hosts: [otel-collector.observability.svc.cluster.local]
    location: MESH_INTERNAL
    resolution: STATIC
    ports: [{{number: 4317, name: grpc, protocol: GRPC, targetPort: {INBOUND}}}]
    endpoints: [{{address: {mesh.network.address("collector")}, serviceAccount: collector,
      labels: {{security.istio.io/tlsMode: istio}}}}]
    """
    return yaml("ServiceEntry", "otel-collector", spec)


async def apply(mesh: Mesh, *more: str, telemetry: str = TELEMETRY) -> None:
    await mesh.apply(MESH, telemetry, STRICT, GATEWAY, ROUTE, collector(mesh), *more)


@asynccontextmanager
async def outside(mesh: Mesh) -> AsyncIterator[Client]:
    """A client as people have one."""
    roots = GatewayCertificates(mesh.pki, WEST).trust.read_bytes()
    options = [("grpc.ssl_target_name_override", NAME)]
    target = f"{mesh.network.address('ingress')}:{HTTPS}"
    credentials = grpc.ssl_channel_credentials(roots)
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        yield Client(channel)


async def traced(mesh: Mesh) -> str:
    """A call from outside over three proxies that its caller wants to see traced; the trace's id."""
    async with outside(mesh) as client:
        reached = (await client.call(x_client_trace_id="look")).metadata
    # What an application has to do: hand on what it got.
    trace, request = reached["traceparent"], reached["x-request-id"]
    await mesh.client("web").call(traceparent=trace, x_request_id=request)
    return trace.split("-")[1]


async def whole(spans: Spans, trace: str, count: int) -> list[Span]:
    """The spans of a trace, from the first to the last of its chain, once there are so many."""

    async def there() -> bool:
        return len(spans.of(trace)) >= count

    await eventually(there, f"{count} spans")
    left = {span.parent: span for span in spans.of(trace)}
    chain, parent = [], ""
    while parent in left:
        chain.append(left.pop(parent))
        parent = chain[-1].id
    assert not left, "every span has the one before it as its parent"
    return chain


async def test_a_call_over_three_proxies_is_one_trace_with_services_and_regions(
    mesh: Mesh, spans: Spans
) -> None:
    await apply(mesh)
    found = await whole(spans, await traced(mesh), 5)
    inside, web, echo = "ingress.causeway-ingress", "web.causeway", "echo.causeway"
    assert [span.service for span in found] == [inside, inside, web, web, echo]
    assert {span.tags["region"] for span in found} == {WEST}
    assert {span.tags["grpc.status_code"] for span in found} == {"0"}
    assert [found[at].tags["upstream_cluster"].split("|")[-1] for at in (0, 3)] == [host("web"), host("echo")]


async def test_one_call_in_a_hundred_is_traced_at_every_proxy_on_its_way(mesh: Mesh, spans: Spans) -> None:
    await apply(mesh)
    assert await mesh.client("web").many(4000) == {"echo": 4000}

    def traces() -> dict[str, set[str]]:
        calls = {span.trace for span in spans.all if span.tags.get("grpc.path") == SAY}
        return {trace: {span.service for span in spans.of(trace)} for trace in calls}

    async def complete() -> bool:
        found = traces()
        return len(found) > 8 and all(
            services == {"web.causeway", "echo.causeway"} for services in found.values()
        )

    await eventually(complete, "both ends of each trace")
    # Five standard deviations of a binomial with 4,000 trials are 31.
    assert abs(len(traces()) - 40) < 32


async def test_a_workload_may_have_other_tags_and_another_share(mesh: Mesh, spans: Spans) -> None:
    more = """
    selector: {matchLabels: {app: web}}
    tracing:
    - randomSamplingPercentage: 100
      customTags:
        tenant: {header: {name: x-tenant}}
        stage: {literal: {value: test}}
    """
    await apply(mesh, yaml("Telemetry", "web", more))
    await mesh.client("web").call(x_tenant="acme")

    async def there() -> bool:
        # Spans of calls before this one may come late.
        return any(span.service == "web.causeway" and "tenant" in span.tags for span in spans.all)

    await eventually(there, "a span that nobody had asked for")
    span = next(span for span in spans.all if "tenant" in span.tags)
    assert (span.tags["tenant"], span.tags["stage"]) == ("acme", "test")


async def test_a_workload_whose_spans_are_switched_off_leaves_the_trace_whole(
    mesh: Mesh, spans: Spans
) -> None:
    silent = "selector: {matchLabels: {app: web}}\ntracing: [{disableSpanReporting: true}]"
    await apply(mesh, yaml("Telemetry", "web", silent))
    found = await whole(spans, await traced(mesh), 3)
    assert [span.service for span in found] == ["ingress.causeway-ingress"] * 2 + ["echo.causeway"]


async def test_without_a_collector_no_call_fails_and_spans_come_when_it_is_back(
    mesh: Mesh, spans: Spans
) -> None:
    await apply(mesh)
    await mesh.echoes["collector"].stop()
    async with outside(mesh) as client:
        client.always = {"x-client-trace-id": "look"}
        assert await client.many(500) == {"web": 500}
    await mesh.echoes["collector"].start()

    async def back() -> bool:
        await traced(mesh)
        return len(spans.all) > 0

    await eventually(back, "spans again")
