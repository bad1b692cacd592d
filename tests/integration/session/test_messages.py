"""MessageService through gRPC."""

from __future__ import annotations

import asyncio
import random
from uuid import uuid4

import pytest
from support.platform import Platform
from support.session import Client, client_of, refused

from causeway.session.v1 import message_pb2
from causeway.session.v1 import message_service_pb2 as pb
from services.common.errors import Code, Reason
from services.session.core import Limits

ROLE_ASSISTANT = message_pb2.MESSAGE_ROLE_ASSISTANT
DEFAULT_MAX_RECEIVE = 4 << 20
"""What a gRPC client takes unless told otherwise."""


def answer(conversation_id: str, text: str, citations: int = 0, passage: str = "") -> pb.AppendMessageRequest:
    """An answer with citations."""
    return pb.AppendMessageRequest(
        conversation_id=conversation_id,
        role=ROLE_ASSISTANT,
        text=text,
        citations=[
            message_pb2.MessageCitation(number=number + 1, document_id=str(uuid4()), text=passage)
            for number in range(citations)
        ],
        partial=True,
    )


async def test_an_answer_is_kept_with_its_citations(client: Client) -> None:
    conversation_id = await client.create()
    request = answer(conversation_id, "as [1] and [2] say", citations=2, passage='Käse \x01 \\u0000 "')
    stored = (await client.messages.AppendMessage(request, metadata=client.metadata)).message
    assert (stored.sequence, stored.role, stored.partial) == (1, ROLE_ASSISTANT, True)
    assert stored.text == request.text
    assert list(stored.citations) == list(request.citations)
    assert await client.read_all(conversation_id) == [stored]


async def test_fifty_callers_at_once_leave_no_gap(client: Client) -> None:
    conversation_id = await client.create()
    stored = await asyncio.gather(*(client.append(conversation_id, str(number)) for number in range(50)))
    assert sorted(message.sequence for message in stored) == list(range(1, 51))
    found = await client.read_all(conversation_id, page_size=7)
    assert [message.sequence for message in found] == list(range(1, 51))
    assert {message.text for message in found} == {str(number) for number in range(50)}
    assert (await client.get(conversation_id)).message_count == 50


async def test_callers_that_go_away_leave_no_gap_and_no_half_message(client: Client) -> None:
    conversation_id = await client.create()
    chance = random.Random(7)

    async def impatient(number: int) -> bool:
        call = asyncio.ensure_future(client.append(conversation_id, str(number)))
        await asyncio.sleep(chance.random() * 0.15)
        call.cancel()
        results = await asyncio.gather(call, return_exceptions=True)
        return not isinstance(results[0], BaseException)

    answered = await asyncio.gather(*(impatient(number) for number in range(60)))
    # The server may be at the last of them still: this one waits for the same row.
    await client.append(conversation_id, "last")
    found = await client.read_all(conversation_id)
    assert [message.sequence for message in found] == list(range(1, len(found) + 1))
    acknowledged = {str(number) for number, done in enumerate(answered) if done}
    texts = [message.text for message in found]
    assert acknowledged <= set(texts)
    assert len(set(texts)) == len(texts)
    assert (await client.get(conversation_id)).message_count == len(found)


async def test_retries_give_the_same_message_and_another_text_is_refused(client: Client) -> None:
    conversation_id = await client.create()
    request_id = str(uuid4())
    stored = await asyncio.gather(*(client.append(conversation_id, "x", request_id) for _ in range(10)))
    assert len({message.id for message in stored}) == 1
    assert (await client.get(conversation_id)).message_count == 1
    with refused() as errors:
        await client.append(conversation_id, "y", request_id)
    assert errors[0].status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    # The refusal leaves the connection fit for others.
    assert (await client.append(conversation_id, "z")).sequence == 2


