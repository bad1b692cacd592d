"""What an ingress lets through of each tenant's reads: the very filter of istio/, with a smaller bucket."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml as pyyaml
from support.mesh import Mesh, running
from support.mesh_echo import Client
from support.mesh_ingress import GATEWAY, INSTANCES, STRICT, filters, outside, routes, tokens

from fakes.tokens import Issuer
from services.common.errors import Code, Reason
from services.common.status import from_call, to_status
from services.policy.envoy.authorization import binary
from services.policy.errors import RateLimited

pytestmark = pytest.mark.asyncio(loop_scope="module")

ISTIO = Path(__file__).parents[3] / "istio"
FILTER = "envoy.filters.http.local_ratelimit"
ROOM = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("limits"), INSTANCES) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def the_filter() -> dict[str, Any]:
    """The patch of istio/ that limits reads."""
    documents = pyyaml.safe_load_all((ISTIO / "base" / "ingress-filters.yaml").read_text())
    patches = [patch for document in documents for patch in document["spec"]["configPatches"]]
    (found,) = [patch for patch in patches if patch["patch"].get("value", {}).get("name") == FILTER]
    return copy.deepcopy(found)


def small() -> str:
    """The same with room for a few reads, which does not fill again while a test runs."""
    patch = the_filter()
    (descriptor,) = patch["patch"]["value"]["typed_config"]["descriptors"]
    descriptor["token_bucket"] = {"max_tokens": ROOM, "tokens_per_fill": 1, "fill_interval": "3600s"}
    return filters("reads", pyyaml.safe_dump([patch]))


async def reads(client: Client, token: str, count: int, kind: str = "read") -> list[str]:
    return [await client.code(authorization=token, x_causeway_class=kind) for _ in range(count)]


async def test_each_tenant_has_room_of_its_own(mesh: Mesh, issuer: Issuer) -> None:
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer), small())
    acme, globex = (issuer.metadata(tenant=name)[0][1] for name in ("acme", "globex"))
    async with outside(mesh) as client:
        assert await reads(client, acme, ROOM + 2) == ["OK"] * ROOM + ["RESOURCE_EXHAUSTED"] * 2
        assert await reads(client, globex, ROOM + 1) == ["OK"] * ROOM + ["RESOURCE_EXHAUSTED"]


async def test_what_costs_is_not_limited_here(mesh: Mesh, issuer: Issuer) -> None:
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer), small())
    token = issuer.metadata(tenant="initech")[0][1]
    async with outside(mesh) as client:
        assert await reads(client, token, ROOM + 2, "chat") == ["OK"] * (ROOM + 2)


async def test_who_is_refused_hears_when_to_come_back(mesh: Mesh, issuer: Issuer) -> None:
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer), small())
    token = issuer.metadata(tenant="hooli")[0][1]
    async with outside(mesh) as client:
        await reads(client, token, ROOM)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call(authorization=token, x_causeway_class="read")
    told = from_call(caught.value)
    assert told is not None
    assert told.status == (Code.RESOURCE_EXHAUSTED, Reason.RATE_LIMITED)
    assert told.retry_after == timedelta(seconds=1)


async def test_it_says_so_in_the_policy_services_words() -> None:
    added = the_filter()["patch"]["value"]["typed_config"]["response_headers_to_add"]
    headers = {item["header"]["key"]: item["header"]["value"] for item in added}
    assert headers == {
        "retry-after": "1",
        "grpc-status-details-bin": binary(to_status(RateLimited(timedelta(seconds=1)), "")),
    }
