"""What every ConversationStore must do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from services.session.errors import ConversationNotFound, TooManyConversations
from services.session.model import Conversation, ConversationCursor, ConversationDraft, Owner
from services.session.ports import ConversationStore

MOST = 100


async def make(store: ConversationStore, owner: Owner, title: str = "") -> Conversation:
    """A new conversation."""
    stored = await store.create_conversation(owner, ConversationDraft(uuid4(), title), MOST)
    return stored.conversation


def cursor(conversation: Conversation) -> ConversationCursor:
    """The place of a conversation in the list."""
    return ConversationCursor(conversation.update_time, conversation.id)


async def test_what_was_created_can_be_read(store: ConversationStore, owner: Owner) -> None:
    draft = ConversationDraft(uuid4(), "Käse 🧀 'quoted'; --")
    stored = await store.create_conversation(owner, draft, MOST)
    made = stored.conversation
    assert (made.id, made.title, made.message_count) == (draft.id, draft.title, 0)
    assert made.create_time == made.update_time
    assert made.create_time.tzinfo is not None
    assert stored.requested_title == draft.title
    assert await store.get_conversation(owner, draft.id) == made


async def test_an_unknown_conversation_is_not_found(store: ConversationStore, owner: Owner) -> None:
    with pytest.raises(ConversationNotFound):
        await store.get_conversation(owner, uuid4())
    with pytest.raises(ConversationNotFound):
        await store.set_title(owner, uuid4(), "x")
    with pytest.raises(ConversationNotFound):
        await store.delete_conversation(owner, uuid4())


@pytest.mark.parametrize("change", ["tenant", "subject"])
async def test_nobody_else_can_reach_a_conversation(
    store: ConversationStore, owner: Owner, change: str
) -> None:
    made = await make(store, owner, "mine")
    other = replace(owner, **{change: f"{getattr(owner, change)}x"})
    with pytest.raises(ConversationNotFound):
        await store.get_conversation(other, made.id)
    with pytest.raises(ConversationNotFound):
        await store.set_title(other, made.id, "stolen")
    with pytest.raises(ConversationNotFound):
        await store.delete_conversation(other, made.id)
    assert await store.list_conversations(other, None, 10) == ()
    assert await store.get_conversation(owner, made.id) == made


async def test_a_request_id_creates_once_and_keeps_the_first_title(
    store: ConversationStore, owner: Owner
) -> None:
    request_id = uuid4()
    first = await store.create_conversation(owner, ConversationDraft(uuid4(), "one", request_id), MOST)
    renamed = await store.set_title(owner, first.conversation.id, "two")
    again = await store.create_conversation(owner, ConversationDraft(uuid4(), "other", request_id), MOST)
    assert again.conversation == renamed
    assert again.requested_title == "one"
    assert len(await store.list_conversations(owner, None, 10)) == 1


async def test_a_request_id_belongs_to_one_owner(store: ConversationStore, owner: Owner) -> None:
    request_id = uuid4()
    owners = [owner, replace(owner, subject="bob"), replace(owner, tenant=f"{owner.tenant}x")]
    made = [
        await store.create_conversation(one, ConversationDraft(uuid4(), "", request_id), MOST)
        for one in owners
    ]
    assert len({stored.conversation.id for stored in made}) == len(owners)


async def test_creations_that_race_with_one_request_id_give_one_conversation(
    store: ConversationStore, owner: Owner
) -> None:
    request_id = uuid4()
    made = await asyncio.gather(
        *(
            store.create_conversation(owner, ConversationDraft(uuid4(), "t", request_id), MOST)
            for _ in range(20)
        )
    )
    assert len({stored.conversation.id for stored in made}) == 1
    assert len(await store.list_conversations(owner, None, 50)) == 1


async def test_a_deleted_conversation_frees_its_request_id(store: ConversationStore, owner: Owner) -> None:
    request_id = uuid4()
    first = await store.create_conversation(owner, ConversationDraft(uuid4(), "a", request_id), MOST)
    await store.delete_conversation(owner, first.conversation.id)
    with pytest.raises(ConversationNotFound):
        await store.get_conversation(owner, first.conversation.id)
    with pytest.raises(ConversationNotFound):
        await store.delete_conversation(owner, first.conversation.id)
    second = await store.create_conversation(owner, ConversationDraft(uuid4(), "b", request_id), MOST)
    assert second.requested_title == "b"


async def test_the_limit_holds_when_creations_race(store: ConversationStore, owner: Owner) -> None:
    results = await asyncio.gather(
        *(store.create_conversation(owner, ConversationDraft(uuid4(), ""), 5) for _ in range(20)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, TooManyConversations)]
    assert len(refused) == 15
    assert len(await store.list_conversations(owner, None, 50)) == 5


async def test_a_retry_is_answered_at_the_limit(store: ConversationStore, owner: Owner) -> None:
    draft = ConversationDraft(uuid4(), "", uuid4())
    first = await store.create_conversation(owner, draft, 1)
    assert await store.create_conversation(owner, replace(draft, id=uuid4()), 1) == first


async def test_the_newest_change_comes_first_and_pages_meet_without_gap_or_overlap(
    store: ConversationStore, owner: Owner
) -> None:
    made = [await make(store, owner, str(number)) for number in range(7)]
    await store.set_title(owner, made[2].id, "renamed")
    expected = [made[index].id for index in (2, 6, 5, 4, 3, 1, 0)]
    seen: list[UUID] = []
    after: ConversationCursor | None = None
    while page := await store.list_conversations(owner, after, 2):
        seen += [conversation.id for conversation in page]
        after = cursor(page[-1])
    assert seen == expected


async def test_a_change_moves_a_conversation_to_the_front_and_never_makes_it_seen_twice(
    store: ConversationStore, owner: Owner
) -> None:
    made = [await make(store, owner) for _ in range(4)]
    first_page = await store.list_conversations(owner, None, 2)
    await store.set_title(owner, first_page[1].id, "again")
    rest = await store.list_conversations(owner, cursor(first_page[-1]), 10)
    assert [conversation.id for conversation in rest] == [made[1].id, made[0].id]


async def test_a_new_title_changes_the_update_time_only(store: ConversationStore, owner: Owner) -> None:
    made = await make(store, owner, "a")
    renamed = await store.set_title(owner, made.id, "b")
    assert renamed == replace(made, title="b", update_time=renamed.update_time)
    assert renamed.update_time > made.update_time
    assert await store.get_conversation(owner, made.id) == renamed
