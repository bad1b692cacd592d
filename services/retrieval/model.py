"""What the retrieval service deals with. Nothing here knows protos or drivers."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID, uuid5

from services.common.errors import Code, Reason

T = TypeVar("T")

CHUNK_NAMESPACE = UUID("5f9c1f0e-3f0b-5f57-8b1e-9a4b7f6f2a11")
"""Namespace of chunk ids (RFC 9562, version 5)."""


_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def tenant_id(tenant: str) -> str:
    """``tenant``, which is one: fit for keys and filters.

    Raises:
        ValueError: it is not. Tokens with such a tenant are refused long before; this is the second lock.
    """
    if not _TENANT.fullmatch(tenant):
        raise ValueError("not a tenant id")
    return tenant


class MediaType(enum.StrEnum):
    """What a document's bytes are."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    PDF = "pdf"


class DocumentState(enum.StrEnum):
    """How far a document's ingestion is."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class OperationState(enum.StrEnum):
    """How far an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether it will never change again."""
        return self in (OperationState.SUCCEEDED, OperationState.FAILED)


class SearchMode(enum.StrEnum):
    """How a query is matched."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is said of a document beside its bytes."""

    title: str
    media_type: MediaType
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document about to be stored."""

    id: UUID
    operation_id: UUID
    header: Header
    content: bytes | None
    """None where ``refusal`` says why it was not read."""
    size_bytes: int
    sha256: str
    """Of the content, in lower-case hexadecimal; empty without content."""
    fingerprint: str
    """Equal for two requests that ask for the same document."""
    refusal: Failure | None = None
    """Why it will never be indexed: its operation has failed from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored document, without its bytes."""

    id: UUID
    title: str
    media_type: MediaType
    source: str
    labels: Mapping[str, str]
    state: DocumentState
    size_bytes: int
    chunk_count: int
    sha256: str
    """Empty for one that was refused unread."""
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an ingestion was given up. The message is public."""

    code: Code
    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The ingestion of one document."""

    id: UUID
    document_id: UUID
    state: OperationState
    chunks_total: int
    chunks_indexed: int
    failure: Failure | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """What a creation gives back."""

    document: Document
    operation: Operation
    fingerprint: str
    """Of the request that created it; differs from the caller's when a request_id was used twice."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: creation time and id of its last item."""

    create_time: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items, and the token of the next page; empty at the end."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFilter:
    """Which documents a list shows; all that is set must hold."""

    labels: Mapping[str, str] = field(default_factory=dict)
    state: DocumentState | None = None


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A passage as the reader cuts it."""

    text: str
    """What a citation shows."""
    context: str
    """Title and headings it stands under; embedded and indexed in front of the text."""

    @property
    def indexed(self) -> str:
        """What is embedded and matched."""
        return f"{self.context}\n{self.text}" if self.context else self.text


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage in its document."""

    id: UUID
    ordinal: int
    content: ChunkText


def chunk_id(document_id: UUID, ordinal: int) -> UUID:
    """The id of a passage: the same each time a document is indexed, so that once is like twice."""
    return uuid5(CHUNK_NAMESPACE, f"{document_id}/{ordinal}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFilter:
    """Where to look; all that is set must hold."""

    document_ids: Sequence[UUID] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    media_types: Sequence[MediaType] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that an index found."""

    chunk_id: UUID
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk as PostgreSQL has it, with what a citation needs of its document."""

    chunk_id: UUID
    document_id: UUID
    title: str
    text: str
    ordinal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A passage that a search found."""

    passage: Passage
    score: float
    cosine: float | None


class JobKind(enum.StrEnum):
    """What an indexer has to do for a document."""

    INDEX = "index"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of the outbox: ids only, no text."""

    id: int
    tenant: str
    kind: JobKind
    document_id: UUID
    operation_id: UUID | None
    """None for a deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A job that the queue handed to one worker."""

    job: Job
    receipt: str
    """What the queue knows it by."""
    attempt: int
    """1 the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A document as the indexer needs it."""

    document_id: UUID
    operation: Operation
    title: str
    media_type: MediaType
    labels: Mapping[str, str]
    content: bytes
    restarts: int
    """How often the operation had been started over when this work was begun."""
