"""What the core needs from a store. The contract suite in tests/contract/session says it in tests."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

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


class ConversationStore(Protocol):
    """Keeps conversations. Every method sees the owner's only; every write has survived when it returns.

    Every method raises StoreUnavailable when the store cannot be reached.
    """

    async def create_conversation(
        self, owner: Owner, draft: ConversationDraft, limit: int
    ) -> StoredConversation:
        """Stores ``draft``; or gives what the owner's same ``request_id`` stored before, and stores nothing.

        Raises:
            TooManyConversations: the owner has ``limit`` of them already.
        """
        ...

    async def get_conversation(self, owner: Owner, conversation_id: UUID) -> Conversation:
        """Reads one.

        Raises:
            ConversationNotFound: the owner has none of this id.
        """
        ...

    async def list_conversations(
        self, owner: Owner, after: ConversationCursor | None, limit: int
    ) -> tuple[Conversation, ...]:
        """At most ``limit`` of them, the newest change first, from the one that follows ``after``."""
        ...

    async def set_title(self, owner: Owner, conversation_id: UUID, title: str) -> Conversation:
        """Changes the title, and gives the conversation as it is now.

        Raises:
            ConversationNotFound: the owner has none of this id.
        """
        ...

    async def delete_conversation(self, owner: Owner, conversation_id: UUID) -> None:
        """Deletes it with all its messages.

        Raises:
            ConversationNotFound: the owner has none of this id.
        """
        ...


class MessageStore(Protocol):
    """Keeps the messages of conversations, under the same rules as ConversationStore."""

    async def append_message(self, owner: Owner, draft: MessageDraft, limit: int) -> Message:
        """Stores ``draft`` at the end; or gives what the owner's same ``request_id`` stored before.

        Sequences have no gaps, and times never go back along them, however many callers append at once.

        Raises:
            ConversationNotFound: the owner has no such conversation.
            TooManyMessages: the conversation holds ``limit`` of them already.
        """
        ...

    async def list_messages(self, owner: Owner, conversation_id: UUID, wanted: MessageRange) -> MessageSlice:
        """Reads messages in the order of their sequence, or against it.

        Raises:
            ConversationNotFound: the owner has no such conversation.
        """
        ...
