"""Watching an operation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fakes.retrieval_store import FakeRetrievalStore
from services.retrieval.documents import Documents
from services.retrieval.errors import DocumentEmpty, OperationNotFound
from services.retrieval.model import Header, Job, MediaType, Operation, OperationState, Stored
from services.retrieval.operations import Operations

HEADER = Header(title="A title", media_type=MediaType.TEXT)


@pytest.fixture
def operations(store: FakeRetrievalStore) -> Operations:
    return Operations(store, store)


async def created(documents: Documents, store: FakeRetrievalStore) -> tuple[Stored, Job]:
    stored = await documents.create("acme", HEADER, b"x")
    return stored, next(reversed(store.jobs.values()))


async def collect(operations: Operations, stored: Stored) -> Sequence[Operation]:
    return [operation async for operation in operations.watch("acme", stored.operation.id)]


async def test_a_watch_shows_the_changes_and_ends_with_the_last_state(
    documents: Documents, store: FakeRetrievalStore, operations: Operations
) -> None:
    stored, job = await created(documents, store)
    watch = asyncio.create_task(collect(operations, stored))
    await asyncio.sleep(0.01)
    work = await store.begin(job)
    assert work is not None
    await asyncio.sleep(0.01)
    await store.succeed(job, work)
    states = [operation.state for operation in await watch]
    assert states == [OperationState.QUEUED, OperationState.RUNNING, OperationState.SUCCEEDED]
    assert store.watchers == 0


async def test_a_finished_operation_is_shown_once(
    documents: Documents, store: FakeRetrievalStore, operations: Operations
) -> None:
    stored, job = await created(documents, store)
    await store.begin(job)
    await store.fail(job, DocumentEmpty("the document is empty").failure())
    (operation,) = await collect(operations, stored)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.message == "the document is empty"


async def test_deleting_the_document_ends_the_watch(
    documents: Documents, store: FakeRetrievalStore, operations: Operations
) -> None:
    stored, _ = await created(documents, store)
    watch = asyncio.create_task(collect(operations, stored))
    await asyncio.sleep(0.01)
    await documents.delete("acme", stored.document.id)
    with pytest.raises(OperationNotFound):
        await watch
    assert store.watchers == 0


async def test_a_client_that_leaves_takes_its_watch_with_it(
    documents: Documents, store: FakeRetrievalStore, operations: Operations
) -> None:
    stored, _ = await created(documents, store)
    watch = asyncio.create_task(collect(operations, stored))
    await asyncio.sleep(0.01)
    assert store.watchers == 1
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert store.watchers == 0


async def test_another_tenants_operation_cannot_be_watched(
    documents: Documents, store: FakeRetrievalStore, operations: Operations
) -> None:
    stored, _ = await created(documents, store)
    with pytest.raises(OperationNotFound):
        await anext(operations.watch("umbrella", stored.operation.id))
    assert store.watchers == 0
