"""What istio/ says, as calls over the platform's own two regions show it: every control plane and every Envoy
is real, and takes all it is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.mesh_echo import Client, Echo, Load
from support.mesh_istio import ASK, LIMIT, SERVES, Platform, running
from support.mesh_processes import eventually
from support.mesh_tls import through_tls, tls

from mesh.local.addresses import INBOUND
from mesh.local.names import in_region
from mesh.local.topology_files import PLATFORM_HOST
from mesh.pki.bootstrap import IdentityFiles, ensure
from mesh.pki.regional import RegionalAuthority
from mesh.pki.svid import Identity

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEST, EAST = "us-west-2", "us-east-1"
LIST = "/causeway.session.v1.ConversationService/ListConversations"
MESSAGES = "/causeway.session.v1.MessageService/ListMessages"
MODELS = "/causeway.gateway.v1.ChatService/ListModels"
EMBED = "/causeway.gateway.v1.ChatService/Embed"
CHAT = "/causeway.gateway.v1.ChatService/Complete"
STREAM = "/causeway.gateway.v1.ChatService/Chat"
SEARCH = "/causeway.retrieval.v1.SearchService/Search"
APPEND = "/causeway.policy.v1.AuditService/Append"
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with running(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


async def test_every_proxy_takes_all_it_is_sent(platform: Platform) -> None:
    assert await platform.in_step()
    assert len(platform.proxies) == 15
    for name, proxy in platform.proxies.items():
        counters = await proxy.stats("update_rejected|update_failure")
        rejected = {key: value for key, value in counters.items() if value and "rejected" in key}
        assert rejected == {}, f"{name}: {proxy.log.read_text()[-3000:]}"


async def test_people_reach_services_through_the_front_with_a_token(platform: Platform) -> None:
    async with platform.outside() as client:
        for method, app in ((LIST, "session"), (MODELS, "gateway"), (SEARCH, "retrieval")):
            answer = await client.call(method, authorization=platform.token())
            assert answer.instance.startswith(f"{app}@")
            assert "sa/ingress" in answer.metadata["x-forwarded-client-cert"]


async def test_people_without_a_good_token_reach_nothing(platform: Platform) -> None:
    for echo in platform.echoes.values():
        echo.calls.clear()
    async with platform.outside() as client:
        assert await client.code(LIST) == "PERMISSION_DENIED"
        assert await client.code(LIST, authorization="Bearer nonsense") == "UNAUTHENTICATED"
    assert [name for name, echo in platform.echoes.items() if echo.calls[LIST] or echo.calls[ASK]] == []


async def test_people_cannot_call_what_only_services_call(platform: Platform) -> None:
    async with platform.outside() as client:
        for method in (APPEND, INFER, ASK, LIMIT, "/causeway.policy.v1.QuotaService/Reserve"):
            assert await client.code(method, authorization=platform.token()) in {
                "PERMISSION_DENIED",
                "UNIMPLEMENTED",
            }, method


@pytest.mark.parametrize("method, counted", [(LIST, 0), (MODELS, 0), (CHAT, 5), (EMBED, 5)])
async def test_the_policy_service_is_asked_about_each_call_and_counts_those_that_cost(
    platform: Platform, method: str, counted: int
) -> None:
    policy = [platform.echoes[f"policy@{region}"] for region in (WEST, EAST)]
    for echo in policy:
        echo.calls.clear()
    async with platform.outside() as client:
        for _ in range(5):
            assert await client.code(method, authorization=platform.token()) == "OK"
    assert sum(echo.calls[ASK] for echo in policy) == 5
    assert sum(echo.calls[LIMIT] for echo in policy) == counted


async def test_answers_are_spread_over_the_regions_whatever_the_rhythm_of_the_other_calls(
    platform: Platform,
) -> None:
    over = asyncio.Event()

    def answers(region: str) -> Any:
        async def handler(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield region.encode()
            await over.wait()

        return handler

    for region in (WEST, EAST):
        platform.echoes[f"gateway@{region}"].streams[STREAM] = answers(region)
    try:
        async with platform.outside() as client:
            client.always = {"authorization": platform.token()}

            async def both() -> bool:
                healthy = await platform.proxies["front"].stats("outbound.*ingress.*membership_healthy")
                answered = await client.many(20, at_once=1, method=MODELS)
                return set(healthy.values()) == {2} and set(answered.values()) == {10}

            await eventually(both, "turns")
            found: Counter[str] = Counter()
            others: Counter[str] = Counter()
            for _ in range(12):
                stream = client.watch(STREAM)
                found[(await stream.read()).decode()] += 1
                others += await client.many(5, at_once=1, method=MODELS)
            # Were they to share their turns, an even number of calls would lie between two answers.
            assert min(found[region] for region in (WEST, EAST)) >= 4, found
            assert min(others[f"gateway@{region}"] for region in (WEST, EAST)) >= 20, others
    finally:
        over.set()
        for region in (WEST, EAST):
            platform.echoes[f"gateway@{region}"].streams = {}


@asynccontextmanager
async def undecided(platform: Platform, region: str) -> AsyncIterator[Echo]:
    """A region's policy service takes questions and health checks, and answers health checks only."""
    silent = platform.echoes[f"policy@{region}"]
    silent.calls.clear()
    silent.serves = {path: answer for path, answer in SERVES.items() if path != ASK}
    silent.delay = 5.0
    try:
        yield silent
    finally:
        silent.serves, silent.delay = SERVES, 0.0


