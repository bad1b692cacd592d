"""The retrieval service's truth in memory. Held to the same contract suite as the PostgreSQL adapters."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.retrieval.errors import DocumentGone, DocumentNotFound, IndexingOvertaken, OperationNotFound
from services.retrieval.model import (
    Chunk,
    Document,
    DocumentFilter,
    DocumentState,
    Failure,
    Job,
    JobKind,
    NewDocument,
    Operation,
    OperationState,
    Passage,
    Position,
    Stored,
    Work,
)
from services.retrieval.ports import Queue


@dataclass
class _Kept:
    document: Document
    content: bytes
    fingerprint: str
    request_id: UUID | None
    chunks: list[Chunk] = field(default_factory=list)


@dataclass
class _Shelf:
    """What one tenant has."""

    documents: dict[UUID, _Kept] = field(default_factory=dict)
    operations: dict[UUID, Operation] = field(default_factory=dict)
    restarts: dict[UUID, int] = field(default_factory=dict)


class FakeRetrievalStore:
    """Implements DocumentStore, IndexingStore, Outbox, Changes. ``fail_next`` makes the next calls raise."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.published: dict[int, datetime] = {}
        self.watchers = 0
        self._locked = False
        self._shelves: dict[str, _Shelf] = {}
        self._ids = itertools.count(1)
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._failures: deque[Exception] = deque()
        self._changed = asyncio.Event()

    def fail_next(self, *errors: Exception) -> None:
        """The next calls raise these, one each, and change nothing."""
        self._failures.extend(errors)

    def advance(self, time: timedelta) -> None:
        """Moves the clock."""
        self._now += time

    # DocumentStore

    async def create(self, tenant: str, document: NewDocument) -> Stored:
        """See DocumentStore."""
        shelf = await self._enter(tenant)
        header = document.header
        if header.request_id is not None:
            for kept in shelf.documents.values():
                if kept.request_id == header.request_id:
                    latest = [o for o in shelf.operations.values() if o.document_id == kept.document.id][-1]
                    return Stored(kept.document, latest, kept.fingerprint)
        stored = Document(
            id=document.id,
            title=header.title,
            media_type=header.media_type,
            source=header.source,
            labels=dict(header.labels),
            state=DocumentState.FAILED if document.refusal else DocumentState.PENDING,
            size_bytes=document.size_bytes,
            chunk_count=0,
            sha256=document.sha256,
            create_time=self._tick(),
        )
        shelf.documents[document.id] = _Kept(
            stored, document.content or b"", document.fingerprint, header.request_id
        )
        operation = self._begun(tenant, document.id, document.operation_id, document.refusal)
        return Stored(stored, operation, document.fingerprint)

    async def get(self, tenant: str, document_id: UUID) -> Document:
        """See DocumentStore."""
        return self._kept(await self._enter(tenant), document_id).document

    async def list_page(
        self, tenant: str, where: DocumentFilter, after: Position | None, limit: int
    ) -> Sequence[Document]:
        """See DocumentStore."""
        shelf = await self._enter(tenant)
        found = [
            kept.document
            for kept in shelf.documents.values()
            if where.labels.items() <= kept.document.labels.items()
            and where.state in (None, kept.document.state)
        ]
        found.sort(key=lambda item: (item.create_time, item.id), reverse=True)
        return [item for item in found if _behind(item.create_time, item.id, after)][:limit]

    async def delete(self, tenant: str, document_id: UUID) -> None:
        """See DocumentStore."""
        shelf = await self._enter(tenant)
        self._kept(shelf, document_id)
        del shelf.documents[document_id]
        for operation in [o for o in shelf.operations.values() if o.document_id == document_id]:
            del shelf.operations[operation.id]
        self._add_job(tenant, JobKind.DELETE, document_id, None)
        self._announce()

    async def get_operation(self, tenant: str, operation_id: UUID) -> Operation:
        """See DocumentStore."""
        found = (await self._enter(tenant)).operations.get(operation_id)
        if found is None:
            raise OperationNotFound(operation_id)
        return found

    async def list_operations(
        self, tenant: str, unfinished_only: bool, after: Position | None, limit: int
    ) -> Sequence[Operation]:
        """See DocumentStore."""
        shelf = await self._enter(tenant)
        found = [o for o in shelf.operations.values() if not (unfinished_only and o.state.finished)]
        found.sort(key=lambda item: (item.create_time, item.id), reverse=True)
        return [item for item in found if _behind(item.create_time, item.id, after)][:limit]

    async def passages(self, tenant: str, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """See DocumentStore."""
        shelf = await self._enter(tenant)
        return {
            chunk.id: Passage(
                chunk_id=chunk.id,
                document_id=kept.document.id,
                title=kept.document.title,
                text=chunk.content.text,
                ordinal=chunk.ordinal,
            )
            for kept in shelf.documents.values()
            if kept.document.state is DocumentState.READY
            for chunk in kept.chunks
            if chunk.id in set(chunk_ids)
        }

    # IndexingStore

    async def begin(self, job: Job) -> Work | None:
        """See IndexingStore."""
        shelf = await self._enter(job.tenant)
        operation = self._operation(shelf, job)
        if operation.state.finished:
            return None
        self._set(shelf, replace(operation, state=OperationState.RUNNING))
        kept = shelf.documents[job.document_id]
        return Work(
            document_id=job.document_id,
            operation=self._operation(shelf, job),
            title=kept.document.title,
            media_type=kept.document.media_type,
            labels=kept.document.labels,
            content=kept.content,
            restarts=shelf.restarts.get(operation.id, 0),
        )

    async def save_chunks(self, job: Job, chunks: Sequence[Chunk]) -> None:
        """See IndexingStore."""
        shelf = await self._enter(job.tenant)
        operation = self._operation(shelf, job)
        self._change(shelf, job.document_id, lambda kept: replace(kept, chunk_count=len(chunks)))
        shelf.documents[job.document_id].chunks = list(chunks)
        self._set(shelf, replace(operation, chunks_total=len(chunks), chunks_indexed=0))

    async def chunks(self, job: Job) -> Sequence[Chunk]:
        """See IndexingStore."""
        kept = (await self._enter(job.tenant)).documents.get(job.document_id)
        return list(kept.chunks) if kept else []

    async def progress(self, job: Job, work: Work, chunks_indexed: int) -> None:
        """See IndexingStore."""
        shelf = await self._enter(job.tenant)
        operation = self._current(shelf, job, work)
        if operation.state is OperationState.RUNNING:
            self._set(shelf, replace(operation, chunks_indexed=chunks_indexed))

    async def succeed(self, job: Job, work: Work) -> None:
        """See IndexingStore."""
        shelf = await self._enter(job.tenant)
        operation = self._current(shelf, job, work)
        if operation.state is OperationState.RUNNING:
            total = operation.chunks_total
            self._set(shelf, replace(operation, state=OperationState.SUCCEEDED, chunks_indexed=total))
            self._change(shelf, job.document_id, lambda kept: replace(kept, state=DocumentState.READY))
        self.jobs.pop(job.id, None)

    async def fail(self, job: Job, failure: Failure) -> None:
        """See IndexingStore."""
        shelf = await self._enter(job.tenant)
        operation = shelf.operations.get(job.operation_id) if job.operation_id else None
        if operation is not None and not operation.state.finished:
            self._set(shelf, replace(operation, state=OperationState.FAILED, failure=failure))
            shelf.documents[job.document_id].chunks = []
            self._change(
                shelf,
                job.document_id,
                lambda kept: replace(kept, state=DocumentState.FAILED, chunk_count=0),
            )
        self.jobs.pop(job.id, None)

    async def forget(self, job: Job) -> None:
        """See IndexingStore."""
        await self._enter(job.tenant)
        self.jobs.pop(job.id, None)

    async def restart(self, tenant: str) -> int:
        """See IndexingStore."""
        shelf = await self._enter(tenant)
        for operation in list(shelf.operations.values()):
            if not operation.state.finished:
                self._set(shelf, replace(operation, chunks_indexed=0))
                shelf.restarts[operation.id] = shelf.restarts.get(operation.id, 0) + 1
        ready = [k.document.id for k in shelf.documents.values() if k.document.state is DocumentState.READY]
        for document_id in ready:
            self._change(shelf, document_id, lambda kept: replace(kept, state=DocumentState.PENDING))
            self._begun(tenant, document_id, uuid4())
        return len(ready)

    # Outbox

    async def publish(self, queue: Queue, older_than: timedelta, limit: int) -> int:
        """See Outbox."""
        await self._enter("")
        due = [
            job
            for job in self.jobs.values()
            if job.id not in self.published or self.published[job.id] < self._now - older_than
        ][:limit]
        if due:
            await queue.put(due)
        self.published.update({job.id: self._now for job in due})
        return len(due)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[bool]:
        """See Outbox."""
        alone = not self._locked
        self._locked = True
        try:
            yield alone
        finally:
            self._locked = self._locked and not alone

    async def tenants(self) -> Sequence[str]:
        """See Outbox."""
        await self._enter("")
        return sorted(name for name in self._shelves if name)

    # Changes

    @asynccontextmanager
    async def watch(self, operation_id: UUID) -> AsyncIterator[AsyncIterator[None]]:
        """See Changes."""
        self.watchers += 1
        try:
            yield self._ticks()
        finally:
            self.watchers -= 1

    async def _ticks(self) -> AsyncIterator[None]:
        while True:
            try:
                async with asyncio.timeout(0.05):
                    await self._changed.wait()
            except TimeoutError:
                pass
            yield

    # Inside

    async def _enter(self, tenant: str) -> _Shelf:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.popleft()
        return self._shelves.setdefault(tenant, _Shelf())

    def _tick(self) -> datetime:
        self._now += timedelta(microseconds=1)
        return self._now

    @staticmethod
    def _kept(shelf: _Shelf, document_id: UUID) -> _Kept:
        if document_id not in shelf.documents:
            raise DocumentNotFound(document_id)
        return shelf.documents[document_id]

    @staticmethod
    def _operation(shelf: _Shelf, job: Job) -> Operation:
        if job.operation_id not in shelf.operations:
            raise DocumentGone
        return shelf.operations[job.operation_id]

    def _current(self, shelf: _Shelf, job: Job, work: Work) -> Operation:
        operation = self._operation(shelf, job)
        if not operation.state.finished and shelf.restarts.get(operation.id, 0) != work.restarts:
            raise IndexingOvertaken
        return operation

    def _begun(
        self, tenant: str, document_id: UUID, operation_id: UUID, refusal: Failure | None = None
    ) -> Operation:
        now = self._tick()
        operation = Operation(
            id=operation_id,
            document_id=document_id,
            state=OperationState.FAILED if refusal else OperationState.QUEUED,
            chunks_total=0,
            chunks_indexed=0,
            failure=refusal,
            create_time=now,
            update_time=now,
        )
        self._shelves[tenant].operations[operation_id] = operation
        if refusal is None:
            self._add_job(tenant, JobKind.INDEX, document_id, operation_id)
        return operation

    def _add_job(self, tenant: str, kind: JobKind, document_id: UUID, operation_id: UUID | None) -> None:
        job_id = next(self._ids)
        self.jobs[job_id] = Job(
            id=job_id, tenant=tenant, kind=kind, document_id=document_id, operation_id=operation_id
        )

    def _set(self, shelf: _Shelf, operation: Operation) -> None:
        shelf.operations[operation.id] = replace(operation, update_time=self._tick())
        self._announce()

    @staticmethod
    def _change(shelf: _Shelf, document_id: UUID, change: Callable[[Document], Document]) -> None:
        kept = shelf.documents[document_id]
        kept.document = change(kept.document)

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _behind(time: datetime, item_id: UUID, after: Position | None) -> bool:
    return after is None or (time, item_id) < (after.create_time, after.id)
