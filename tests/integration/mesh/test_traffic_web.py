"""The platform as a page in a browser meets it: gRPC-Web and CORS, at the front and at a region's ingress,
from the manifests in istio/."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.mesh_istio import ASK, Platform, running
from support.mesh_web import BINARY, CALLS_WITH, TEXT, Browser, WebAnswer

from mesh.local.topology_files import PLATFORM_HOST

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGIONS = ("us-west-2", "us-east-1")
LIST = "/causeway.session.v1.ConversationService/ListConversations"
CHAT = "/causeway.gateway.v1.ChatService/Chat"
MODELS = "/causeway.gateway.v1.ChatService/ListModels"
SEARCH = "/causeway.retrieval.v1.SearchService/Search"
QUOTA = "/causeway.policy.v1.QuotaService/GetQuota"
PAGE = "https://app.causeway.local"
ALLOWED = "access-control-allow-origin"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with running(tmp_path_factory.mktemp("web")) as platform:
        yield platform


@pytest.fixture(params=["front", "ingress"])
def door(request: pytest.FixtureRequest, platform: Platform) -> str:
    """Where a page's calls go; nothing has been called yet."""
    for echo in platform.echoes.values():
        echo.well()
        echo.streams = {}
    return platform.plan.front if request.param == "front" else platform.ingress(REGIONS[0])


def page(platform: Platform, door: str, origin: str = PAGE) -> Browser:
    return Browser(door, PLATFORM_HOST, platform.layout.ca, origin)


def signed_in(platform: Platform) -> dict[str, str]:
    return {"authorization": platform.token()}


def asked(platform: Platform, method: str = ASK) -> int:
    """How often a service was called, in all regions."""
    return sum(echo.calls[method] for echo in platform.echoes.values())


def cors(answer: WebAnswer) -> dict[str, str]:
    """What it lets pages do."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def serve(platform: Platform, method: str, handler: Any) -> None:
    """Have every gateway answer a method with a stream."""
    for region in REGIONS:
        platform.echoes[f"gateway@{region}"].streams = {method: handler}


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_a_unary_call_is_answered_with_a_message_and_trailers(
    platform: Platform, door: str, kind: str
) -> None:
    async with page(platform, door).call(LIST, kind=kind, headers=signed_in(platform)) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == kind
        said = json.loads(await answer.message())
        trailers = await answer.trailers()
    assert said["instance"].startswith("session@")
    assert trailers["grpc-status"] == "0"
    assert asked(platform) == 1, "the policy service decides on a page's calls too"


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_a_stream_arrives_piece_by_piece(platform: Platform, door: str, kind: str) -> None:
    read: asyncio.Queue[None] = asyncio.Queue()

    async def chat(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield request + str(number).encode() * number
            await read.get()

    serve(platform, CHAT, chat)
    browser = page(platform, door)
    async with browser.call(CHAT, b"said-", kind=kind, headers=signed_in(platform)) as answer:
        assert answer.headers["content-type"] == kind
        for piece in (b"said-", b"said-1", b"said-22"):
            # The next is made only when this one has been read: whoever gathers pieces waits for ever.
            assert await answer.message() == piece
            read.put_nowait(None)
        assert (await answer.trailers())["grpc-status"] == "0"


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_a_stream_that_breaks_says_so_after_what_had_come(
    platform: Platform, door: str, kind: str
) -> None:
    async def chat(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"so far"
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more: 100 %")

    serve(platform, CHAT, chat)
    async with page(platform, door).call(CHAT, kind=kind, headers=signed_in(platform)) as answer:
        assert await answer.message() == b"so far"
        trailers = await answer.trailers()
    assert trailers["grpc-status"] == "8"
    assert trailers["grpc-message"] == "no more: 100 %25", "percent-encoded, as gRPC has it"


async def test_a_page_can_read_why_a_server_refused(platform: Platform, door: str) -> None:
    """With no answer before it, the status is among the headers, which CORS must let the page see."""
    for region in REGIONS:
        platform.echoes[f"gateway@{region}"].fails_in = {MODELS: grpc.StatusCode.NOT_FOUND}
    async with page(platform, door).call(MODELS, headers=signed_in(platform)) as answer:
        assert answer.headers["grpc-status"] == "5"
        assert "was told to fail" in answer.headers["grpc-message"]
        assert answer.headers[ALLOWED] == PAGE
        exposed = set(answer.headers["access-control-expose-headers"].split(","))
    assert exposed >= {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"}


@pytest.mark.parametrize("token, status", [("", "7"), ("Bearer nonsense", "16")])
async def test_a_page_without_a_good_token_is_refused_in_its_own_protocol(
    platform: Platform, door: str, token: str, status: str
) -> None:
    headers = {"authorization": token} if token else {}
    async with page(platform, door).call(LIST, headers=headers) as answer:
        assert answer.headers["content-type"] == BINARY
        assert answer.headers["grpc-status"] == status
        assert answer.headers[ALLOWED] == PAGE, "or its browser would not let it read that"
    assert asked(platform, LIST) == 0


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173"])
async def test_a_preflight_is_answered_with_what_a_page_may_do(
    platform: Platform, door: str, origin: str
) -> None:
    for path in (LIST, CHAT, SEARCH, QUOTA):
        async with page(platform, door, origin).preflight(path) as answer:
            assert answer.status == 200
            assert answer.headers[ALLOWED] == origin
            assert answer.headers["access-control-allow-methods"] == "POST"
            allowed = answer.headers["access-control-allow-headers"].split(",")
            assert set(allowed) >= {*CALLS_WITH.split(","), "grpc-timeout", "x-request-id"}
            assert answer.headers["access-control-max-age"] == "600"
        assert asked(platform, path) == 0, "by the ingress, without a token"
    assert asked(platform) == 0


FOREIGN = [
    "https://evil.test",
    "https://app.causeway.local.evil.test",
    "https://evil-app.causeway.local",
    "http://app.causeway.local",
    "null",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_page_gets_no_leave(platform: Platform, door: str, origin: str) -> None:
    """Its browser then keeps it from calling, and from reading an answer if it called without asking."""
    browser = page(platform, door, origin)
    async with browser.preflight(LIST) as answer:
        assert not cors(answer)
    async with browser.call(LIST, headers=signed_in(platform)) as answer:
        assert not cors(answer)


async def test_a_preflight_for_another_method_says_what_is_allowed(platform: Platform, door: str) -> None:
    async with page(platform, door).preflight(LIST, "DELETE") as answer:
        assert answer.headers["access-control-allow-methods"] == "POST"