@pytest.mark.parametrize("method", [MODELS, CHAT])
async def test_a_call_that_a_region_cannot_decide_on_goes_to_another(platform: Platform, method: str) -> None:
    """Also one that must not be made twice: nobody has begun on it."""
    async with undecided(platform, WEST) as silent, platform.outside() as client:
        client.always = {"authorization": platform.token()}
        found: Counter[str] = Counter()

        async def asked() -> bool:
            found.update(await client.many(8, at_once=8, method=method))
            # One that did not answer is left out for some seconds.
            return silent.calls[ASK] > 0

        await eventually(asked, "a question to the silent region")
    assert set(found) <= {f"gateway@{region}" for region in (WEST, EAST)}, found


async def test_an_ingress_marks_what_it_could_not_decide(platform: Platform) -> None:
    async with undecided(platform, EAST), platform.outside(platform.ingress(EAST)) as client:

        async def marked() -> bool:
            call = client.unary(MODELS, metadata=[("authorization", platform.token())])
            headers = {**dict(await call.initial_metadata()), **dict(await call.trailing_metadata())}
            assert ("x-causeway-undecided" in headers) == (await call.code() == grpc.StatusCode.UNAVAILABLE)
            return "x-causeway-undecided" in headers

        await eventually(marked, "a call that nobody decides on")
        refused = client.unary(MODELS)
        assert await refused.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "x-causeway-undecided" not in dict(await refused.trailing_metadata()), "that is decided"


@pytest.mark.parametrize("region", [WEST, EAST])
async def test_a_region_serves_itself(platform: Platform, region: str) -> None:
    async def by_its_own(client: Client, method: str) -> bool:
        # A busy machine misses a health check now and then, and the other region helps out.
        client.always = {"authorization": platform.token()}
        return await client.many(20, at_once=4, method=method) == {f"session@{region}": 20}

    async with platform.outside(platform.ingress(region)) as client:
        await eventually(lambda: by_its_own(client, LIST), "answers by its own")
    async with platform.inside("gateway", region, "session") as client:
        await eventually(lambda: by_its_own(client, MESSAGES), "answers by its own")


async def test_services_may_call_what_they_need_and_nothing_else(platform: Platform) -> None:
    async with platform.inside("gateway", WEST, "policy") as client:
        assert await client.code(APPEND) == "OK"
        assert await client.code("/causeway.policy.v1.AuditService/Query") == "PERMISSION_DENIED"
    async with platform.inside("gateway", WEST, "session") as client:
        assert await client.code(MESSAGES) == "OK"
        assert await client.code(LIST) == "PERMISSION_DENIED", "that is for people"
    async with platform.inside("gateway", WEST, "triton") as client:
        assert await client.code(INFER) == "OK"
    async with platform.inside("retrieval", WEST, "triton") as client:
        assert await client.code(INFER) == "OK"


