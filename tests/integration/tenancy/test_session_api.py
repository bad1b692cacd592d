"""Somebody else's ids are worth nothing, in any RPC of the session service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from support.platform import Platform
from support.session import Client, client_of, refused

from causeway.session.v1 import conversation_service_pb2 as conversations_pb2
from causeway.session.v1 import message_pb2
from causeway.session.v1 import message_service_pb2 as messages_pb2
from services.common.errors import Code, Reason
from services.session.app import PERMISSIONS

CONVERSATIONS = "/causeway.session.v1.ConversationService"
MESSAGES = "/causeway.session.v1.MessageService"
REQUEST_ID = "3b1f8f0a-3c7d-4c7e-8a55-0d7d3f3a9c11"


@dataclass(frozen=True)
class Attempt:
    """A call that names a conversation."""

    request: Message
    response: type[Message]


def attempts(conversation_id: str) -> dict[str, Attempt]:
    """Every RPC that takes a conversation's id, by its full name."""
    rename = conversations_pb2.UpdateConversationRequest()
    rename.conversation.id = conversation_id
    rename.conversation.title = "stolen"
    rename.update_mask.paths.append("title")
    append = messages_pb2.AppendMessageRequest(
        conversation_id=conversation_id, role=message_pb2.MESSAGE_ROLE_USER, text="stolen"
    )
    read = messages_pb2.ListMessagesRequest(conversation_id=conversation_id)
    return {
        f"{CONVERSATIONS}/GetConversation": Attempt(
            conversations_pb2.GetConversationRequest(id=conversation_id),
            conversations_pb2.GetConversationResponse,
        ),
        f"{CONVERSATIONS}/UpdateConversation": Attempt(rename, conversations_pb2.UpdateConversationResponse),
        f"{CONVERSATIONS}/DeleteConversation": Attempt(
            conversations_pb2.DeleteConversationRequest(id=conversation_id),
            conversations_pb2.DeleteConversationResponse,
        ),
        f"{MESSAGES}/AppendMessage": Attempt(append, messages_pb2.AppendMessageResponse),
        f"{MESSAGES}/ListMessages": Attempt(read, messages_pb2.ListMessagesResponse),
    }


WITHOUT_ID = {f"{CONVERSATIONS}/CreateConversation", f"{CONVERSATIONS}/ListConversations"}


@pytest.fixture
async def ada(data_servers: Platform) -> AsyncIterator[Client]:
    """Somebody with something to lose."""
    async with client_of(data_servers) as client:
        yield client


async def call(client: Client, method: str, attempt: Attempt) -> Any:
    """Any RPC by its name."""
    stub = client.channel.unary_unary(
        method,
        request_serializer=type(attempt.request).SerializeToString,
        response_deserializer=attempt.response.FromString,
    )
    return await stub(attempt.request, metadata=client.metadata)


def test_no_rpc_is_left_out() -> None:
    assert set(attempts("")) | WITHOUT_ID == set(PERMISSIONS)


@pytest.mark.parametrize("method", sorted(attempts("")))
@pytest.mark.parametrize("who", ["another tenant", "the same subject of another tenant", "a colleague"])
async def test_anothers_conversation_is_not_found(ada: Client, method: str, who: str) -> None:
    conversation_id = await ada.create("hers")
    await ada.append(conversation_id, "hers")
    before = await ada.get(conversation_id)
    stranger = {
        "another tenant": ada.another(tenant=f"{ada.tenant}x", subject="eve"),
        "the same subject of another tenant": ada.another(tenant=f"{ada.tenant}x", subject=ada.subject),
        "a colleague": ada.another(subject="eve"),
    }[who]
    with refused() as errors:
        await call(stranger, method, attempts(conversation_id)[method])
    assert errors[0].status == (Code.NOT_FOUND, Reason.CONVERSATION_NOT_FOUND)
    with refused() as of_nothing:
        await call(stranger, method, attempts(REQUEST_ID)[method])
    assert errors[0].message == of_nothing[0].message
    assert await ada.get(conversation_id) == before
    assert [message.text for message in await ada.read_all(conversation_id)] == ["hers"]


async def test_request_ids_and_page_tokens_of_another_are_worth_nothing(ada: Client) -> None:
    stranger = ada.another(tenant=f"{ada.tenant}x")
    hers = await ada.create("hers", REQUEST_ID)
    theirs = await stranger.create("theirs", REQUEST_ID)
    assert hers != theirs
    assert (await ada.append(hers, "hers", REQUEST_ID)).text == "hers"
    assert (await stranger.append(theirs, "theirs", REQUEST_ID)).text == "theirs"
    for _ in range(3):
        await ada.create("hers")
    request = conversations_pb2.ListConversationsRequest(page_size=1)
    page = await ada.conversations.ListConversations(request, metadata=ada.metadata)
    request = conversations_pb2.ListConversationsRequest(page_token=page.next_page_token)
    stolen = await stranger.conversations.ListConversations(request, metadata=stranger.metadata)
    assert {conversation.title for conversation in stolen.conversations} <= {"theirs"}


async def test_the_tenant_comes_from_the_token_alone(ada: Client) -> None:
    conversation_id = await ada.create("hers")
    eve = ada.another(tenant=f"{ada.tenant}x")
    forged = [
        *eve.metadata,
        ("x-tenant", ada.tenant),
        ("tenant", ada.tenant),
        ("app.tenant_id", ada.tenant),
        ("x-forwarded-user", ada.subject),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await eve.conversations.GetConversation(
            conversations_pb2.GetConversationRequest(id=conversation_id), metadata=forged
        )
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
