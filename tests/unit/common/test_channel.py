"""What travels from hop to hop: token, request id, and less time than there was."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from causeway.session.v1 import conversation_service_pb2 as pb
from causeway.session.v1 import conversation_service_pb2_grpc as rpc
from fakes.tokens import Issuer
from services.common.channel import call_options, open_channel, peer_errors
from services.common.config import Peer
from services.common.context import CallContext, current_call, remaining, set_current_call
from services.common.errors import DeadlineExceeded, PeerUnavailable, Reason, RemoteError, RequestIdReused
from services.common.identity import current_caller
from services.common.server import Application, Binding, serving

ID = "3f0e4b0a-1e5a-4a5a-9c44-0d8f3c2b1a00"


class Conversations(rpc.ConversationServiceServicer):
    """Reports what arrived, in the title."""

    async def GetConversation(self, request: Any, context: Any) -> Any:
        call = current_call()
        left = remaining(call)
        title = f"{call.request_id} {current_caller().subject} {'none' if left is None else round(left, 3)}"
        return pb.GetConversationResponse(conversation={"title": title})

    async def CreateConversation(self, request: Any, context: Any) -> Any:
        raise RequestIdReused("used before")


@pytest.fixture
async def stub() -> AsyncIterator[Any]:
    issuer = Issuer()
    descriptor = pb.DESCRIPTOR.services_by_name["ConversationService"]
    prefix = f"/{descriptor.full_name}/"
    application = Application(
        bindings=[Binding(rpc.add_ConversationServiceServicer_to_server, Conversations(), descriptor)],
        permissions={
            f"{prefix}GetConversation": "conversations.read",
            f"{prefix}CreateConversation": "conversations.write",
        },
    )
    async with (
        serving(application, issuer.verifier()) as address,
        open_channel(Peer(address, "session.causeway.svc.cluster.local")) as channel,
    ):
        yield rpc.ConversationServiceStub(channel), issuer


async def test_a_hop_forwards_request_id_and_caller_and_keeps_some_of_the_time(stub: Any) -> None:
    conversations, issuer = stub
    set_current_call(CallContext("req-7", time.monotonic() + 5))
    reply = await conversations.GetConversation(pb.GetConversationRequest(id=ID), metadata=issuer.metadata())
    request_id, subject, left = reply.conversation.title.split()
    assert (request_id, subject) == ("req-7", "ada")
    assert float(left) < 4.96


async def test_without_a_deadline_there_is_none(stub: Any) -> None:
    conversations, issuer = stub
    set_current_call(CallContext("req-8", None))
    reply = await conversations.GetConversation(pb.GetConversationRequest(id=ID), metadata=issuer.metadata())
    assert reply.conversation.title.endswith(" none")


async def test_a_deadline_that_has_passed_leaves_no_time() -> None:
    set_current_call(CallContext("req-9", time.monotonic() - 1))
    assert call_options()["timeout"] == 0.001
    set_current_call(CallContext("req-9", time.monotonic() + 100))
    assert call_options(timeout=2.0)["timeout"] == 2.0


async def test_a_refusal_is_passed_on_as_it_came(stub: Any) -> None:
    conversations, issuer = stub
    with pytest.raises(RemoteError) as caught, peer_errors("session"):
        await conversations.CreateConversation(pb.CreateConversationRequest(), metadata=issuer.metadata())
    assert caught.value.status[1] is Reason.REQUEST_ID_REUSED


async def test_nobody_there_is_unavailable() -> None:
    async with open_channel(Peer("127.0.0.1:1", "session")) as channel:
        with pytest.raises(PeerUnavailable), peer_errors("session"):
            await rpc.ConversationServiceStub(channel).GetConversation(pb.GetConversationRequest(id=ID))


@pytest.mark.parametrize(
    "left,expected",
    [(0.0, DeadlineExceeded), (0.05, DeadlineExceeded), (60, PeerUnavailable), (None, PeerUnavailable)],
)
async def test_a_peer_that_is_too_slow_is_away_unless_the_caller_was_in_a_hurry(
    left: float | None, expected: type[Exception]
) -> None:
    set_current_call(CallContext("req-10", None if left is None else time.monotonic() + left))
    error = grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata())
    with pytest.raises(expected), peer_errors("session"):
        raise error
