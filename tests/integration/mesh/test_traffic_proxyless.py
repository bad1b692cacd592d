"""gRPC clients that are their own proxies (`xds:///`), as `causeway up --data-plane proxyless` starts them:
their calls go straight to the servers' sidecars."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from support import mesh_examples
from support.mesh_istio import Platform, running
from support.mesh_processes import eventually
from support.mesh_proxyless import Caller, calling

from mesh.local import proxyless
from mesh.local.names import DataPlane
from mesh.local.workloads import service_host
from mesh.pki.bootstrap import IdentityFiles
from services.common.config import Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEST, EAST = "us-west-2", "us-east-1"
MESSAGES = "/causeway.session.v1.MessageService/ListMessages"
LIST = "/causeway.session.v1.ConversationService/ListConversations"
APPEND = "/causeway.policy.v1.AuditService/Append"
QUERY = "/causeway.policy.v1.AuditService/Query"
GENERATE = "/inference.GRPCInferenceService/ModelStreamInfer"
EMBED = "/inference.GRPCInferenceService/ModelInfer"
OLD = {f"triton@{WEST}", f"triton@{EAST}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    home = tmp_path_factory.mktemp("proxyless")
    async with running(home, mesh_examples.sources, DataPlane.PROXYLESS) as platform:
        yield platform


def folder(platform: Platform, process: str) -> Path:
    """A workload's identity and bootstraps."""
    return platform.layout.proxy(f"envoy-{process}")


@asynccontextmanager
async def gateway(platform: Platform, app: str, region: str = WEST) -> AsyncIterator[Caller]:
    """The gateway of a region as a client of another service."""
    for echo in platform.echoes.values():
        echo.well()
    peer = Peer(platform.plan.target("gateway", app, region), service_host(app))
    async with calling(peer, folder(platform, f"gateway@{region}") / proxyless.FILE) as caller:
        yield caller


@pytest.mark.parametrize("region", [WEST, EAST])
async def test_calls_go_to_the_own_region_over_mutual_tls_with_the_clients_identity(
    platform: Platform, region: str
) -> None:
    async with gateway(platform, "session", region) as caller:
        assert await caller.many(100, method=MESSAGES) == {f"session@{region}": 100}
        certificate = (await caller.received(MESSAGES))["x-forwarded-client-cert"]
    assert "URI=spiffe://cluster.local/ns/causeway/sa/gateway" in certificate
    stats = await platform.proxies[f"envoy-gateway@{region}"].stats(
        "cluster.outbound.*session.*upstream_rq_total"
    )
    assert sum(stats.values()) == 0, "not by way of its own sidecar"


async def test_the_servers_sidecar_still_decides_who_may_call_what(platform: Platform) -> None:
    async with gateway(platform, "policy") as caller:
        assert await caller.who(APPEND) == f"policy@{WEST}"
        assert await caller.who(QUERY) == "PERMISSION_DENIED"
    async with gateway(platform, "session") as caller:
        assert await caller.who(LIST) == "PERMISSION_DENIED"


async def test_a_client_with_anothers_identity_is_told_nothing(platform: Platform, tmp_path: Path) -> None:
    own, another = (IdentityFiles(folder(platform, f"{app}@{WEST}")) for app in ("gateway", "session"))
    document = (own.folder / proxyless.FILE).read_text()
    for mine, theirs in ((own.certificate, another.certificate), (own.key, another.key)):
        assert str(mine) in document
        document = document.replace(str(mine), str(theirs))
    stolen = tmp_path / proxyless.FILE
    stolen.write_text(document)
    peer = Peer(platform.plan.target("gateway", "session", WEST), service_host("session"))
    async with calling(peer, stolen) as caller:
        assert await caller.who(MESSAGES) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert platform.echoes[f"session@{WEST}"].total == 0


async def test_all_hosts_of_a_region_share_the_calls(platform: Platform) -> None:
    await mesh_examples.apply(platform, "")
    async with mesh_examples.another(platform, "triton", "v2") as v2, gateway(platform, "triton") as caller:

        async def half_each() -> bool:
            found = await caller.many(100, method=EMBED, at_once=1)
            return found == {f"triton@{WEST}": 50, v2.name: 50}

        await eventually(half_each, "calls in turn")


async def test_a_canary_gets_its_share_and_who_asks_for_it(platform: Platform) -> None:
    await mesh_examples.apply(platform, "canary")
    async with mesh_examples.another(platform, "triton", "v2") as v2, gateway(platform, "triton") as caller:

        async def there() -> bool:
            found = await caller.many(10, method=GENERATE, x_causeway_canary="always")
            return found == {v2.name: 10}

        await eventually(there, "the canary")
        count = 5000
        found = await caller.many(count, method=GENERATE)
        assert set(found) == {f"triton@{WEST}", v2.name}, found
        assert abs(100 * found[v2.name] / count - 10) < 2, found
        assert set(await caller.many(200, method=EMBED)) == {f"triton@{WEST}"}


async def test_a_route_moves_while_calls_go_on_and_none_fails(platform: Platform) -> None:
    await mesh_examples.apply(platform, "mirror")
    async with mesh_examples.another(platform, "triton", "v2") as v2, gateway(platform, "triton") as caller:
        calls = asyncio.create_task(caller.many(1000, method=GENERATE, each=0.005))
        for example in ("canary", "mirror", "canary"):
            await mesh_examples.apply(platform, example)
            await asyncio.sleep(0.5)
        found = await calls
    assert set(found) <= {*OLD, v2.name}, found


async def test_when_a_host_dies_the_other_region_answers_and_no_call_fails(platform: Platform) -> None:
    west = platform.proxies[f"envoy-session@{WEST}"]
    async with gateway(platform, "session") as caller:
        assert await caller.who(MESSAGES) == f"session@{WEST}"
        calls = asyncio.create_task(caller.many(400, method=MESSAGES, each=0.01))
        await asyncio.sleep(1.0)
        west.kill()
        found = await calls
        assert set(found) == {f"session@{WEST}", f"session@{EAST}"}, found
        assert await caller.many(20, method=MESSAGES) == {f"session@{EAST}": 20}
        west.start()

        async def back() -> bool:
            return await caller.many(20, method=MESSAGES) == {f"session@{WEST}": 20}

        await eventually(back, "the own region")


async def test_what_may_not_be_repeated_is_not(platform: Platform) -> None:
    await mesh_examples.apply(platform, "")
    async with gateway(platform, "triton") as caller:
        echoes = [platform.echoes[name] for name in OLD]
        for echo in echoes:
            echo.fails = grpc.StatusCode.UNAVAILABLE
        assert await caller.who(GENERATE) == "UNAVAILABLE"
        assert sum(echo.calls[GENERATE] for echo in echoes) == 1
        for echo in echoes:
            echo.well()


async def test_what_may_be_repeated_is(platform: Platform) -> None:
    async with gateway(platform, "triton") as caller:
        echoes = [platform.echoes[name] for name in OLD]
        for echo in echoes:
            echo.fails = grpc.StatusCode.UNAVAILABLE
        assert await caller.who(EMBED) == "UNAVAILABLE"
        assert sum(echo.calls[EMBED] for echo in echoes) == 3
        platform.echoes[f"triton@{EAST}"].well()

        async def moved() -> bool:
            return await caller.who(EMBED) == f"triton@{EAST}"

        # One host of the own region is enough for gRPC to stay there, until it ejects it.
        await eventually(moved, "the other region")
        for echo in echoes:
            echo.well()
