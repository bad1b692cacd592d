"""Which region answers, and who is left out when instances fail, die or hang: locality order and outlier
ejection as calls under load show them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import Load
from support.mesh_manifests import EAST, WEST, Instance, host, yaml
from support.mesh_processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = [
    Instance(name="caller", app="caller"),
    Instance(name="caller-east", app="caller", region=EAST),
    Instance(name="west-a", app="echo"),
    Instance(name="west-b", app="echo", zone="b"),
    Instance(name="east", app="echo", region=EAST),
]
ECHO = host("echo")
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
ROUTE = f"hosts: [{ECHO}]\nhttp:\n- route: [{{destination: {{host: {ECHO}}}}}]\n"


def retries(more: str = "") -> str:
    """Enough of them to find the instance that is well."""
    conditions = "'connect-failure,refused-stream,unavailable,reset'"
    said = f"{{attempts: 3, retryOn: {conditions}, retryRemoteLocalities: true{more}}}"
    return yaml("VirtualService", "echo", f"{ROUTE}  retries: {said}")


RETRIES = retries()
NO_RETRIES = yaml("VirtualService", "echo", f"{ROUTE}  retries: {{attempts: 0}}")
FAILOVER = (
    f"localityLbSetting: {{enabled: true, failover: [{{from: {WEST}, to: {EAST}}}, "
    f"{{from: {EAST}, to: {WEST}}}]}}"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("regions"), INSTANCES) as mesh:
        yield mesh


def rule(balancer: str, *, base: str = "1s", errors: int = 1) -> str:
    """Interval: how often ejected hosts are looked at again."""
    spec = f"""
    host: {ECHO}
    trafficPolicy:
      connectionPool: {{tcp: {{connectTimeout: 0.5s}}, http: {{maxRetries: 1000}}}}
      loadBalancer: {{simple: ROUND_ROBIN, {balancer}}}
      outlierDetection:
        consecutiveGatewayErrors: {errors}
        consecutive5xxErrors: 5
        interval: 0.5s
        baseEjectionTime: {base}
        maxEjectionPercent: 100
    """
    return yaml("DestinationRule", "echo", spec)


ZONES_ASIDE = "localityLbSetting: {enabled: true, failoverPriority: [topology.kubernetes.io/region]}"


async def answered_by(mesh: Mesh, caller: str, *expected: str) -> None:
    """Wait until calls go to these, to all of them and to no other."""

    async def so() -> bool:
        found = await mesh.client(caller).many(20, at_once=4)
        return set(found) == set(expected)

    await eventually(so, f"answers from {expected}")


async def test_each_region_is_answered_by_its_own(mesh: Mesh) -> None:
    await mesh.apply(STRICT, NO_RETRIES, rule(ZONES_ASIDE))
    assert set(await mesh.client("caller").many(60)) == {"west-a", "west-b"}
    assert await mesh.client("caller-east").many(60) == {"east": 60}


async def test_the_own_zone_comes_before_the_own_region(mesh: Mesh) -> None:
    await mesh.apply(STRICT, NO_RETRIES, rule(FAILOVER))
    assert await mesh.client("caller").many(60) == {"west-a": 60}


async def test_without_outlier_detection_there_is_no_order(mesh: Mesh) -> None:
    """As in Istio: Envoy would never leave the first priority, so there are none."""
    plain = yaml(
        "DestinationRule",
        "echo",
        f"host: {ECHO}\ntrafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, {FAILOVER}}}}}",
    )
    await mesh.apply(STRICT, NO_RETRIES, plain)
    assert set(await mesh.client("caller").many(60)) == {"west-a", "west-b", "east"}


async def test_distribute_gives_regions_their_shares(mesh: Mesh) -> None:
    shares = (
        f"localityLbSetting: {{enabled: true, distribute: [{{from: '{WEST}/*', "
        f"to: {{'{WEST}/*': 80, '{EAST}/*': 20}}}}]}}"
    )
    await mesh.apply(STRICT, NO_RETRIES, rule(shares))
    found = await mesh.client("caller").many(1000)
    # Five standard deviations of a binomial with 1,000 trials are 63.
    assert abs(found["east"] - 200) < 64, found
    assert set(found) == {"west-a", "west-b", "east"}


async def test_an_instance_that_refuses_is_left_out_and_comes_back(mesh: Mesh) -> None:
    await mesh.apply(STRICT, NO_RETRIES, rule(ZONES_ASIDE, base="2s", errors=3))
    west = mesh.echoes["west-a"]
    west.fails = grpc.StatusCode.UNAVAILABLE
    found = await mesh.client("caller").many(200, at_once=2)
    # Three to be sure, and one more that was on its way.
    assert 3 <= found["UNAVAILABLE"] <= 4, found
    # Half of a region is trusted with 70 % of its calls (Envoy's overprovisioning factor is 1.4); the rest
    # goes to the next.
    assert found["west-b"] > found["east"]
    refused = west.total
    assert set(await mesh.client("caller").many(100)) == {"west-b", "east"}
    assert west.total == refused, "it was not even asked"
    west.fails = None
    await answered_by(mesh, "caller", "west-a", "west-b")


async def test_an_error_that_is_an_answer_ejects_nobody(mesh: Mesh) -> None:
    await mesh.apply(STRICT, NO_RETRIES, rule(ZONES_ASIDE))
    mesh.echoes["west-a"].fails = grpc.StatusCode.NOT_FOUND
    found = await mesh.client("caller").many(100, at_once=2)
    assert found == {"NOT_FOUND": 50, "west-b": 50}


async def test_a_region_dies_under_load_no_call_fails_and_it_takes_over_again(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RETRIES, rule(FAILOVER))
    async with Load(mesh.client("caller")) as load:
        await asyncio.sleep(1.0)
        assert set(load.counts()) == {"west-a"}
        for name in ("west-a", "west-b"):
            mesh.proxies[name].kill()
        killed = time.monotonic()
        await asyncio.sleep(2.0)
        moved = load.counts(killed + 1.0)
        for name in ("west-a", "west-b"):
            mesh.proxies[name].start()

        async def back() -> bool:
            return set(load.counts(time.monotonic() - 0.4)) == {"west-a"}

        await eventually(back, "the own zone answers again")
    assert set(load.counts()) <= {"west-a", "west-b", "east"}, "not one failed"
    assert set(moved) == {"east"}
    await mesh.settled()


async def test_an_application_that_dies_behind_its_sidecar_is_left_out(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RETRIES, rule(FAILOVER))
    async with Load(mesh.client("caller")) as load:
        await asyncio.sleep(0.5)
        await mesh.echoes["west-a"].stop()
        await answered_by(mesh, "caller", "west-b")
        await mesh.echoes["west-a"].start()
        await answered_by(mesh, "caller", "west-a")
    assert set(load.counts()) <= {"west-a", "west-b", "east"}, "not one failed"


async def test_a_hung_instance_is_left_out_when_its_calls_time_out(mesh: Mesh) -> None:
    await mesh.apply(STRICT, retries(", perTryTimeout: 0.5s"), rule(FAILOVER, base="3s"))
    hung = mesh.proxies["west-a"].process
    async with Load(mesh.client("caller"), each=0.02) as load:
        await asyncio.sleep(0.5)
        hung.send_signal(signal.SIGSTOP)
        try:
            await answered_by(mesh, "caller", "west-b")
        finally:
            hung.send_signal(signal.SIGCONT)
        await answered_by(mesh, "caller", "west-a")
    assert set(load.counts()) <= {"west-a", "west-b", "east"}, "not one failed"


async def test_an_instance_that_drains_gets_nothing_new_and_ends_what_it_has(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RETRIES, rule(FAILOVER))
    watching = mesh.client("caller").watch()
    await watching.read()
    async with Load(mesh.client("caller")) as load:
        mesh.place(draining="west-a")
        await mesh.settled()
        await answered_by(mesh, "caller", "west-b")
        first = mesh.echoes["west-a"].calls["/test.Echo/Say"]
        assert b"west-a" in await watching.read(), "an open stream goes on"
        await asyncio.sleep(0.5)
        assert mesh.echoes["west-a"].calls["/test.Echo/Say"] == first
        mesh.place()
        await mesh.settled()
        await answered_by(mesh, "caller", "west-a")
    watching.cancel()
    assert set(load.counts()) <= {"west-a", "west-b", "east"}, "not one failed"


async def test_instances_come_and_go_under_load(mesh: Mesh) -> None:
    """A workload that is no more gets no calls, and one that is new gets its part, without a call that
    fails."""
    await mesh.apply(STRICT, RETRIES, rule(ZONES_ASIDE))
    async with Load(mesh.client("caller")) as load:
        mesh.place(without="west-b")
        await answered_by(mesh, "caller", "west-a")
        mesh.place()
        await answered_by(mesh, "caller", "west-a", "west-b")
    assert set(load.counts()) <= {"west-a", "west-b"}, "not one failed"
    await mesh.settled()
