"""The session service's stores in memory. Held to the same contract suite as the PostgreSQL adapter."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.session.errors import ConversationNotFound, TooManyConversations, TooManyMessages
from services.session.model import (
    Conversation,
    ConversationCursor,
    ConversationDraft,
    Message,
    MessageDraft,
    MessageRange,
    MessageSlice,
    Owner,
    StoredConversation,
)


@dataclass
class _Kept:
    conversation: Conversation
    requested_title: str
    messages: list[Message] = field(default_factory=list)


@dataclass
class _Shelf:
    """What one owner has."""

    kept: dict[UUID, _Kept] = field(default_factory=dict)
    created: dict[UUID, UUID] = field(default_factory=dict)
    appended: dict[UUID, Message] = field(default_factory=dict)


class FakeSessionStore:
    """Implements ConversationStore and MessageStore. ``fail_next`` makes the next calls raise."""

    def __init__(self) -> None:
        self._shelves: dict[Owner, _Shelf] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._failures: deque[Exception] = deque()

    def fail_next(self, *errors: Exception) -> None:
        """The next calls raise these, one each, and change nothing."""
        self._failures.extend(errors)

    async def create_conversation(
        self, owner: Owner, draft: ConversationDraft, limit: int
    ) -> StoredConversation:
        """See ConversationStore."""
        shelf = await self._enter(owner)
        earlier = shelf.created.get(draft.request_id) if draft.request_id else None
        if earlier is None:
            if len(shelf.kept) >= limit:
                raise TooManyConversations(limit)
            now = self._tick()
            shelf.kept[draft.id] = _Kept(Conversation(draft.id, draft.title, 0, now, now), draft.title)
            if draft.request_id:
                shelf.created[draft.request_id] = draft.id
        kept = shelf.kept[earlier or draft.id]
        return StoredConversation(kept.conversation, kept.requested_title)

    async def get_conversation(self, owner: Owner, conversation_id: UUID) -> Conversation:
        """See ConversationStore."""
        return _kept(await self._enter(owner), conversation_id).conversation

    async def list_conversations(
        self, owner: Owner, after: ConversationCursor | None, limit: int
    ) -> tuple[Conversation, ...]:
        """See ConversationStore."""
        shelf = await self._enter(owner)
        ordered = sorted((kept.conversation for kept in shelf.kept.values()), key=_cursor, reverse=True)
        return tuple(item for item in ordered if after is None or _cursor(item) < after)[:limit]

    async def set_title(self, owner: Owner, conversation_id: UUID, title: str) -> Conversation:
        """See ConversationStore."""
        kept = _kept(await self._enter(owner), conversation_id)
        kept.conversation = replace(kept.conversation, title=title, update_time=self._tick())
        return kept.conversation

    async def delete_conversation(self, owner: Owner, conversation_id: UUID) -> None:
        """See ConversationStore."""
        shelf = await self._enter(owner)
        _kept(shelf, conversation_id)
        del shelf.kept[conversation_id]
        shelf.created = {key: made for key, made in shelf.created.items() if made != conversation_id}
        shelf.appended = {
            key: message
            for key, message in shelf.appended.items()
            if message.body.conversation_id != conversation_id
        }

    async def append_message(self, owner: Owner, draft: MessageDraft, limit: int) -> Message:
        """See MessageStore."""
        shelf = await self._enter(owner)
        kept = _kept(shelf, draft.body.conversation_id)
        if draft.request_id in shelf.appended:
            return shelf.appended[draft.request_id]
        if len(kept.messages) >= limit:
            raise TooManyMessages(limit)
        message = Message(draft.id, len(kept.messages) + 1, draft.body, self._tick())
        kept.messages.append(message)
        kept.conversation = replace(
            kept.conversation, message_count=message.sequence, update_time=message.create_time
        )
        if draft.request_id:
            shelf.appended[draft.request_id] = message
        return message

    async def list_messages(self, owner: Owner, conversation_id: UUID, wanted: MessageRange) -> MessageSlice:
        """See MessageStore."""
        messages = _kept(await self._enter(owner), conversation_id).messages
        ordered = messages[::-1] if wanted.descending else messages
        ahead = [message for message in ordered if _is_ahead(message, wanted)]
        page: list[Message] = []
        size = 0
        for message in ahead[: wanted.count]:
            size += message.body.size_bytes
            if page and size > wanted.size_bytes:
                break
            page.append(message)
        return MessageSlice(tuple(page), len(messages))

    async def _enter(self, owner: Owner) -> _Shelf:
        # Gives way, as a call to a server does, so that concurrent callers really interleave.
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.popleft()
        return self._shelves.setdefault(owner, _Shelf())

    def _tick(self) -> datetime:
        self._now += timedelta(microseconds=1)
        return self._now


def _kept(shelf: _Shelf, conversation_id: UUID) -> _Kept:
    if conversation_id not in shelf.kept:
        raise ConversationNotFound
    return shelf.kept[conversation_id]


def _cursor(conversation: Conversation) -> ConversationCursor:
    return ConversationCursor(conversation.update_time, conversation.id)


def _is_ahead(message: Message, wanted: MessageRange) -> bool:
    if wanted.start is None:
        return True
    return message.sequence < wanted.start if wanted.descending else message.sequence > wanted.start
