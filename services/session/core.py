"""The rules of conversations: who owns what, what a retry gives, how lists go on, how much may be kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.common.errors import InvalidPageToken, InvalidRequest, RequestIdReused
from services.common.pagination import decode_page_token, encode_page_token, page_limit
from services.session.model import (
    Conversation,
    ConversationCursor,
    ConversationDraft,
    Message,
    MessageBody,
    MessageDraft,
    MessageRange,
    Owner,
    Page,
)
from services.session.ports import ConversationStore, MessageStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEQUENCE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be kept, and how much one answer may carry."""

    conversations: int = 10_000
    """Most conversations of one caller."""
    messages: int = 10_000
    """Most messages of one conversation."""
    message_bytes: int = 2 * 1024 * 1024
    """Most bytes of one message with its citations."""
    page_bytes: int = 3 * 1024 * 1024
    """Most bytes of a page of messages: gRPC clients refuse answers above 4 MiB unless told otherwise. A
    page that would be larger ends early."""


class Conversations:
    """A person's conversations."""

    def __init__(self, store: ConversationStore, limits: Limits, new_id: Callable[[], UUID] = uuid4) -> None:
        self._store = store
        self._limits = limits
        self._new_id = new_id

    async def create(self, owner: Owner, title: str, request_id: UUID | None) -> Conversation:
        """Starts a conversation; the same ``request_id`` gives the same one, as it is by now.

        Raises:
            RequestIdReused: ``request_id`` came before with another title.
            TooManyConversations: the owner may have no more.
        """
        draft = ConversationDraft(self._new_id(), title, request_id)
        stored = await self._store.create_conversation(owner, draft, self._limits.conversations)
        if stored.requested_title != title:
            raise RequestIdReused("this request_id created a conversation with another title")
        return stored.conversation

    async def get(self, owner: Owner, conversation_id: UUID) -> Conversation:
        """Reads one. Raises ConversationNotFound."""
        return await self._store.get_conversation(owner, conversation_id)

    async def list_page(self, owner: Owner, page_size: int, page_token: str) -> Page[Conversation]:
        """The owner's, the newest change first.

        One that changes while the list is read moves to the front: it is never seen twice, and may be
        missed by a reader who is past the front already.

        Raises:
            InvalidPageToken: the token is not one of this list.
        """
        limit = page_limit(page_size)
        after = _conversation_cursor(page_token) if page_token else None
        # One more than the page holds tells whether there is a next page.
        found = await self._store.list_conversations(owner, after, limit + 1)
        page = found[:limit]
        return Page(page, _conversation_token(page[-1]) if len(found) > limit else "")

    async def rename(self, owner: Owner, conversation_id: UUID, title: str) -> Conversation:
        """Changes the title. Raises ConversationNotFound."""
        return await self._store.set_title(owner, conversation_id, title)

    async def delete(self, owner: Owner, conversation_id: UUID) -> None:
        """Deletes it with its messages, for good. Raises ConversationNotFound, also the second time."""
        await self._store.delete_conversation(owner, conversation_id)


class Messages:
    """The messages of a person's conversations."""

    def __init__(self, store: MessageStore, limits: Limits, new_id: Callable[[], UUID] = uuid4) -> None:
        self._store = store
        self._limits = limits
        self._new_id = new_id

    async def append(self, owner: Owner, body: MessageBody, request_id: UUID | None) -> Message:
        """Stores a message at the end; the same ``request_id`` gives the same one.

        Raises:
            InvalidRequest: text and citations are too large together.
            ConversationNotFound: the owner has no such conversation.
            RequestIdReused: ``request_id`` came before with another message.
            TooManyMessages: the conversation is full.
        """
        if body.size_bytes > self._limits.message_bytes:
            most = self._limits.message_bytes
            raise InvalidRequest.field(
                "citations", f"text and citations together must take at most {most} bytes"
            )
        draft = MessageDraft(self._new_id(), body, request_id)
        message = await self._store.append_message(owner, draft, self._limits.messages)
        if message.body != body:
            raise RequestIdReused("this request_id stored another message")
        return message

    async def list_page(
        self, owner: Owner, conversation_id: UUID, *, page_size: int, page_token: str, descending: bool
    ) -> Page[Message]:
        """The conversation's messages in their order, or the newest first.

        A page holds fewer than ``page_size`` when more would make the answer too large to receive.

        Raises:
            ConversationNotFound: the owner has no such conversation.
            InvalidPageToken: the token is not one of this list.
        """
        kind = f"messages/{conversation_id}/{'descending' if descending else 'ascending'}"
        start = _sequence_cursor(kind, page_token) if page_token else None
        wanted = MessageRange(start, descending, page_limit(page_size), self._limits.page_bytes)
        found = await self._store.list_messages(owner, conversation_id, wanted)
        return Page(found.messages, _sequence_token(kind, found.messages, found.message_count, descending))


def _conversation_token(last: Conversation) -> str:
    return encode_page_token("conversations", [(last.update_time - _EPOCH) // _MICROSECOND, str(last.id)])


def _conversation_cursor(token: str) -> ConversationCursor:
    match decode_page_token("conversations", token):
        case (int(microseconds), str(conversation_id)):
            try:
                return ConversationCursor(_EPOCH + microseconds * _MICROSECOND, UUID(conversation_id))
            except (ValueError, OverflowError) as error:
                raise InvalidPageToken from error
        case _:
            raise InvalidPageToken


def _sequence_token(kind: str, messages: tuple[Message, ...], message_count: int, descending: bool) -> str:
    """Sequences run from 1 to ``message_count`` without gaps, so the last one tells whether more follow."""
    if not messages:
        return ""
    last = messages[-1].sequence
    return encode_page_token(kind, [last]) if (last > 1 if descending else last < message_count) else ""


def _sequence_cursor(kind: str, token: str) -> int:
    match decode_page_token(kind, token):
        case (int(sequence),) if 1 <= sequence <= _SEQUENCE_MAX:
            return sequence
        case _:
            raise InvalidPageToken
