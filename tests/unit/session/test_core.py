"""The rules of conversations, on the store in memory."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.session_store import FakeSessionStore
from services.common.errors import (
    Code,
    InvalidPageToken,
    InvalidRequest,
    Reason,
    RequestIdReused,
    StoreUnavailable,
)
from services.common.pagination import encode_page_token
from services.session.core import Conversations, Limits, Messages
from services.session.errors import ConversationNotFound, TooManyConversations, TooManyMessages
from services.session.model import Citation, MessageBody, Owner, Role

ADA = Owner("acme", "ada")
BOB = Owner("acme", "bob")


@pytest.fixture
def store() -> FakeSessionStore:
    """An empty store."""
    return FakeSessionStore()


@pytest.fixture
def conversations(store: FakeSessionStore) -> Conversations:
    """Conversations in the store."""
    return Conversations(store, Limits(conversations=300))


@pytest.fixture
def messages(store: FakeSessionStore) -> Messages:
    """Messages in the same store."""
    return Messages(store, Limits(messages=300))


def say(conversation_id: UUID, text: str = "hello") -> MessageBody:
    """A message of the person."""
    return MessageBody(conversation_id, Role.USER, text)


async def test_the_same_request_gives_the_same_conversation(conversations: Conversations) -> None:
    request_id = uuid4()
    first = await conversations.create(ADA, "a", request_id)
    assert await conversations.create(ADA, "a", request_id) == first
    assert (await conversations.create(ADA, "a", None)).id != first.id


async def test_a_retry_after_a_rename_gives_the_conversation_as_it_is_now(
    conversations: Conversations,
) -> None:
    request_id = uuid4()
    first = await conversations.create(ADA, "a", request_id)
    renamed = await conversations.rename(ADA, first.id, "b")
    assert await conversations.create(ADA, "a", request_id) == renamed


async def test_a_request_id_with_another_title_is_refused(conversations: Conversations) -> None:
    request_id = uuid4()
    first = await conversations.create(ADA, "a", request_id)
    await conversations.rename(ADA, first.id, "b")
    with pytest.raises(RequestIdReused):
        await conversations.create(ADA, "b", request_id)


CITATION = Citation(1, uuid4(), "title", "text", 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "other"},
        {"role": Role.ASSISTANT},
        {"partial": True},
        {"citations": ()},
        {"citations": (CITATION, CITATION)},
    ],
)
async def test_a_request_id_with_another_message_is_refused(
    conversations: Conversations, messages: Messages, changed: dict[str, object]
) -> None:
    conversation_id = (await conversations.create(ADA, "", None)).id
    given_first: dict[str, object] = {"text": "one", "role": Role.USER, "citations": (CITATION,)}
    request_id = uuid4()
    body = MessageBody(conversation_id, **given_first)  # type: ignore[arg-type]
    first = await messages.append(ADA, body, request_id)
    assert await messages.append(ADA, body, request_id) == first
    other = MessageBody(conversation_id, **(given_first | changed))  # type: ignore[arg-type]
    with pytest.raises(RequestIdReused) as refusal:
        await messages.append(ADA, other, request_id)
    assert refusal.value.status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


async def test_a_request_id_in_another_conversation_is_refused(
    conversations: Conversations, messages: Messages
) -> None:
    one, other = [(await conversations.create(ADA, "", None)).id for _ in range(2)]
    request_id = uuid4()
    await messages.append(ADA, say(one), request_id)
    with pytest.raises(RequestIdReused):
        await messages.append(ADA, say(other), request_id)


async def test_somebody_elses_conversation_looks_like_none(
    conversations: Conversations, messages: Messages
) -> None:
    hers = await conversations.create(ADA, "hers", None)
    attempts = [
        conversations.get(BOB, hers.id),
        conversations.rename(BOB, hers.id, "x"),
        conversations.delete(BOB, hers.id),
        messages.append(BOB, say(hers.id), None),
        messages.list_page(BOB, hers.id, page_size=0, page_token="", descending=False),
    ]
    errors = []
    for attempt in attempts:
        with pytest.raises(ConversationNotFound) as caught:
            await attempt
        errors.append(caught.value)
    with pytest.raises(ConversationNotFound) as caught:
        await conversations.get(ADA, uuid4())
    assert {(error.status, error.message) for error in errors} == {
        (caught.value.status, caught.value.message)
    }


async def test_the_limits_say_what_they_are(store: FakeSessionStore) -> None:
    limits = Limits(conversations=1, messages=1)
    conversations, messages = Conversations(store, limits), Messages(store, limits)
    conversation_id = (await conversations.create(ADA, "", None)).id
    await messages.append(ADA, say(conversation_id), None)
    with pytest.raises(TooManyConversations) as too_many:
        await conversations.create(ADA, "", None)
    with pytest.raises(TooManyMessages) as too_full:
        await messages.append(ADA, say(conversation_id), None)
    for error in (too_many.value, too_full.value):
        assert error.status == (Code.FAILED_PRECONDITION, Reason.LIMIT_REACHED)
        assert error.metadata["limit"] == "1"


async def test_a_message_too_large_to_be_read_back_is_refused(
    conversations: Conversations, messages: Messages
) -> None:
    conversation_id = (await conversations.create(ADA, "", None)).id
    citation = Citation(1, uuid4(), "", "🧀" * 16_384, 0)
    body = MessageBody(conversation_id, Role.ASSISTANT, "x", (citation,) * 64)
    with pytest.raises(InvalidRequest) as refusal:
        await messages.append(ADA, body, None)
    assert [violation.field for violation in refusal.value.violations] == ["citations"]


@pytest.mark.parametrize("page_size", [1, 2, 3, 0, 200])
async def test_pages_of_conversations_cover_the_list_once(
    conversations: Conversations, page_size: int
) -> None:
    made = [await conversations.create(ADA, str(number), None) for number in range(6)]
    seen: list[object] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await conversations.list_page(ADA, page_size, token)
        assert 0 < len(page.items) <= (page_size or 50)
        seen += page.items
        token = page.next_token
        pages += 1
    assert seen == made[::-1]
    assert pages == -(-6 // (page_size or 50))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("page_size", [1, 2, 3, 0, 200])
async def test_pages_of_messages_cover_the_conversation_once(
    conversations: Conversations, messages: Messages, page_size: int, descending: bool
) -> None:
    conversation_id = (await conversations.create(ADA, "", None)).id
    made = [await messages.append(ADA, say(conversation_id, str(number)), None) for number in range(6)]
    seen: list[object] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await messages.list_page(
            ADA, conversation_id, page_size=page_size, page_token=token, descending=descending
        )
        seen += page.items
        token = page.next_token
        pages += 1
    assert seen == (made[::-1] if descending else made)
    assert pages == -(-6 // (page_size or 50))


async def test_a_page_that_ends_early_for_its_size_says_where_to_go_on(
    store: FakeSessionStore, conversations: Conversations
) -> None:
    messages = Messages(store, Limits(page_bytes=1000))
    conversation_id = (await conversations.create(ADA, "", None)).id
    for _ in range(4):
        await messages.append(ADA, say(conversation_id, "x" * 400), None)
    sizes: list[int] = []
    token = ""
    while not sizes or token:
        page = await messages.list_page(ADA, conversation_id, page_size=0, page_token=token, descending=False)
        sizes.append(len(page.items))
        token = page.next_token
    assert sizes == [1, 1, 1, 1]


async def test_empty_lists_have_no_next_page(conversations: Conversations, messages: Messages) -> None:
    assert (await conversations.list_page(ADA, 0, "")).next_token == ""
    conversation_id = (await conversations.create(ADA, "", None)).id
    page = await messages.list_page(ADA, conversation_id, page_size=0, page_token="", descending=True)
    assert (page.items, page.next_token) == ((), "")


async def test_a_token_goes_on_only_in_the_list_that_issued_it(
    conversations: Conversations, messages: Messages
) -> None:
    one, other = [(await conversations.create(ADA, "", None)).id for _ in range(2)]
    for _ in range(3):
        await messages.append(ADA, say(one), None)
    issued = await messages.list_page(ADA, one, page_size=1, page_token="", descending=False)
    token = issued.next_token
    assert token
    with pytest.raises(InvalidPageToken):
        await messages.list_page(ADA, other, page_size=1, page_token=token, descending=False)
    with pytest.raises(InvalidPageToken):
        await messages.list_page(ADA, one, page_size=1, page_token=token, descending=True)
    with pytest.raises(InvalidPageToken):
        await conversations.list_page(ADA, 1, token)


PARTS = st.one_of(st.integers(), st.text(max_size=40), st.uuids().map(str), st.booleans())


@given(cursor=st.lists(PARTS, max_size=3), descending=st.booleans())
async def test_a_made_up_token_is_refused_or_harmless(cursor: list[str | int], descending: bool) -> None:
    store = FakeSessionStore()
    conversations, messages = Conversations(store, Limits()), Messages(store, Limits())
    conversation_id = (await conversations.create(ADA, "", None)).id
    kind = f"messages/{conversation_id}/{'descending' if descending else 'ascending'}"
    try:
        await conversations.list_page(ADA, 0, encode_page_token("conversations", cursor))
    except InvalidPageToken:
        pass
    try:
        await messages.list_page(
            ADA,
            conversation_id,
            page_size=0,
            page_token=encode_page_token(kind, cursor),
            descending=descending,
        )
    except InvalidPageToken:
        pass


@pytest.mark.parametrize("microseconds", [-(10**30), 10**30, 253_402_300_800_000_000])
async def test_a_token_outside_the_calendar_is_refused(
    conversations: Conversations, microseconds: int
) -> None:
    token = encode_page_token("conversations", [microseconds, str(uuid4())])
    with pytest.raises(InvalidPageToken):
        await conversations.list_page(ADA, 0, token)


async def test_a_lost_store_is_told_as_it_is_and_a_retry_stores_once(
    store: FakeSessionStore, conversations: Conversations, messages: Messages
) -> None:
    conversation_id = (await conversations.create(ADA, "", None)).id
    request_id = uuid4()
    store.fail_next(StoreUnavailable("the database cannot be reached"))
    with pytest.raises(StoreUnavailable):
        await messages.append(ADA, say(conversation_id), request_id)
    await messages.append(ADA, say(conversation_id), request_id)
    assert (await conversations.get(ADA, conversation_id)).message_count == 1
