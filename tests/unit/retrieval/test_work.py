"""What an indexer does for a job, and that doing it again, or half, does no harm."""

from __future__ import annotations

import pytest

from fakes.retrieval_index import FakeIndex
from fakes.retrieval_models import FakeEmbedder, FakeReader
from fakes.retrieval_store import FakeRetrievalStore
from services.common.errors import ModelFailed, ModelUnavailable, Reason
from services.retrieval.documents import Documents
from services.retrieval.errors import DocumentUnreadable, IndexingOvertaken, IndexMissing, IndexRefusal
from services.retrieval.indexer.work import Worker
from services.retrieval.model import DocumentState, Header, Job, JobKind, MediaType, OperationState, Stored

HEADER = Header(title="A title", media_type=MediaType.TEXT, labels={"team": "red"})
FIVE = b"one\ntwo\nthree\nfour\nfive"


async def created(
    documents: Documents, store: FakeRetrievalStore, content: bytes = FIVE
) -> tuple[Stored, Job]:
    stored = await documents.create("acme", HEADER, content)
    return stored, next(reversed(store.jobs.values()))


async def test_an_indexed_document_is_ready_and_all_of_it_is_in_the_index(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    stored, job = await created(documents, store)
    await worker.perform(job)
    document = await documents.get("acme", stored.document.id)
    operation = await documents.get_operation("acme", stored.operation.id)
    assert (document.state, document.chunk_count) == (DocumentState.READY, 5)
    assert operation.state is OperationState.SUCCEEDED
    assert (operation.chunks_total, operation.chunks_indexed) == (5, 5)
    assert len(index.rows) == 5
    assert embedder.texts[0] == "A title\none"
    assert not store.jobs


async def test_doing_a_job_twice_changes_nothing(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    _, job = await created(documents, store)
    await worker.perform(job)
    before = dict(index.rows)
    await worker.perform(job)
    assert index.rows == before
    assert len(embedder.texts) == 5


async def test_an_interrupted_job_goes_on_where_it_was(
    documents: Documents,
    store: FakeRetrievalStore,
    worker: Worker,
    index: FakeIndex,
    embedder: FakeEmbedder,
    reader: FakeReader,
) -> None:
    stored, job = await created(documents, store)

    async def dies() -> None:
        raise ModelUnavailable("gone")

    embedder.before[2] = dies
    with pytest.raises(ModelUnavailable):
        await worker.perform(job)
    halfway = await documents.get_operation("acme", stored.operation.id)
    assert (halfway.state, halfway.chunks_indexed) == (OperationState.RUNNING, 2)
    await worker.perform(job)
    assert reader.reads == 1
    assert len(embedder.texts) == 5
    assert len(index.rows) == 5
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.READY


async def test_an_index_that_lost_the_beginning_is_filled_again_before_the_document_is_ready(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    stored, job = await created(documents, store)

    async def loses_the_index() -> None:
        index.rows.clear()

    embedder.before[2] = loses_the_index
    await worker.perform(job)
    assert len(index.rows) == 5
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.READY


async def test_a_document_that_cannot_be_read_fails_and_leaves_nothing(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, reader: FakeReader
) -> None:
    stored, job = await created(documents, store)
    reader.failures.append(DocumentUnreadable("not a PDF", metadata={"byte_offset": "7"}))
    await worker.perform(job)
    operation = await documents.get_operation("acme", stored.operation.id)
    document = await documents.get("acme", stored.document.id)
    assert (document.state, document.chunk_count) == (DocumentState.FAILED, 0)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.reason is Reason.DOCUMENT_UNREADABLE
    assert operation.failure.metadata == {"byte_offset": "7"}
    assert not index.rows
    assert not store.jobs


async def test_a_document_deleted_before_its_job_is_not_indexed(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex
) -> None:
    stored, job = await created(documents, store)
    await documents.delete("acme", stored.document.id)
    await worker.perform(job)
    assert not index.rows
    assert [left.kind for left in store.jobs.values()] == [JobKind.DELETE]


async def test_a_document_deleted_while_it_is_indexed_leaves_no_orphans(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    stored, job = await created(documents, store)

    async def deletes() -> None:
        await documents.delete("acme", stored.document.id)
        # The deletion is carried out before the last wave is written.
        await worker.perform(next(reversed(store.jobs.values())))

    embedder.before[3] = deletes
    await worker.perform(job)
    assert not index.rows
    assert not store.jobs


async def test_a_deletion_removes_every_chunk(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex
) -> None:
    stored, job = await created(documents, store)
    await worker.perform(job)
    await documents.delete("acme", stored.document.id)
    await worker.perform(next(iter(store.jobs.values())))
    assert not index.rows
    assert not store.jobs


async def test_a_job_given_up_fails_its_operation(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex
) -> None:
    stored, job = await created(documents, store)
    await worker.abandon(job, None)
    operation = await documents.get_operation("acme", stored.operation.id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.reason is Reason.INTERNAL
    assert not store.jobs


async def test_a_job_given_up_says_why_where_the_words_are_for_the_public(
    documents: Documents, store: FakeRetrievalStore, worker: Worker
) -> None:
    said = []
    for cause in (ModelFailed("the model embedder failed"), RuntimeError("secret words")):
        stored, job = await created(documents, store)
        await worker.abandon(job, cause)
        failure = (await documents.get_operation("acme", stored.operation.id)).failure
        assert failure is not None
        said.append((failure.message, dict(failure.metadata)))
    assert "because the model embedder failed" in said[0][0]
    assert said[0][1] == {"cause": "MODEL_UNAVAILABLE"}
    assert "secret" not in str(said[1])


async def test_a_job_is_given_up_though_the_index_refuses_to_forget_it(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex
) -> None:
    stored, job = await created(documents, store)
    index.failures.append(IndexRefusal("no"))
    await worker.abandon(job, None)
    operation = await documents.get_operation("acme", stored.operation.id)
    assert operation.state is OperationState.FAILED
    assert not store.jobs


async def test_a_missing_index_is_not_the_documents_fault(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex
) -> None:
    stored, job = await created(documents, store)
    index.lose_everything()
    with pytest.raises(IndexMissing):
        await worker.perform(job)
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.PENDING
    assert store.jobs


async def test_work_that_a_lost_index_overtook_does_not_make_the_document_ready(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    stored, job = await created(documents, store)

    async def restarts() -> None:
        await store.restart("acme")

    embedder.before[3] = restarts
    with pytest.raises(IndexingOvertaken):
        await worker.perform(job)
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.PENDING
    await worker.perform(job)
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.READY
    assert len(index.rows) == 5
