"""What `istio/examples/` does to the generations of a running platform, applied as the folders they are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support import mesh_examples
from support.mesh_echo import Client, Echo, Load
from support.mesh_examples import REGION
from support.mesh_istio import Platform, running
from support.mesh_processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERATE = "/inference.GRPCInferenceService/ModelStreamInfer"
EMBED = "/inference.GRPCInferenceService/ModelInfer"
READY = "/inference.GRPCInferenceService/ModelReady"
OLD = {f"triton@{region}" for region in ("us-west-2", "us-east-1")}
"""A busy machine misses a health check now and then, and the other region helps out."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with running(tmp_path_factory.mktemp("examples"), mesh_examples.sources) as platform:
        yield platform


@pytest_asyncio.fixture(loop_scope="module")
async def v2(platform: Platform) -> AsyncIterator[Echo]:
    """The new version: the mirror's example comes first, so that nobody depends on it yet."""
    await mesh_examples.apply(platform, "mirror")
    async with mesh_examples.another(platform, "triton", "v2") as echo:
        yield echo
    for name in OLD:
        platform.echoes[name].streams = {}


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(platform: Platform) -> AsyncIterator[Client]:
    """Calls Triton as the gateway does."""
    async with platform.inside("gateway", REGION, "triton") as client:
        yield client


async def test_a_tenth_of_the_generations_goes_to_the_canary_and_no_embedding(
    platform: Platform, v2: Echo, gateway: Client
) -> None:
    await mesh_examples.apply(platform, "canary")
    count = 5000
    found = await gateway.many(count, method=GENERATE)
    assert set(found) <= OLD | {v2.name}, found
    assert abs(100 * found[v2.name] / count - 10) < 2, found
    for method in (EMBED, READY):
        found = await gateway.many(200, method=method)
        assert set(found) <= OLD, f"{method} answered by {found}"


async def test_who_asks_for_the_canary_gets_it(platform: Platform, v2: Echo, gateway: Client) -> None:
    await mesh_examples.apply(platform, "canary")
    assert await gateway.many(200, method=GENERATE, x_causeway_canary="always") == {v2.name: 200}
    found = await gateway.many(50, method=EMBED, x_causeway_canary="always")
    assert set(found) <= OLD, "vectors of two models cannot be compared"


async def test_a_stream_stays_with_the_version_it_began_with(
    platform: Platform, v2: Echo, gateway: Client
) -> None:
    await mesh_examples.apply(platform, "canary")
    more = asyncio.Event()

    def says(name: str) -> Any:
        async def handler(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield name.encode()
            await more.wait()
            yield name.encode()

        return {GENERATE: handler}

    v2.streams = says(v2.name)
    for name in OLD:
        platform.echoes[name].streams = says(name)
    new = gateway.watch(GENERATE, x_causeway_canary="always")
    assert await new.read() == v2.name.encode()
    await mesh_examples.apply(platform, "mirror")
    old = gateway.watch(GENERATE, x_causeway_canary="always")
    assert (await old.read()).decode() in OLD, "nobody is sent to the canary any more"
    more.set()
    assert await new.read() == v2.name.encode()
    assert (await old.read()).decode() in OLD
    assert await new.read() is grpc.aio.EOF


async def test_a_mirror_gets_every_hundredth_generation_and_nobody_sees_what_it_answers(
    platform: Platform, v2: Echo, gateway: Client
) -> None:
    v2.fails = grpc.StatusCode.INTERNAL
    count = 5000
    found = await gateway.many(count, method=GENERATE)
    assert set(found) <= OLD, found
    assert set(await gateway.many(500, method=EMBED)) <= OLD

    async def all_there() -> bool:
        before = v2.total
        await asyncio.sleep(0.5)
        return v2.total == before

    await eventually(all_there, "the last copies")
    # Five standard deviations of a binomial with 5,000 trials are 35.
    assert abs(v2.calls[GENERATE] - 50) < 36, v2.calls
    assert v2.total == v2.calls[GENERATE], "embeddings are not copied"


async def test_a_version_comes_by_mirror_and_canary_and_goes_and_no_generation_fails(
    platform: Platform, gateway: Client
) -> None:
    """In the order that the examples give: whoever applies the canary before its pods run, or starts pods
    before either, has calls that fail, or a full share for the new version."""
    await mesh_examples.apply(platform, "")
    async with Load(gateway, each=0.02, method=GENERATE) as load:

        async def seen(*expected: str) -> None:
            async def so() -> bool:
                return set(expected) <= set(load.counts(began))

            began = time.monotonic()
            await eventually(so, f"answers by {expected}")

        await seen(f"triton@{REGION}")
        await mesh_examples.apply(platform, "mirror")
        async with mesh_examples.another(platform, "triton", "v2") as v2:

            async def copied() -> bool:
                return v2.calls[GENERATE] > 0

            await eventually(copied, "a copy", limit=60.0)
            assert v2.name not in load.counts()
            await mesh_examples.apply(platform, "canary")
            await seen(v2.name)
            await mesh_examples.apply(platform, "mirror")
        await mesh_examples.apply(platform, "")
    assert set(load.counts()) <= {*OLD, v2.name}, Counter(load.failures)
