"""What can go wrong with conversations, as clients see it."""

from __future__ import annotations

from services.common.errors import Code, DomainError, Reason


class ConversationNotFound(DomainError):
    """No such conversation is visible to the caller; one of somebody else's looks the same as none."""

    reason = Reason.CONVERSATION_NOT_FOUND
    code = Code.NOT_FOUND

    def __init__(self) -> None:
        super().__init__("no such conversation")


class LimitReached(DomainError):
    """The caller keeps as much as it may."""

    reason = Reason.LIMIT_REACHED
    code = Code.FAILED_PRECONDITION


class TooManyConversations(LimitReached):
    """The caller has as many conversations as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"you keep {limit} conversations already, the most that one caller may; delete one first",
            metadata={"limit": str(limit), "resource": "conversations"},
        )


class TooManyMessages(LimitReached):
    """The conversation holds as many messages as it may hold."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the conversation holds {limit} messages, the most that one may; start another",
            metadata={"limit": str(limit), "resource": "messages"},
        )
