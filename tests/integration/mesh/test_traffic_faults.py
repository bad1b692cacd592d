"""What goes wrong on purpose, and what is done about what goes wrong: faults, time limits, retries."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import SAY
from support.mesh_manifests import Instance, host, yaml

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = [
    Instance(name="caller", app="caller"),
    Instance(name="one", app="echo"),
    Instance(name="two", app="echo", version="v2"),
]
ECHO = host("echo")
ROUTE = f"route: [{{destination: {{host: {ECHO}}}}}]"
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
NO_RETRIES = yaml(
    "IstioOperator", "mesh", "meshConfig: {defaultHttpRetryPolicy: {attempts: 0}}", "istio-system"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("faults"), INSTANCES) as mesh:
        yield mesh


async def apply(mesh: Mesh, http: str, *more: str) -> None:
    """Routes of the service; calls are repeated only where they say so."""
    await mesh.apply(
        STRICT, NO_RETRIES, *more, yaml("VirtualService", "echo", f"hosts: [{ECHO}]\nhttp:\n{http}")
    )


def balanced(simple: str = "ROUND_ROBIN") -> str:
    return yaml(
        "DestinationRule", "echo", f"host: {ECHO}\ntrafficPolicy: {{loadBalancer: {{simple: {simple}}}}}"
    )


async def test_an_abort_hits_its_percentage_with_its_status(mesh: Mesh) -> None:
    await apply(
        mesh,
        f"- fault: {{abort: {{percentage: {{value: 20}}, grpcStatus: RESOURCE_EXHAUSTED}}}}\n  {ROUTE}",
    )
    found = await mesh.client("caller").many(1000)
    assert set(found) == {"one", "two", "RESOURCE_EXHAUSTED"}
    # Five standard deviations of a binomial with 1,000 trials are 63.
    assert abs(found["RESOURCE_EXHAUSTED"] - 200) < 64
    assert mesh.echoes["one"].total + mesh.echoes["two"].total == 1000 - found["RESOURCE_EXHAUSTED"]


async def test_a_fault_is_for_the_requests_that_match(mesh: Mesh) -> None:
    await apply(
        mesh,
        f"""
- match: [{{headers: {{x-test: {{exact: chaos}}}}}}]
  fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 503}}}}
  {ROUTE}
- {ROUTE}
""",
    )
    client = mesh.client("caller")
    assert await client.code(x_test="chaos") == "UNAVAILABLE"
    assert set(await client.many(50)) == {"one", "two"}


async def test_a_delay_hits_its_percentage(mesh: Mesh) -> None:
    await apply(mesh, f"- fault: {{delay: {{percentage: {{value: 50}}, fixedDelay: 30s}}}}\n  {ROUTE}")
    # A delay that no machine is slow enough for: a call is over soon, or not before the time limit.
    found = await mesh.client("caller").many(60, at_once=60, timeout=3.0)
    assert set(found) == {"one", "two", "DEADLINE_EXCEEDED"}
    # Five standard deviations of a binomial with 60 trials are 19.4.
    assert abs(found["DEADLINE_EXCEEDED"] - 30) < 20


async def test_a_delay_is_as_long_as_it_says(mesh: Mesh) -> None:
    await apply(mesh, f"- fault: {{delay: {{percentage: {{value: 100}}, fixedDelay: 0.7s}}}}\n  {ROUTE}")
    began = time.monotonic()
    assert await mesh.client("caller").code() == "OK"
    # Envoy's timers count whole milliseconds, and may be early by one.
    assert 0.69 < time.monotonic() - began < 30


async def test_a_routes_timeout_ends_a_call_that_has_no_deadline(mesh: Mesh) -> None:
    await apply(mesh, f"- timeout: 0.3s\n  {ROUTE}")
    mesh.echoes["one"].delay = mesh.echoes["two"].delay = 60.0
    began = time.monotonic()
    # Envoy's 504 is UNAVAILABLE to gRPC clients, here as under Istio.
    assert await mesh.client("caller").code(timeout=None) == "UNAVAILABLE"
    assert time.monotonic() - began < 30


async def test_a_callers_own_deadline_ends_its_call(mesh: Mesh) -> None:
    await apply(mesh, f"- timeout: 60s\n  {ROUTE}")
    mesh.echoes["one"].delay = mesh.echoes["two"].delay = 60.0
    assert await mesh.client("caller").code(timeout=0.5) == "DEADLINE_EXCEEDED"


async def test_a_deadline_reaches_the_server(mesh: Mesh) -> None:
    await apply(mesh, f"- {ROUTE}")
    answer = await mesh.client("caller").call(timeout=40.0)
    assert 5 < float(answer.metadata["time-remaining"]) < 41
    answer = await mesh.client("caller").call(timeout=None)
    assert "time-remaining" not in answer.metadata


async def test_retries_hide_a_failing_instance(mesh: Mesh) -> None:
    await apply(mesh, f"- retries: {{attempts: 2, retryOn: unavailable}}\n  {ROUTE}", balanced())
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    one.fails = grpc.StatusCode.UNAVAILABLE
    assert await mesh.client("caller").many(50, at_once=4) == {"two": 50}
    assert one.total > 0, "it was tried"
    assert two.total == 50


async def test_methods_without_retries_are_made_once(mesh: Mesh) -> None:
    await apply(
        mesh,
        f"""