@pytest.mark.parametrize(
    "namespace, account, code",
    [("causeway", "gateway", "PERMISSION_DENIED"), ("causeway-ingress", "ingress", "OK")],
)
async def test_only_an_ingress_may_ask_for_decisions(
    platform: Platform, tmp_path: Path, namespace: str, account: str, code: str
) -> None:
    """Who could ask could ask in anybody's name."""
    ensure(RegionalAuthority.open(platform.layout.pki, WEST), Identity(namespace, account), tmp_path)
    address = f"{platform.plan.address('policy', WEST)}:{INBOUND}"
    async with through_tls(address, tls(IdentityFiles(tmp_path), IdentityFiles(tmp_path).trust)) as client:
        call = client.unary(ASK)
        assert (await call.code()).name == code


async def test_what_may_be_repeated_is_and_what_may_not_is_not(platform: Platform) -> None:
    """One instance says UNAVAILABLE: reads go on elsewhere, and an answer that costs is not asked for
    twice."""
    async with platform.outside(platform.ingress(WEST)) as client:
        west = platform.echoes[f"gateway@{WEST}"]
        try:
            west.fails_in = dict.fromkeys((MODELS, CHAT), grpc.StatusCode.UNAVAILABLE)
            assert await client.who(MODELS, authorization=platform.token()) == f"gateway@{EAST}"

            async def back() -> bool:
                # One refusal leaves an instance out for a while.
                who = await client.who(EMBED, authorization=platform.token())
                return who == f"gateway@{WEST}"

            await eventually(back, "the region's own gateway")
            assert await client.code(CHAT, authorization=platform.token()) == "UNAVAILABLE"
        finally:
            west.well()
        await eventually(back, "the region's own gateway again")


async def test_when_a_region_dies_the_other_serves_everybody_until_it_is_back(platform: Platform) -> None:
    """How many calls that costs is for a drill to say, on a machine that does nothing else."""
    async with platform.outside() as client:
        client.always = {"authorization": platform.token()}
        async with Load(client, each=0.05, method=LIST) as load:
            own = {f"session@{region}" for region in (WEST, EAST)}

            async def both() -> bool:
                return set(load.counts()) >= own

            await eventually(both, "answers from both regions")
            for proxy in platform.of_region(WEST):
                proxy.kill()

            async def moved() -> bool:
                found = load.counts(time.monotonic() - 1.0)
                return set(found) == {f"session@{EAST}"} and found.total() > 5

            await eventually(moved, "a second in which nothing failed")
            for proxy in platform.of_region(WEST):
                proxy.start()

            async def back() -> bool:
                found = load.counts(time.monotonic() - 1.0)
                return set(found) == own

            await eventually(back, "a second in which both regions answered and nothing failed")
    await eventually(platform.in_step, "proxies in step")


BOTH = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": LIST.split("/")[1], "method": LIST.split("/")[2]}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
"""What README.md tells clients without a front to say: take turns, and try again what may be made twice."""


async def test_a_client_that_is_given_both_ingresses_needs_no_front(platform: Platform) -> None:
    doors = ",".join(platform.ingress(region) for region in (WEST, EAST))
    credentials = grpc.ssl_channel_credentials(platform.layout.ca.read_bytes())
    options = [
        ("grpc.ssl_target_name_override", PLATFORM_HOST),
        ("grpc.default_authority", PLATFORM_HOST),
        ("grpc.service_config", json.dumps(BOTH)),
    ]
    ingress = platform.proxies[in_region("ingress", WEST)]
    own = {f"session@{region}" for region in (WEST, EAST)}
    async with grpc.aio.secure_channel(f"ipv4:{doors}", credentials, options=options) as channel:
        client = Client(channel)
        client.always = {"authorization": platform.token()}
        async with Load(client, each=0.05, method=LIST) as load:

            async def served_by(*names: str) -> bool:
                found = load.counts(time.monotonic() - 1.0)
                return set(found) == set(names) and found.total() > 5

            await eventually(lambda: served_by(*own), "answers from both regions")
            ingress.kill()
            try:
                await eventually(lambda: served_by(f"session@{EAST}"), "answers by way of the other ingress")
            finally:
                ingress.start()
            await eventually(lambda: served_by(*own), "answers from both regions again")
        assert load.failures == []
    await eventually(platform.in_step, "proxies in step")
