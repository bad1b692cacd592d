"""What is done for one job. Every step may be repeated: a job is delivered at least once.

The order is the safety: passages are in PostgreSQL before they are in the index, and the document is READY
only after the index has counted all of them. Whatever breaks in between, the job is still there and begins
again where the last noted progress was. A document that is deleted meanwhile is noticed at the next write to
PostgreSQL; its chunks are then removed from the index by whoever noticed, beside the deletion's own job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.retrieval.errors import DocumentGone, IndexRefusal, IngestionAbandoned, IngestionError
from services.retrieval.model import Chunk, Job, JobKind, Work, chunk_id
from services.retrieval.ports import Embedder, IndexingStore, Reader, VectorIndex

log = logging.getLogger(__name__)


class Worker:
    """Does one job at a time; many may run side by side."""

    def __init__(
        self, store: IndexingStore, reader: Reader, embedder: Embedder, index: VectorIndex, wave: int
    ) -> None:
        """``wave``: passages that are embedded and written together."""
        self._store = store
        self._reader = reader
        self._embedder = embedder
        self._index = index
        self._wave = wave

    async def perform(self, job: Job) -> None:
        """Does the job, or fails its operation when it is the document's fault.

        Raises:
            StoreUnavailable, ModelUnavailable, Overloaded, IndexMissing, IndexingOvertaken: not now; it has
                to be tried again.
            Exception: it was tried and failed; it may be tried a few times more.
        """
        if job.kind is JobKind.DELETE:
            await self._remove(job)
            return
        try:
            work = await self._store.begin(job)
            if work is None:
                await self._store.forget(job)
                return
            await self._ingest(job, work)
        except DocumentGone:
            await self._remove(job)
        except IngestionError as error:
            log.info(
                "document refused", extra={"document": str(job.document_id), "reason": error.reason.name}
            )
            # An earlier indexing may have left chunks behind.
            await self._index.for_tenant(job.tenant).delete(job.document_id)
            await self._store.fail(job, error.failure())

    async def abandon(self, job: Job, cause: Exception | None) -> None:
        """Gives a job up that was tried too often. ``cause``: how the last try ended, if anybody saw it."""
        if job.kind is JobKind.DELETE:
            # Nothing shows what is deleted; the outbox keeps the job, and the relay brings it again.
            return
        error = IngestionAbandoned.after(cause)
        try:
            await self._index.for_tenant(job.tenant).delete(job.document_id)
        except IndexRefusal:
            # No search gives what is not READY in PostgreSQL, and the operation must end.
            extra = {"document": str(job.document_id)}
            log.exception("chunks of a document that was given up stay in the index", extra=extra)
        await self._store.fail(job, error.failure())

    async def _remove(self, job: Job) -> None:
        await self._index.for_tenant(job.tenant).delete(job.document_id)
        await self._store.forget(job)

    async def _ingest(self, job: Job, work: Work) -> None:
        chunks, done = await self._chunks(job, work)
        index = self._index.for_tenant(job.tenant)
        await self._fill(job, work, chunks, done)
        if await index.count(job.document_id) != len(chunks):
            # The index lost some of it meanwhile, or holds some of an older cutting.
            await index.delete(job.document_id)
            await self._fill(job, work, chunks, 0)
        await self._store.succeed(job, work)

    async def _chunks(self, job: Job, work: Work) -> tuple[Sequence[Chunk], int]:
        """The passages, and how many of them are in the index already."""
        if work.operation.chunks_indexed:
            return await self._store.chunks(job), work.operation.chunks_indexed
        texts = await self._reader.read(work.media_type, work.title, work.content)
        chunks = [
            Chunk(chunk_id(job.document_id, ordinal), ordinal, text) for ordinal, text in enumerate(texts)
        ]
        await self._store.save_chunks(job, chunks)
        return chunks, 0

    async def _fill(self, job: Job, work: Work, chunks: Sequence[Chunk], done: int) -> None:
        index = self._index.for_tenant(job.tenant)
        for start in range(done, len(chunks), self._wave):
            wave = chunks[start : start + self._wave]
            vectors = await self._embedder.embed([chunk.content.indexed for chunk in wave])
            await index.upsert(job.document_id, work.media_type, work.labels, wave, vectors)
            if start + len(wave) < len(chunks):
                await self._store.progress(job, work, start + len(wave))
