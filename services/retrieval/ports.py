"""What the cores need of the world. The contract suites in tests/contract/retrieval say it in tests.

Every method that talks to a server raises StoreUnavailable or ModelUnavailable when it cannot be reached, and
DeadlineExceeded when the caller waits for less time than it takes. One that answers, but not with what was
asked for, is another error: IndexRefusal, ModelFailed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from services.retrieval.model import (
    Chunk,
    ChunkText,
    Delivery,
    Document,
    DocumentFilter,
    Failure,
    Hit,
    Job,
    MediaType,
    NewDocument,
    Operation,
    Passage,
    Position,
    SearchFilter,
    Stored,
    Work,
)

Vectors = npt.NDArray[np.float32]
"""Unit vectors, shape [n, dimensions]."""


class DocumentStore(Protocol):
    """The truth about a tenant's documents."""

    async def create(self, tenant: str, document: NewDocument) -> Stored:
        """Stores a document, its operation and its job in one transaction; no job for one that is refused.

        With a request_id that the tenant has used before, stores nothing and gives what is there.
        """
        ...

    async def get(self, tenant: str, document_id: UUID) -> Document:
        """Raises DocumentNotFound."""
        ...

    async def list_page(
        self, tenant: str, where: DocumentFilter, after: Position | None, limit: int
    ) -> Sequence[Document]:
        """The newest first, from behind ``after``."""
        ...

    async def delete(self, tenant: str, document_id: UUID) -> None:
        """Deletes a document with its passages and operations, and queues its removal from the index.

        Raises:
            DocumentNotFound: there is none, or no longer.
        """
        ...

    async def get_operation(self, tenant: str, operation_id: UUID) -> Operation:
        """Raises OperationNotFound; also for one whose document is deleted."""
        ...

    async def list_operations(
        self, tenant: str, unfinished_only: bool, after: Position | None, limit: int
    ) -> Sequence[Operation]:
        """The newest first, from behind ``after``."""
        ...

    async def passages(self, tenant: str, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """Those of the chunks that belong to a document that is READY."""
        ...


class IndexingStore(Protocol):
    """What the indexer reads and writes of the truth."""

    async def begin(self, job: Job) -> Work | None:
        """The document to index, its operation now RUNNING; None when that is done already.

        Raises:
            DocumentGone: it was deleted.
        """
        ...

    async def save_chunks(self, job: Job, chunks: Sequence[Chunk]) -> None:
        """Replaces the document's passages by these, and starts the operation's count from 0.

        Raises:
            DocumentGone: it was deleted.
        """
        ...

    async def chunks(self, job: Job) -> Sequence[Chunk]:
        """The document's passages, by ordinal."""
        ...

    async def progress(self, job: Job, work: Work, chunks_indexed: int) -> None:
        """Records how many passages are in the index.

        Raises:
            DocumentGone: it was deleted.
            IndexingOvertaken: ``restart`` came after ``work`` was begun.
        """
        ...

    async def succeed(self, job: Job, work: Work) -> None:
        """Marks the document READY and the operation SUCCEEDED, and forgets the job.

        Raises:
            DocumentGone: it was deleted.
            IndexingOvertaken: ``restart`` came after ``work`` was begun.
        """
        ...

    async def fail(self, job: Job, failure: Failure) -> None:
        """Marks both FAILED, deletes the passages and forgets the job. Fine when the document is gone."""
        ...

    async def forget(self, job: Job) -> None:
        """Removes the job: it is done."""
        ...

    async def restart(self, tenant: str) -> int:
        """Queues every document of the tenant that is indexed, or half indexed, anew. Gives how many."""
        ...


class Outbox(Protocol):
    """The jobs of all tenants that are not done, as the relay's role sees them."""

    async def publish(self, queue: Queue, older_than: timedelta, limit: int) -> int:
        """Hands jobs to the queue that never were, or not since ``older_than``. Gives how many."""
        ...

    async def tenants(self) -> Sequence[str]:
        """Every tenant that ever stored a document."""
        ...

    def exclusive(self) -> AbstractAsyncContextManager[bool]:
        """Whether this process alone is inside now; another one's turn is not waited for."""
        ...


class Queue(Protocol):
    """Jobs on their way to the indexers: at least once, fair across tenants."""

    async def put(self, jobs: Sequence[Job]) -> None:
        """Queues jobs; those that are queued or under way already are left as they are."""
        ...

    async def take(self, limit: int, wait: timedelta) -> Sequence[Delivery]:
        """Up to ``limit`` jobs, each tenant in its turn; waits up to ``wait`` for the first."""
        ...

    async def extend(self, delivery: Delivery) -> None:
        """Keeps a job from being handed to another worker; call it within the visibility timeout."""
        ...

    async def done(self, delivery: Delivery) -> None:
        """Removes a job."""
        ...

    async def give_back(self, delivery: Delivery) -> None:
        """Lets another worker have a job at once."""
        ...


class VectorIndex(Protocol):
    """The index of all tenants; nothing can be read or written but through one tenant's view."""

    async def prepare(self) -> bool:
        """Makes sure that the index exists. True when what it held was lost, or it never held anything.

        One process at a time may be in here: a half-made index is made anew.
        """
        ...

    async def confirm(self) -> None:
        """Records that everything that has to go into the index is queued."""
        ...

    async def check(self) -> None:
        """Raises StoreUnavailable unless the index exists and answers."""
        ...

    def for_tenant(self, tenant: str) -> TenantIndex:
        """One tenant's view."""
        ...


class TenantIndex(Protocol):
    """One tenant's part of the index."""

    async def dense(self, vector: Vectors, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """The chunks nearest to a vector of shape [dimensions], scored by cosine."""
        ...

    async def lexical(self, query: str, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """The chunks that match words of the query, scored by BM25; none when it has no words to match."""
        ...

    async def cosines(self, vector: Vectors, chunk_ids: Sequence[UUID]) -> Mapping[UUID, float]:
        """Cosines of given chunks; those that the index does not hold are missing."""
        ...

    async def upsert(
        self,
        document_id: UUID,
        media_type: MediaType,
        labels: Mapping[str, str],
        chunks: Sequence[Chunk],
        vectors: Vectors,
    ) -> None:
        """Writes chunks; writing them again changes nothing. Raises IndexMissing."""
        ...

    async def count(self, document_id: UUID) -> int:
        """How many chunks of a document there are. Raises IndexMissing."""
        ...

    async def delete(self, document_id: UUID) -> None:
        """Removes all chunks of a document. Fine when there are none, or no index."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape [len(texts), dimensions].

        Raises:
            InvalidRequest: the model refuses a text.
            ModelFailed: the model failed over it.
            Overloaded: try again later.
        """
        ...


class Reader(Protocol):
    """Reads a document's bytes and cuts the text into passages."""

    async def read(self, media_type: MediaType, title: str, content: bytes) -> Sequence[ChunkText]:
        """At least one passage.

        Raises:
            DocumentUnreadable, DocumentEmpty, DocumentTooLong: the document's fault.
        """
        ...


class Changes(Protocol):
    """News of operations."""

    def watch(self, operation_id: UUID) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Yields once after each change, or some of them together, and once in a while without one."""
        ...