- match: [{{uri: {{exact: {SAY}}}}}]
  retries: {{attempts: 2, retryOn: unavailable}}
  {ROUTE}
- match: [{{uri: {{exact: /test.Echo/Pay}}}}]
  {ROUTE}
- match: [{{uri: {{exact: /test.Echo/Never}}}}]
  retries: {{attempts: 0}}
  {ROUTE}
""",
        balanced(),
    )
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    one.fails = two.fails = grpc.StatusCode.UNAVAILABLE
    client = mesh.client("caller")
    for method, tries in ((SAY, 3), ("/test.Echo/Pay", 1), ("/test.Echo/Never", 1)):
        assert await client.code(method) == "UNAVAILABLE"
        assert one.calls[method] + two.calls[method] == tries, method


async def test_without_a_word_on_retries_istios_two_are_made(mesh: Mesh) -> None:
    await mesh.apply(STRICT, balanced())
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    one.fails = two.fails = grpc.StatusCode.UNAVAILABLE
    assert await mesh.client("caller").code() == "UNAVAILABLE"
    assert one.total + two.total == 3


@pytest.mark.parametrize(
    "status, tries",
    [
        (grpc.StatusCode.UNAVAILABLE, 2),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.INTERNAL, 1),
    ],
)
async def test_only_what_retryon_names_is_tried_again(
    mesh: Mesh, status: grpc.StatusCode, tries: int
) -> None:
    await apply(mesh, f"- retries: {{attempts: 1, retryOn: 'unavailable,reset'}}\n  {ROUTE}", balanced())
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    one.fails = two.fails = status
    assert await mesh.client("caller").code() == status.name
    assert one.total + two.total == tries


async def test_a_retry_goes_to_another_instance(mesh: Mesh) -> None:
    await apply(mesh, f"- retries: {{attempts: 1, retryOn: unavailable}}\n  {ROUTE}", balanced())
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    one.fails = two.fails = grpc.StatusCode.UNAVAILABLE
    for number in range(1, 11):
        assert await mesh.client("caller").code() == "UNAVAILABLE"
        assert (one.total, two.total) == (number, number)


async def test_a_try_that_hangs_is_given_up_for_another(mesh: Mesh) -> None:
    await apply(
        mesh,
        "- timeout: 60s\n"
        "  retries: {attempts: 2, perTryTimeout: 0.3s, retryOn: 'unavailable,reset'}\n"
        f"  {ROUTE}",
        balanced(),
    )
    mesh.echoes["one"].delay = 60.0
    assert await mesh.client("caller").many(10, at_once=2) == {"two": 10}
