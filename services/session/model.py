"""What the session service talks about: owners, conversations, messages and pages. No I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

CITATION_OVERHEAD = 96
"""Bytes that a citation takes on the wire beside its title and text, at most."""
MESSAGE_OVERHEAD = 160
"""Bytes that a message takes on the wire beside its text and citations, at most."""


class Role(enum.Enum):
    """Who speaks. The values are what the database stores."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversations a call may touch: one person of one tenant."""

    tenant: str
    subject: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread of messages."""

    id: UUID
    title: str
    message_count: int
    create_time: datetime
    update_time: datetime
    """When the title changed last or the newest message was stored, whichever is later."""


@dataclass(frozen=True, slots=True)
class ConversationDraft:
    """A conversation to be stored."""

    id: UUID
    title: str
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation, with the title that its creation asked for: the title may have changed since."""

    conversation: Conversation
    requested_title: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that a message used, as it was at that time."""

    number: int
    document_id: UUID
    title: str
    text: str
    offset: int
    """Unicode code points from the start of the message's text."""


@dataclass(frozen=True, slots=True)
class MessageBody:
    """What a caller gives of a message; two requests with equal bodies are the same request."""

    conversation_id: UUID
    role: Role
    text: str
    citations: tuple[Citation, ...] = ()
    partial: bool = False

    @property
    def size_bytes(self) -> int:
        """Upper bound of the bytes that a message with this body takes on the wire."""
        cited = sum(
            len(citation.title.encode()) + len(citation.text.encode()) + CITATION_OVERHEAD
            for citation in self.citations
        )
        return len(self.text.encode()) + cited + MESSAGE_OVERHEAD


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message to be stored."""

    id: UUID
    body: MessageBody
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; it never changes."""

    id: UUID
    sequence: int
    """Place in the conversation, from 1, without gaps."""
    body: MessageBody
    create_time: datetime


@dataclass(frozen=True, slots=True, order=True)
class ConversationCursor:
    """A place in the list of conversations, which runs from the newest change to the oldest."""

    update_time: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class MessageRange:
    """Which messages of a conversation to read."""

    start: int | None
    """Sequence of the last message already seen; None from the beginning (descending: from the end)."""
    descending: bool
    count: int
    """Most messages to read."""
    size_bytes: int
    """Most bytes to read, by ``MessageBody.size_bytes``; the first message is read whatever its size."""


@dataclass(frozen=True, slots=True)
class MessageSlice:
    """Messages that were read, with how many the conversation held at that moment."""

    messages: tuple[Message, ...]
    message_count: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list."""

    items: tuple[T, ...]
    next_token: str
    """Empty at the end."""