async def test_the_last_few_messages_come_newest_first(client: Client) -> None:
    conversation_id = await client.create()
    for number in range(5):
        await client.append(conversation_id, str(number))
    request = pb.ListMessagesRequest(conversation_id=conversation_id, page_size=3, descending=True)
    page = await client.messages.ListMessages(request, metadata=client.metadata)
    assert [message.sequence for message in page.messages] == [5, 4, 3]
    request.page_token = page.next_page_token
    page = await client.messages.ListMessages(request, metadata=client.metadata)
    assert [message.sequence for message in page.messages] == [2, 1]
    assert page.next_page_token == ""


async def test_a_token_of_another_list_is_refused(client: Client) -> None:
    conversation_id = await client.create()
    for number in range(3):
        await client.append(conversation_id, str(number))
    request = pb.ListMessagesRequest(conversation_id=conversation_id, page_size=1)
    token = (await client.messages.ListMessages(request, metadata=client.metadata)).next_page_token
    for wrong in (
        pb.ListMessagesRequest(conversation_id=conversation_id, page_token=token, descending=True),
        pb.ListMessagesRequest(conversation_id=await client.create(), page_token=token),
    ):
        with refused() as errors:
            await client.messages.ListMessages(wrong, metadata=client.metadata)
        assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_PAGE_TOKEN)


async def test_any_page_fits_a_client_with_default_settings(client: Client) -> None:
    conversation_id = await client.create()
    for _ in range(5):
        await client.append(conversation_id, "🧀" * 262_144)
    request = pb.ListMessagesRequest(conversation_id=conversation_id, page_size=200)
    page = await client.messages.ListMessages(request, metadata=client.metadata)
    assert 0 < len(page.messages) < 5
    assert page.ByteSize() < DEFAULT_MAX_RECEIVE
    assert [message.sequence for message in await client.read_all(conversation_id, 200)] == [1, 2, 3, 4, 5]


async def test_a_message_that_could_not_be_read_back_is_refused(client: Client) -> None:
    conversation_id = await client.create()
    request = answer(conversation_id, "x", citations=64, passage="🧀" * 16_384)
    with refused() as errors:
        await client.messages.AppendMessage(request, metadata=client.metadata)
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in errors[0].violations] == ["citations"]
    assert (await client.get(conversation_id)).message_count == 0


@pytest.mark.parametrize(
    "field, value",
    [
        ("text", ""),
        ("text", "x" * 262_145),
        ("text", "a\0b"),
        ("role", 0),
        ("role", 3),
        ("conversation_id", "not-a-uuid"),
        ("request_id", "not-a-uuid"),
    ],
)
async def test_a_bad_field_is_named(client: Client, field: str, value: object) -> None:
    request = answer(await client.create(), "x")
    setattr(request, field, value)
    with refused() as errors:
        await client.messages.AppendMessage(request, metadata=client.metadata)
    assert errors[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in errors[0].violations] == [field]


@pytest.mark.parametrize(
    "field, value",
    [
        ("number", 0),
        ("document_id", "x"),
        ("title", "\0"),
        ("title", "x" * 513),
        ("text", "\0"),
        ("offset", -1),
    ],
)
async def test_a_bad_field_of_a_citation_is_named(client: Client, field: str, value: object) -> None:
    request = answer(await client.create(), "x", citations=2)
    setattr(request.citations[1], field, value)
    with refused() as errors:
        await client.messages.AppendMessage(request, metadata=client.metadata)
    assert [violation.field for violation in errors[0].violations] == [f"citations[1].{field}"]


async def test_a_full_conversation_says_so_and_still_answers_retries(data_servers: Platform) -> None:
    async with client_of(data_servers, Limits(messages=2)) as client:
        conversation_id = await client.create()
        request_id = str(uuid4())
        first = await client.append(conversation_id, "1", request_id)
        await client.append(conversation_id, "2")
        with refused() as errors:
            await client.append(conversation_id, "3")
        assert errors[0].status == (Code.FAILED_PRECONDITION, Reason.LIMIT_REACHED)
        assert await client.append(conversation_id, "1", request_id) == first
