"""What the gateway's core needs from the outside. Adapters raise services.common.errors.DomainError only."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from services.gateway.model import Citation, Grounding, Passage, Role, StoredTurn, Usage


class Outcome(enum.Enum):
    """How an audited action ended."""

    SUCCEEDED = "succeeded"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One entry of the audit log. Who did it is known to the policy service from the caller's token."""

    request_id: str
    """A UUID; an entry that is sent again under it is stored once."""
    action: str
    resource: str
    outcome: Outcome
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Never text of a conversation or document."""


class Policy(Protocol):
    """The policy service, on behalf of the caller."""

    async def check(self, action: str) -> None:
        """Raises PermissionDenied unless the caller may do this."""

    async def reserve(self, reservation_id: str, tokens: int, lease: timedelta) -> None:
        """Takes tokens out of the tenant's quota, once for each id; raises when there are not enough."""

    async def settle(self, reservation_id: str, used: int) -> None:
        """Ends a reservation with the tokens that were used. One that does not exist is no error."""

    async def audit(self, record: AuditRecord) -> None:
        """Stores an audit entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to append."""

    conversation_id: str
    role: Role
    text: str
    request_id: str
    """A UUID; a message that is sent again under it is stored once."""
    citations: Sequence[Citation] = ()
    partial: bool = False


class Conversations(Protocol):
    """The session service, on behalf of the caller."""

    async def recent(self, conversation_id: str, limit: int) -> Sequence[StoredTurn]:
        """The last ``limit`` messages, oldest first; raises when the caller has no such conversation."""

    async def append(self, message: NewMessage) -> int:
        """Stores a message and returns its sequence number.

        Raises:
            RequestIdReused: another message was stored under this request id.
        """


class Passages(Protocol):
    """The retrieval service, on behalf of the caller."""

    async def search(self, query: str, limit: int, grounding: Grounding) -> Sequence[Passage]:
        """The best passages, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What goes to the generator."""

    messages: Sequence[Mapping[str, str]]
    """``role`` and ``content`` of each message."""
    max_tokens: int
    temperature: float
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    cache_key: str
    """The KV cache is shared among prompts with the same key only: the tenant."""
    said: str = ""
    """The beginning of the answer, which was written before: the model goes on behind it."""
    said_tokens: int = 0
    """How many tokens it has; they count against ``max_tokens``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What the generator sends at a time."""

    text: str
    finish_reason: str = ""
    """``stop`` or ``length`` in the last piece."""
    usage: Usage | None = None
    """In the last piece: of the whole answer, its beginning included."""
    region: str = ""
    """Where the model is, if the mesh tells."""


class Generator(Protocol):
    """The language model. Closing the iterator stops the generation at once."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Streams an answer."""

    async def ready(self) -> bool:
        """Whether it works."""


class Embedder(Protocol):
    """The embedding model."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of length 1 for each text."""

    async def ready(self) -> bool:
        """Whether it works."""
