"""Conversations and messages in PostgreSQL. Every call is one transaction, sent in one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from psycopg.errors import UniqueViolation
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from services.common.postgres import Database
from services.session.adapters import statements
from services.session.errors import ConversationNotFound, TooManyConversations, TooManyMessages
from services.session.model import (
    Citation,
    Conversation,
    ConversationCursor,
    ConversationDraft,
    Message,
    MessageBody,
    MessageDraft,
    MessageRange,
    MessageSlice,
    Owner,
    Role,
    StoredConversation,
)

_BEFORE_FIRST, _AFTER_LAST = 0, 2**63 - 1
_REQUESTS = "messages_by_request"


class PostgresStore:
    """Implements ConversationStore and MessageStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_conversation(
        self, owner: Owner, draft: ConversationDraft, limit: int
    ) -> StoredConversation:
        """See ConversationStore."""
        values = {"id": draft.id, "title": draft.title, "request_id": draft.request_id, "limit": limit}
        rows = await self._run(owner, values, statements.CREATE_CONVERSATION, first=statements.LOCK_CREATIONS)
        if not rows:
            raise TooManyConversations(limit)
        requested_title = rows[0].pop("requested_title")
        return StoredConversation(Conversation(**rows[0]), requested_title)

    async def get_conversation(self, owner: Owner, conversation_id: UUID) -> Conversation:
        """See ConversationStore."""
        return _one(await self._run(owner, {"id": conversation_id}, statements.GET_CONVERSATION))

    async def list_conversations(
        self, owner: Owner, after: ConversationCursor | None, limit: int
    ) -> tuple[Conversation, ...]:
        """See ConversationStore."""
        if after is None:
            rows = await self._run(owner, {"limit": limit}, statements.LIST_NEWEST)
        else:
            values = {"limit": limit, "update_time": after.update_time, "id": after.id}
            rows = await self._run(owner, values, statements.LIST_AFTER)
        return tuple(Conversation(**row) for row in rows)

    async def set_title(self, owner: Owner, conversation_id: UUID, title: str) -> Conversation:
        """See ConversationStore."""
        return _one(await self._run(owner, {"id": conversation_id, "title": title}, statements.SET_TITLE))

    async def delete_conversation(self, owner: Owner, conversation_id: UUID) -> None:
        """See ConversationStore."""
        _one(await self._run(owner, {"id": conversation_id}, statements.DELETE_CONVERSATION))

    async def append_message(self, owner: Owner, draft: MessageDraft, limit: int) -> Message:
        """See MessageStore."""
        body = draft.body
        values = {
            "conversation_id": body.conversation_id,
            "id": draft.id,
            "role": body.role.value,
            "text": body.text,
            "citations": Jsonb([_citation_to_json(citation) for citation in body.citations]),
            "partial": body.partial,
            "size_bytes": body.size_bytes,
            "request_id": draft.request_id,
            "limit": limit,
        }
        try:
            rows = await self._run(owner, values, statements.APPEND_MESSAGE)
        except UniqueViolation as error:
            if error.diag.constraint_name != _REQUESTS:
                raise
            rows = []
        return _message(rows[0]) if rows else await self._why_not_appended(owner, draft, limit)

    async def _why_not_appended(self, owner: Owner, draft: MessageDraft, limit: int) -> Message:
        """Nothing was stored: there is no such conversation, or the request came before, or it is full."""
        await self.get_conversation(owner, draft.body.conversation_id)
        rows = await self._run(owner, {"request_id": draft.request_id}, statements.EARLIER_MESSAGE)
        if not rows:
            raise TooManyMessages(limit)
        return _message(rows[0])

    async def list_messages(self, owner: Owner, conversation_id: UUID, wanted: MessageRange) -> MessageSlice:
        """See MessageStore."""
        start = wanted.start
        if start is None:
            start = _AFTER_LAST if wanted.descending else _BEFORE_FIRST
        values = {
            "id": conversation_id,
            "start": start,
            "count": wanted.count,
            "size_bytes": wanted.size_bytes,
        }
        statement = statements.LIST_DESCENDING if wanted.descending else statements.LIST_ASCENDING
        rows = await self._run(owner, values, statement)
        if not rows:
            raise ConversationNotFound
        messages = tuple(_message(row) for row in rows if row["sequence"] is not None)
        return MessageSlice(messages, message_count=rows[0]["message_count"])

    async def _run(
        self,
        owner: Owner,
        values: Mapping[str, object],
        statement: LiteralString,
        *,
        first: LiteralString | None = None,
    ) -> list[DictRow]:
        """The rows of ``statement``, run in a transaction of the owner's tenant, after ``first``."""
        named = {**values, "tenant": owner.tenant, "subject": owner.subject}
        async with self._database.tenant(owner.tenant) as connection:
            if first is not None:
                await connection.execute(first, named)
            cursor = await connection.execute(statement, named)
        # Not before the transaction has ended: asking for rows inside it would cost a round trip of its own.
        return await cursor.fetchall()


def _one(rows: list[DictRow]) -> Conversation:
    if not rows:
        raise ConversationNotFound
    return Conversation(**rows[0])


def _message(row: DictRow) -> Message:
    body = MessageBody(
        conversation_id=row["conversation_id"],
        role=Role(row["role"]),
        text=row["text"],
        citations=tuple(_citation_from_json(citation) for citation in row["citations"]),
        partial=row["partial"],
    )
    return Message(row["id"], row["sequence"], body, row["create_time"])


def _citation_to_json(citation: Citation) -> dict[str, object]:
    return {
        "number": citation.number,
        "document_id": str(citation.document_id),
        "title": citation.title,
        "text": citation.text,
        "offset": citation.offset,
    }


def _citation_from_json(stored: Mapping[str, Any]) -> Citation:
    return Citation(
        number=stored["number"],
        document_id=UUID(stored["document_id"]),
        title=stored["title"],
        text=stored["text"],
        offset=stored["offset"],
    )
