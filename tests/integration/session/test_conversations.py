"""ConversationService through gRPC."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from support.platform import Platform
from support.session import Client, client_of, refused

from causeway.session.v1 import conversation_service_pb2 as pb
from services.common.errors import Code, Reason
from services.session.core import Limits


async def test_a_conversation_lives_from_creation_to_deletion(client: Client) -> None:
    conversation_id = await client.create("Käse 🧀")
    made = await client.get(conversation_id)
    assert (made.title, made.message_count) == ("Käse 🧀", 0)
    await client.append(conversation_id, "hello")
    request = pb.UpdateConversationRequest()
    request.conversation.id = conversation_id
    request.conversation.title = "renamed"
    request.conversation.message_count = 99
    request.update_mask.paths.append("title")
    response = await client.conversations.UpdateConversation(request, metadata=client.metadata)
    assert (response.conversation.title, response.conversation.message_count) == ("renamed", 1)
    assert response.conversation == await client.get(conversation_id)
    deletion = pb.DeleteConversationRequest(id=conversation_id)
    await client.conversations.DeleteConversation(deletion, metadata=client.metadata)
    for attempt in (
        client.get(conversation_id),
        client.read_all(conversation_id),
        client.append(conversation_id, "too late"),
        client.conversations.DeleteConversation(deletion, metadata=client.metadata),
    ):
        with refused() as errors:
            await attempt
        assert errors[0].status == (Code.NOT_FOUND, Reason.CONVERSATION_NOT_FOUND)


async def test_an_empty_title_can_be_set(client: Client) -> None:
    conversation_id = await client.create("x")
    request = pb.UpdateConversationRequest()
    request.conversation.id = conversation_id
    request.update_mask.paths.append("title")
    await client.conversations.UpdateConversation(request, metadata=client.metadata)
    assert (await client.get(conversation_id)).title == ""


@pytest.mark.parametrize(
    "paths", [[], ["id"], ["title", "title"], ["title", "message_count"], ["*"], ["Title"]]
)
async def test_a_mask_that_names_anything_but_the_title_is_refused(client: Client, paths: list[str]) -> None:
    conversation_id = await client.create("x")
    request = pb.UpdateConversationRequest()
    request.conversation.id = conversation_id
    request.conversation.title = "y"
    request.update_mask.paths.extend(paths)
    with refused() as errors:
        await client.conversations.UpdateConversation(request, metadata=client.metadata)
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in errors[0].violations] == ["update_mask"]
    assert (await client.get(conversation_id)).title == "x"


async def test_text_that_cannot_be_stored_is_named_by_its_field(client: Client) -> None:
    with refused() as errors:
        await client.create("a\0b")
    assert [violation.field for violation in errors[0].violations] == ["title"]
    request = pb.UpdateConversationRequest()
    request.conversation.id = await client.create("x")
    request.conversation.title = "\0"
    request.update_mask.paths.append("title")
    with refused() as errors:
        await client.conversations.UpdateConversation(request, metadata=client.metadata)
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in errors[0].violations] == ["conversation.title"]


@pytest.mark.parametrize("bad", ["", "x", "{}", "0" * 32, "00000000-0000-0000-0000-00000000000g", "é" * 36])
async def test_an_id_that_is_no_uuid_is_invalid(client: Client, bad: str) -> None:
    with refused() as errors:
        await client.get(bad)
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in errors[0].violations] == ["id"]


async def test_a_retried_creation_gives_the_same_and_another_title_is_refused(client: Client) -> None:
    request_id = str(uuid4())
    made = await asyncio.gather(*(client.create("t", request_id) for _ in range(10)))
    made.append(await client.create("t", request_id.upper()))
    assert len(set(made)) == 1
    with refused() as errors:
        await client.create("other", request_id)
    assert errors[0].status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


async def test_lists_hold_the_callers_own_only_and_run_from_the_newest(client: Client) -> None:
    made = [await client.create(str(number)) for number in range(5)]
    await client.another(subject="bob").create("bob's")
    await client.another(tenant=f"{client.tenant}x").create("another tenant's")
    await client.append(made[0], "to the front")
    seen: list[str] = []
    token = ""
    while len(seen) < 10:
        request = pb.ListConversationsRequest(page_size=2, page_token=token)
        page = await client.conversations.ListConversations(request, metadata=client.metadata)
        seen += [conversation.id for conversation in page.conversations]
        token = page.next_page_token
        if not token:
            break
    assert seen == [made[0], *made[:0:-1]]


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "=" * 256, "a" * 255])
async def test_a_token_nobody_issued_is_refused(client: Client, token: str) -> None:
    with refused() as errors:
        await client.conversations.ListConversations(
            pb.ListConversationsRequest(page_token=token), metadata=client.metadata
        )
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_PAGE_TOKEN)
    assert [violation.field for violation in errors[0].violations] == ["page_token"]


@pytest.mark.parametrize("size", [-1, 201, 2**31 - 1, -(2**31)])
async def test_a_page_size_out_of_bounds_is_refused(client: Client, size: int) -> None:
    with refused() as errors:
        await client.conversations.ListConversations(
            pb.ListConversationsRequest(page_size=size), metadata=client.metadata
        )
    assert [violation.field for violation in errors[0].violations] == ["page_size"]


async def test_a_caller_who_keeps_too_many_is_told_the_limit(data_servers: Platform) -> None:
    async with client_of(data_servers, Limits(conversations=2)) as client:
        results = await asyncio.gather(*(client.create() for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(result, str) for result in results) == 2
        with refused() as errors:
            await client.create()
        assert errors[0].status == (Code.FAILED_PRECONDITION, Reason.LIMIT_REACHED)
        assert errors[0].metadata["limit"] == "2"
        await client.another(subject="bob").create()
