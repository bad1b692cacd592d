"""What every MessageStore must do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from services.session.errors import ConversationNotFound, TooManyMessages
from services.session.model import (
    Citation,
    ConversationDraft,
    Message,
    MessageBody,
    MessageDraft,
    MessageRange,
    Owner,
    Role,
)
from services.session.ports import ConversationStore, MessageStore

MOST = 1000
MEBIBYTE = 1 << 20


class Store(ConversationStore, MessageStore, Protocol):
    """Both at once."""


async def conversation(store: Store, owner: Owner) -> UUID:
    """A new, empty conversation."""
    stored = await store.create_conversation(owner, ConversationDraft(uuid4(), ""), MOST)
    return stored.conversation.id


def draft(conversation_id: UUID, text: str = "hello", request_id: UUID | None = None) -> MessageDraft:
    """A message of the person."""
    return MessageDraft(uuid4(), MessageBody(conversation_id, Role.USER, text), request_id)


def forward(start: int | None = None, count: int = MOST, size_bytes: int = MEBIBYTE) -> MessageRange:
    """From the beginning, or from ``start`` on."""
    return MessageRange(start, descending=False, count=count, size_bytes=size_bytes)


def backward(start: int | None = None, count: int = MOST, size_bytes: int = MEBIBYTE) -> MessageRange:
    """From the end, or from ``start`` on."""
    return MessageRange(start, descending=True, count=count, size_bytes=size_bytes)


def sequences(messages: tuple[Message, ...]) -> list[int]:
    """Where they stand."""
    return [message.sequence for message in messages]


async def test_a_message_comes_back_as_it_was_given(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    citations = (
        Citation(1, uuid4(), 'Title \\u0041 "x"', "passage\n\ttext 🧪 \ufffe \x7f", 2**62),
        Citation(1000, uuid4(), "", "", 0),
    )
    body = MessageBody(conversation_id, Role.ASSISTANT, "see [1] 🧀\r\n'; drop table x", citations, True)
    stored = await store.append_message(owner, MessageDraft(uuid4(), body), MOST)
    assert (stored.body, stored.sequence) == (body, 1)
    assert (await store.list_messages(owner, conversation_id, forward())).messages == (stored,)


async def test_an_append_counts_and_moves_the_conversation_to_the_front(store: Store, owner: Owner) -> None:
    first, second = await conversation(store, owner), await conversation(store, owner)
    stored = await store.append_message(owner, draft(first), MOST)
    found = await store.get_conversation(owner, first)
    assert (found.message_count, found.update_time) == (1, stored.create_time)
    listed = await store.list_conversations(owner, None, 10)
    assert [item.id for item in listed] == [first, second]


async def test_no_message_is_appended_to_an_unknown_conversation(store: Store, owner: Owner) -> None:
    with pytest.raises(ConversationNotFound):
        await store.append_message(owner, draft(uuid4()), MOST)
    with pytest.raises(ConversationNotFound):
        await store.append_message(owner, draft(uuid4(), request_id=uuid4()), MOST)
    with pytest.raises(ConversationNotFound):
        await store.list_messages(owner, uuid4(), forward())


@pytest.mark.parametrize("change", ["tenant", "subject"])
async def test_nobody_else_can_read_or_append(store: Store, owner: Owner, change: str) -> None:
    conversation_id = await conversation(store, owner)
    await store.append_message(owner, draft(conversation_id), MOST)
    other = replace(owner, **{change: f"{getattr(owner, change)}x"})
    with pytest.raises(ConversationNotFound):
        await store.append_message(other, draft(conversation_id), MOST)
    with pytest.raises(ConversationNotFound):
        await store.list_messages(other, conversation_id, forward())
    assert (await store.list_messages(owner, conversation_id, forward())).message_count == 1


async def test_an_empty_conversation_has_no_messages(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    for wanted in (forward(), backward()):
        found = await store.list_messages(owner, conversation_id, wanted)
        assert (found.messages, found.message_count) == ((), 0)


async def test_concurrent_appends_leave_no_gap_and_time_never_goes_back(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    stored = await asyncio.gather(
        *(store.append_message(owner, draft(conversation_id, str(number)), MOST) for number in range(50))
    )
    assert sorted(message.sequence for message in stored) == list(range(1, 51))
    found = await store.list_messages(owner, conversation_id, forward())
    assert sequences(found.messages) == list(range(1, 51))
    assert set(found.messages) == set(stored)
    times = [message.create_time for message in found.messages]
    assert times == sorted(times)
    kept = await store.get_conversation(owner, conversation_id)
    assert (kept.message_count, kept.update_time) == (50, times[-1])


async def test_a_request_id_appends_once(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    request_id = uuid4()
    first = await store.append_message(owner, draft(conversation_id, "one", request_id), MOST)
    again = await store.append_message(owner, draft(conversation_id, "other", request_id), MOST)
    assert again == first
    kept = await store.get_conversation(owner, conversation_id)
    assert (kept.message_count, kept.update_time) == (1, first.create_time)


async def test_a_request_id_names_one_message_across_conversations(store: Store, owner: Owner) -> None:
    one, other = await conversation(store, owner), await conversation(store, owner)
    request_id = uuid4()
    first = await store.append_message(owner, draft(one, "text", request_id), MOST)
    assert await store.append_message(owner, draft(other, "text", request_id), MOST) == first
    assert (await store.get_conversation(owner, other)).message_count == 0


async def test_a_request_id_belongs_to_one_owner(store: Store, owner: Owner) -> None:
    request_id = uuid4()
    for one in (owner, replace(owner, subject="bob"), replace(owner, tenant=f"{owner.tenant}x")):
        conversation_id = await conversation(store, one)
        stored = await store.append_message(one, draft(conversation_id, request_id=request_id), MOST)
        assert stored.body.conversation_id == conversation_id


async def test_appends_that_race_with_one_request_id_store_one_message(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    request_id = uuid4()
    stored = await asyncio.gather(
        *(store.append_message(owner, draft(conversation_id, request_id=request_id), MOST) for _ in range(20))
    )
    assert len(set(stored)) == 1
    assert (await store.get_conversation(owner, conversation_id)).message_count == 1


async def test_appends_that_race_across_conversations_store_one_message(store: Store, owner: Owner) -> None:
    conversations = [await conversation(store, owner) for _ in range(4)]
    request_id = uuid4()
    stored = await asyncio.gather(
        *(store.append_message(owner, draft(conversations[number % 4], request_id=request_id), MOST)
          for number in range(16))
    )  # fmt: skip
    assert len(set(stored)) == 1
    counts = [(await store.get_conversation(owner, one)).message_count for one in conversations]
    assert sorted(counts) == [0, 0, 0, 1]


async def test_the_limit_holds_when_appends_race(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    results = await asyncio.gather(
        *(store.append_message(owner, draft(conversation_id), 5) for _ in range(20)), return_exceptions=True
    )
    assert len([result for result in results if isinstance(result, TooManyMessages)]) == 15
    found = await store.list_messages(owner, conversation_id, forward())
    assert sequences(found.messages) == [1, 2, 3, 4, 5]


async def test_a_retry_is_answered_by_a_full_conversation(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    request_id = uuid4()
    first = await store.append_message(owner, draft(conversation_id, request_id=request_id), 1)
    assert await store.append_message(owner, draft(conversation_id, request_id=request_id), 1) == first
    with pytest.raises(TooManyMessages):
        await store.append_message(owner, draft(conversation_id, request_id=uuid4()), 1)


async def test_pages_meet_without_gap_or_overlap_in_both_directions(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    for number in range(7):
        await store.append_message(owner, draft(conversation_id, str(number)), MOST)
    pages = [forward(count=3), forward(3, count=3), forward(6, count=3), forward(7, count=3)]
    found = [await store.list_messages(owner, conversation_id, wanted) for wanted in pages]
    assert [sequences(part.messages) for part in found] == [[1, 2, 3], [4, 5, 6], [7], []]
    pages = [backward(count=3), backward(5, count=3), backward(2, count=3), backward(1, count=3)]
    found = [await store.list_messages(owner, conversation_id, wanted) for wanted in pages]
    assert [sequences(part.messages) for part in found] == [[7, 6, 5], [4, 3, 2], [1], []]
    assert {part.message_count for part in found} == {7}


async def test_a_page_ends_before_it_grows_too_large_but_is_never_empty(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    for size in (10_000, 1_000, 1_000, 50_000, 1_000):
        await store.append_message(owner, draft(conversation_id, "é" * (size // 2)), MOST)

    async def page(wanted: MessageRange) -> list[int]:
        return sequences((await store.list_messages(owner, conversation_id, wanted)).messages)

    assert await page(forward(size_bytes=13_000)) == [1, 2, 3]
    assert await page(forward(3, size_bytes=13_000)) == [4]
    assert await page(forward(4, size_bytes=13_000)) == [5]
    assert await page(backward(size_bytes=13_000)) == [5]
    assert await page(backward(5, size_bytes=13_000)) == [4]
    assert await page(backward(4, size_bytes=13_000)) == [3, 2, 1]


async def test_messages_go_with_their_conversation_and_free_their_request_ids(
    store: Store, owner: Owner
) -> None:
    doomed, other = await conversation(store, owner), await conversation(store, owner)
    request_id = uuid4()
    await store.append_message(owner, draft(doomed, "one", request_id), MOST)
    await store.append_message(owner, draft(other, "kept"), MOST)
    await store.delete_conversation(owner, doomed)
    with pytest.raises(ConversationNotFound):
        await store.list_messages(owner, doomed, forward())
    with pytest.raises(ConversationNotFound):
        await store.append_message(owner, draft(doomed), MOST)
    stored = await store.append_message(owner, draft(other, "two", request_id), MOST)
    assert (stored.sequence, stored.body.text) == (2, "two")


async def test_appends_that_race_with_deletion_end_in_nothing_left(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    appends = [store.append_message(owner, draft(conversation_id), MOST) for _ in range(10)]
    late = [store.append_message(owner, draft(conversation_id), MOST) for _ in range(10)]
    deletion = store.delete_conversation(owner, conversation_id)
    results = await asyncio.gather(*appends, deletion, *late, return_exceptions=True)
    unexpected = [
        result
        for result in results
        if isinstance(result, BaseException) and not isinstance(result, ConversationNotFound)
    ]
    assert unexpected == []
    with pytest.raises(ConversationNotFound):
        await store.list_messages(owner, conversation_id, forward())


async def test_a_large_message_comes_back_whole(store: Store, owner: Owner) -> None:
    conversation_id = await conversation(store, owner)
    text = "🧀" * 262_144
    stored = await store.append_message(owner, draft(conversation_id, text), MOST)
    found = await store.list_messages(owner, conversation_id, forward())
    assert found.messages == (stored,)
    assert found.messages[0].body.text == text
