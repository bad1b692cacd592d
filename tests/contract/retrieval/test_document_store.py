"""What every store of documents and jobs has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from fakes.retrieval_queue import FakeQueue, FakeQueueServer
from services.common.errors import Code, Reason
from services.retrieval.errors import DocumentGone, DocumentNotFound, IndexingOvertaken, OperationNotFound
from services.retrieval.model import (
    Chunk,
    ChunkText,
    DocumentFilter,
    DocumentState,
    Failure,
    Header,
    Job,
    JobKind,
    MediaType,
    NewDocument,
    OperationState,
    Position,
    Stored,
    Work,
    chunk_id,
)

from .conftest import Stores

HEADER = Header(
    title="Ein Titel ☂", media_type=MediaType.HTML, source="a.html", labels={"team": "red", "q": 'a"b\\c'}
)
FAILURE = Failure(
    code=Code.FAILED_PRECONDITION,
    reason=Reason.DOCUMENT_UNREADABLE,
    message="not UTF-8",
    metadata={"byte_offset": "3"},
)


def new(header: Header = HEADER, content: bytes = b"\x00\xff content", fingerprint: str = "f") -> NewDocument:
    return NewDocument(
        id=uuid4(),
        operation_id=uuid4(),
        header=header,
        content=content,
        size_bytes=len(content),
        sha256="0" * 64,
        fingerprint=fingerprint,
    )


def chunks_of(document_id: UUID, *texts: str) -> list[Chunk]:
    return [
        Chunk(chunk_id(document_id, number), number, ChunkText(text, "context"))
        for number, text in enumerate(texts)
    ]


async def jobs_of(stores: Stores, tenant: str) -> Sequence[Job]:
    server = FakeQueueServer()
    await stores.outbox.publish(FakeQueue(server), timedelta(seconds=-1), 10_000)
    return [entry.job for entry in server.entries.values() if entry.job.tenant == tenant]


async def ready(stores: Stores, tenant: str, stored: Stored, *texts: str) -> Job:
    job = next(j for j in await jobs_of(stores, tenant) if j.operation_id == stored.operation.id)
    work = await begin(stores, job)
    await stores.indexing.save_chunks(job, chunks_of(stored.document.id, *texts))
    await stores.indexing.succeed(job, work)
    return job


async def begin(stores: Stores, job: Job) -> Work:
    work = await stores.indexing.begin(job)
    assert work is not None
    return work


async def test_what_is_created_can_be_read(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    document = await stores.documents.get(tenant, stored.document.id)
    assert document == stored.document
    assert (document.title, document.labels, document.source) == (HEADER.title, HEADER.labels, "a.html")
    assert (document.state, document.size_bytes) == (DocumentState.PENDING, 10)
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert operation == stored.operation
    assert operation.state is OperationState.QUEUED


async def test_what_is_refused_has_failed_from_the_start_and_is_no_work(stores: Stores, tenant: str) -> None:
    header = replace(HEADER, request_id=uuid4())
    refused = replace(new(header), content=None, size_bytes=2**40, sha256="", refusal=FAILURE)
    stored = await stores.documents.create(tenant, refused)
    document = await stores.documents.get(tenant, stored.document.id)
    assert document == stored.document
    assert (document.state, document.size_bytes, document.sha256) == (DocumentState.FAILED, 2**40, "")
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert operation == stored.operation
    assert (operation.state, operation.failure) == (OperationState.FAILED, FAILURE)
    assert await jobs_of(stores, tenant) == []
    assert await stores.documents.create(tenant, replace(refused, id=uuid4(), operation_id=uuid4())) == stored
    assert await stores.indexing.restart(tenant) == 0
    await stores.documents.delete(tenant, document.id)
    assert await stores.documents.list_page(tenant, DocumentFilter(), None, 10) == []


async def test_a_request_id_creates_once_even_at_the_same_moment(stores: Stores, tenant: str) -> None:
    header = replace(HEADER, request_id=uuid4())
    made = await asyncio.gather(*(stores.documents.create(tenant, new(header)) for _ in range(8)))
    assert len({stored.document.id for stored in made}) == 1
    assert len({stored.operation.id for stored in made}) == 1
    assert len(await jobs_of(stores, tenant)) == 1


async def test_a_used_request_id_gives_the_fingerprint_it_was_used_with(stores: Stores, tenant: str) -> None:
    header = replace(HEADER, request_id=uuid4())
    await stores.documents.create(tenant, new(header, fingerprint="first"))
    again = await stores.documents.create(tenant, new(header, fingerprint="second"))
    assert again.fingerprint == "first"


async def test_another_tenant_sees_nothing(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    await ready(stores, tenant, stored, "one")
    other = f"{tenant}-x"
    with pytest.raises(DocumentNotFound):
        await stores.documents.get(other, stored.document.id)
    with pytest.raises(DocumentNotFound):
        await stores.documents.delete(other, stored.document.id)
    with pytest.raises(OperationNotFound):
        await stores.documents.get_operation(other, stored.operation.id)
    assert await stores.documents.list_page(other, DocumentFilter(), None, 10) == []
    assert await stores.documents.list_operations(other, False, None, 10) == []
    assert await stores.documents.passages(other, [chunk_id(stored.document.id, 0)]) == {}


async def test_lists_are_newest_first_and_go_on_behind_a_position(stores: Stores, tenant: str) -> None:
    made = [(await stores.documents.create(tenant, new())).document for _ in range(5)]
    first = await stores.documents.list_page(tenant, DocumentFilter(), None, 3)
    after = Position(first[-1].create_time, first[-1].id)
    rest = await stores.documents.list_page(tenant, DocumentFilter(), after, 3)
    assert [item.id for item in [*first, *rest]] == [item.id for item in made[::-1]]
    operations = await stores.documents.list_operations(tenant, False, None, 2)
    after = Position(operations[-1].create_time, operations[-1].id)
    more = await stores.documents.list_operations(tenant, False, after, 5)
    assert [item.document_id for item in [*operations, *more]] == [item.id for item in made[::-1]]


async def test_lists_are_narrowed_by_labels_and_state(stores: Stores, tenant: str) -> None:
    red = await stores.documents.create(tenant, new())
    blue = await stores.documents.create(tenant, new(replace(HEADER, labels={"team": "blue"})))
    await ready(stores, tenant, blue, "one")

    async def listed(where: DocumentFilter) -> list[UUID]:
        return [item.id for item in await stores.documents.list_page(tenant, where, None, 10)]

    assert await listed(DocumentFilter(labels={"team": "red"})) == [red.document.id]
    assert await listed(DocumentFilter(labels={"q": 'a"b\\c'})) == [red.document.id]
    assert await listed(DocumentFilter(labels={"team": "green"})) == []
    assert await listed(DocumentFilter(state=DocumentState.READY)) == [blue.document.id]
    assert await listed(DocumentFilter(labels={"team": "blue"}, state=DocumentState.PENDING)) == []
    unfinished = await stores.documents.list_operations(tenant, True, None, 10)
    assert [item.document_id for item in unfinished] == [red.document.id]


async def test_ingestion_goes_from_queued_to_succeeded(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    assert (job.kind, job.document_id, job.operation_id) == (
        JobKind.INDEX,
        stored.document.id,
        stored.operation.id,
    )
    work = await stores.indexing.begin(job)
    assert work is not None
    assert (work.title, work.media_type, work.labels) == (HEADER.title, HEADER.media_type, HEADER.labels)
    assert work.content == b"\x00\xff content"
    assert work.operation.state is OperationState.RUNNING
    chunks = chunks_of(stored.document.id, "one", "two", "three")
    await stores.indexing.save_chunks(job, chunks)
    assert list(await stores.indexing.chunks(job)) == chunks
    await stores.indexing.progress(job, work, 2)
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert (operation.chunks_total, operation.chunks_indexed) == (3, 2)
    assert await stores.documents.passages(tenant, [chunks[0].id]) == {}
    await stores.indexing.succeed(job, work)
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert (operation.state, operation.chunks_indexed) == (OperationState.SUCCEEDED, 3)
    document = await stores.documents.get(tenant, stored.document.id)
    assert (document.state, document.chunk_count) == (DocumentState.READY, 3)
    passages = await stores.documents.passages(tenant, [chunk.id for chunk in chunks] + [uuid4()])
    assert {p.ordinal: p.text for p in passages.values()} == {0: "one", 1: "two", 2: "three"}
    assert {p.title for p in passages.values()} == {HEADER.title}
    assert not await jobs_of(stores, tenant)
    assert await stores.indexing.begin(job) is None


async def test_chunks_saved_again_replace_those_before(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    work = await begin(stores, job)
    await stores.indexing.save_chunks(job, chunks_of(stored.document.id, *"abcdef"))
    await stores.indexing.progress(job, work, 5)
    await stores.indexing.save_chunks(job, chunks_of(stored.document.id, "x"))
    assert [chunk.content.text for chunk in await stores.indexing.chunks(job)] == ["x"]
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert (operation.chunks_total, operation.chunks_indexed) == (1, 0)


async def test_many_chunks_are_saved_and_read_in_order(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    await stores.indexing.begin(job)
    texts = [f"text {number}" for number in range(4_500)]
    await stores.indexing.save_chunks(job, chunks_of(stored.document.id, *texts))
    assert [chunk.content.text for chunk in await stores.indexing.chunks(job)] == texts


async def test_a_failure_is_kept_and_leaves_no_passages(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    await stores.indexing.begin(job)
    await stores.indexing.save_chunks(job, chunks_of(stored.document.id, "one"))
    await stores.indexing.fail(job, FAILURE)
    operation = await stores.documents.get_operation(tenant, stored.operation.id)
    assert (operation.state, operation.failure) == (OperationState.FAILED, FAILURE)
    document = await stores.documents.get(tenant, stored.document.id)
    assert (document.state, document.chunk_count) == (DocumentState.FAILED, 0)
    assert await stores.indexing.chunks(job) == []
    assert not await jobs_of(stores, tenant)


async def test_a_finished_operation_never_changes(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    late = await begin(stores, job)
    await ready(stores, tenant, stored, "one", "two")
    before = await stores.documents.get_operation(tenant, stored.operation.id)
    await stores.indexing.progress(job, late, 1)
    await stores.indexing.fail(job, FAILURE)
    await stores.indexing.succeed(job, late)
    assert await stores.documents.get_operation(tenant, stored.operation.id) == before
    assert (await stores.documents.get(tenant, stored.document.id)).state is DocumentState.READY
    assert len(await stores.documents.passages(tenant, [chunk_id(stored.document.id, 0)])) == 1


async def test_a_deletion_takes_everything_and_queues_the_rest(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    await ready(stores, tenant, stored, "one")
    await stores.documents.delete(tenant, stored.document.id)
    with pytest.raises(DocumentNotFound):
        await stores.documents.get(tenant, stored.document.id)
    with pytest.raises(DocumentNotFound):
        await stores.documents.delete(tenant, stored.document.id)
    with pytest.raises(OperationNotFound):
        await stores.documents.get_operation(tenant, stored.operation.id)
    assert await stores.documents.passages(tenant, [chunk_id(stored.document.id, 0)]) == {}
    (job,) = await jobs_of(stores, tenant)
    assert (job.kind, job.document_id, job.operation_id) == (JobKind.DELETE, stored.document.id, None)
    await stores.indexing.forget(job)
    assert not await jobs_of(stores, tenant)


async def test_an_indexer_notices_a_deletion_at_every_step(stores: Stores, tenant: str) -> None:
    stored = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    work = await begin(stores, job)
    await stores.documents.delete(tenant, stored.document.id)
    with pytest.raises(DocumentGone):
        await stores.indexing.begin(job)
    with pytest.raises(DocumentGone):
        await stores.indexing.save_chunks(job, chunks_of(stored.document.id, "one"))
    with pytest.raises(DocumentGone):
        await stores.indexing.progress(job, work, 1)
    with pytest.raises(DocumentGone):
        await stores.indexing.succeed(job, work)
    await stores.indexing.fail(job, FAILURE)
    assert await stores.indexing.chunks(job) == []


async def test_jobs_are_handed_over_once_until_they_are_due_again(stores: Stores, tenant: str) -> None:
    await stores.documents.create(tenant, new())
    server = FakeQueueServer()
    queue = FakeQueue(server)
    await stores.outbox.publish(queue, timedelta(hours=1), 10_000)
    before = len(server.entries)
    server.lose_everything()
    assert await stores.outbox.publish(queue, timedelta(hours=1), 10_000) == 0
    assert await stores.outbox.publish(queue, timedelta(seconds=-1), 10_000) >= before
    assert tenant in {entry.job.tenant for entry in server.entries.values()}


async def test_jobs_that_cannot_be_handed_over_stay_due(stores: Stores, tenant: str) -> None:
    await stores.documents.create(tenant, new())
    server = FakeQueueServer()
    server.failures.append(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await stores.outbox.publish(FakeQueue(server), timedelta(hours=1), 10_000)
    await stores.outbox.publish(FakeQueue(server), timedelta(hours=1), 10_000)
    assert tenant in {entry.job.tenant for entry in server.entries.values()}


async def test_a_restart_queues_what_was_indexed_and_begins_what_was_half_indexed_anew(
    stores: Stores, tenant: str
) -> None:
    done = await stores.documents.create(tenant, new())
    await ready(stores, tenant, done, "one")
    failed = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    await stores.indexing.fail(job, FAILURE)
    half = await stores.documents.create(tenant, new())
    (job,) = await jobs_of(stores, tenant)
    work = await begin(stores, job)
    await stores.indexing.save_chunks(job, chunks_of(half.document.id, "one", "two"))
    await stores.indexing.progress(job, work, 1)

    assert tenant in await stores.outbox.tenants()
    assert await stores.indexing.restart(tenant) == 1
    assert await stores.indexing.restart(tenant) == 0
    jobs = await jobs_of(stores, tenant)
    assert {job.document_id for job in jobs} == {done.document.id, half.document.id}
    assert (await stores.documents.get(tenant, done.document.id)).state is DocumentState.PENDING
    assert (await stores.documents.get(tenant, failed.document.id)).state is DocumentState.FAILED
    assert (await stores.documents.get_operation(tenant, half.operation.id)).chunks_indexed == 0
    for overtaken in (stores.indexing.progress(job, work, 2), stores.indexing.succeed(job, work)):
        with pytest.raises(IndexingOvertaken):
            await overtaken
    await stores.indexing.succeed(job, await begin(stores, job))
    assert (await stores.documents.get(tenant, half.document.id)).state is DocumentState.READY


async def test_one_process_at_a_time_looks_after_the_index(stores: Stores) -> None:
    async with stores.outbox.exclusive() as one, stores.outbox.exclusive() as two:
        assert (one, two) == (True, False)
    async with stores.outbox.exclusive() as again:
        assert again
