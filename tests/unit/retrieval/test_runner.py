"""The indexer's loops: what a failure means, what shutting down leaves, what a lost index leads to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import pytest

from fakes.retrieval_index import FakeIndex
from fakes.retrieval_models import FakeEmbedder, FakeReader
from fakes.retrieval_queue import FakeQueue, FakeQueueServer
from fakes.retrieval_store import FakeRetrievalStore
from services.common.errors import (
    DomainError,
    InvalidRequest,
    ModelFailed,
    ModelUnavailable,
    Overloaded,
    StoreUnavailable,
)
from services.retrieval.documents import Documents
from services.retrieval.errors import IndexRefusal
from services.retrieval.indexer.runner import Runner
from services.retrieval.indexer.upkeep import Upkeep
from services.retrieval.indexer.work import Worker
from services.retrieval.model import DocumentState, Header, MediaType, OperationState, Stored
from services.retrieval.relay import Relay

HEADER = Header(title="A title", media_type=MediaType.TEXT)
VISIBILITY = timedelta(seconds=0.15)


@pytest.fixture
def upkeep(index: FakeIndex, store: FakeRetrievalStore) -> Upkeep:
    return Upkeep(index, store, store, timedelta(seconds=1))


@pytest.fixture
def make_runner(server: FakeQueueServer, worker: Worker, upkeep: Upkeep) -> Callable[[], Runner]:
    def make() -> Runner:
        return Runner(
            FakeQueue(server, VISIBILITY),
            worker,
            upkeep.ensure,
            documents=4,
            attempts=2,
            visibility=VISIBILITY,
        )

    return make


@asynccontextmanager
async def running(runner: Runner) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def silence() -> Iterator[asyncio.Event]:
    yield asyncio.Event()


async def created(
    documents: Documents, store: FakeRetrievalStore, server: FakeQueueServer, text: bytes = b"one\ntwo"
) -> Stored:
    stored = await documents.create("acme", HEADER, text)
    await store.publish(FakeQueue(server), timedelta(0), 100)
    return stored


async def becomes(documents: Documents, stored: Stored, state: DocumentState) -> None:
    async with asyncio.timeout(5):
        while (await documents.get("acme", stored.document.id)).state is not state:
            await asyncio.sleep(0.005)


async def test_queued_documents_become_ready_and_the_queue_empty(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
) -> None:
    made = [await created(documents, store, server) for _ in range(6)]
    async with running(make_runner()):
        for stored in made:
            await becomes(documents, stored, DocumentState.READY)
        await asyncio.sleep(0.02)
    assert not server.entries
    assert not store.jobs


async def test_a_lost_dependency_is_waited_for_and_not_counted(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
) -> None:
    stored = await created(documents, store, server)
    embedder.failures.extend([ModelUnavailable("gone"), ModelUnavailable("gone")])
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.READY)
    operation = await documents.get_operation("acme", stored.operation.id)
    assert operation.state is OperationState.SUCCEEDED


@pytest.mark.parametrize("away", [ModelUnavailable, StoreUnavailable, Overloaded])
async def test_what_is_away_or_busy_is_waited_for_longer_than_attempts_last(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
    away: type[DomainError],
) -> None:
    stored = await created(documents, store, server)
    embedder.failures.extend([away("gone")] * 3)
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.READY)


@pytest.mark.parametrize(
    "error", [InvalidRequest.field("TEXT", "is not wanted"), ModelFailed("it failed"), IndexRefusal("no")]
)
async def test_a_job_that_is_refused_again_and_again_is_given_up_and_says_why(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
    error: DomainError,
) -> None:
    stored = await created(documents, store, server)
    embedder.failures.extend([error] * 10)
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.FAILED)
        async with asyncio.timeout(5):
            while server.entries:
                await asyncio.sleep(0.005)
    assert len(embedder.failures) == 8, "as often as the runner was told to try"
    operation = await documents.get_operation("acme", stored.operation.id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert error.message in operation.failure.message


async def test_poisonous_jobs_keep_nobody_elses_waiting(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
) -> None:
    async def refuse() -> None:
        raise InvalidRequest.field("TEXT", "is not wanted")

    # As many as the runner works on at once, each refused until its last attempt.
    poison = [await created(documents, store, server, b"poison") for _ in range(4)]
    for call in range(1, 5):
        embedder.before[call] = refuse
    async with running(make_runner()):
        async with asyncio.timeout(5):
            while embedder.calls < 4:
                await asyncio.sleep(0.005)
        embedder.before = dict.fromkeys(range(6, 100), refuse)
        good = await created(documents, store, server, b"good")
        await becomes(documents, good, DocumentState.READY)
        for stored in poison:
            await becomes(documents, stored, DocumentState.FAILED)


async def test_a_job_that_brings_indexers_down_is_given_up(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    reader: FakeReader,
) -> None:
    stored = await created(documents, store, server)
    reader.failures.extend([RuntimeError("bug"), RuntimeError("bug"), RuntimeError("bug")])
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.FAILED)
    assert reader.reads == 2


async def test_an_indexer_that_stops_gives_its_jobs_back_at_once(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
) -> None:
    stored = await created(documents, store, server)
    embedder.gate.clear()
    async with running(make_runner()):
        await asyncio.sleep(0.05)
    (entry,) = server.entries.values()
    assert entry.taken is None
    embedder.gate.set()
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.READY)


async def test_a_long_job_is_not_handed_to_another_indexer(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    embedder: FakeEmbedder,
    reader: FakeReader,
) -> None:
    await created(documents, store, server)
    embedder.gate.clear()
    async with running(make_runner()), running(make_runner()):
        await asyncio.sleep(VISIBILITY.total_seconds() * 4)
        assert reader.reads == 1


async def test_a_queue_that_cannot_be_reached_is_asked_again(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
) -> None:
    stored = await created(documents, store, server)
    server.failures.append(StoreUnavailable("gone"))
    async with running(make_runner()) as task:
        await becomes(documents, stored, DocumentState.READY)
        assert not task.done()


async def test_a_lost_index_is_made_anew_and_filled_from_the_documents(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    index: FakeIndex,
    upkeep: Upkeep,
) -> None:
    stored = await created(documents, store, server)
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.READY)
        index.lose_everything()
        await upkeep.ensure()
        assert (await documents.get("acme", stored.document.id)).state is DocumentState.PENDING
        await store.publish(FakeQueue(server), timedelta(0), 100)
        await becomes(documents, stored, DocumentState.READY)
    assert len(index.rows) == 2
    assert index.complete


async def test_an_index_lost_in_the_middle_of_a_job_is_made_anew_by_it(
    documents: Documents,
    store: FakeRetrievalStore,
    server: FakeQueueServer,
    make_runner: Callable[[], Runner],
    index: FakeIndex,
    embedder: FakeEmbedder,
) -> None:
    async def lose() -> None:
        index.lose_everything()

    embedder.before[2] = lose
    stored = await created(documents, store, server, b"one\ntwo\nthree\nfour\nfive")
    async with running(make_runner()):
        await becomes(documents, stored, DocumentState.READY)
    assert len(index.rows) == 5


async def test_an_interrupted_rebuild_is_begun_again(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, index: FakeIndex, upkeep: Upkeep
) -> None:
    stored = await documents.create("acme", HEADER, b"one")
    await worker.perform(next(iter(store.jobs.values())))
    index.lose_everything()
    store.fail_next(StoreUnavailable("gone"))
    with pytest.raises(StoreUnavailable):
        await upkeep.ensure()
    assert (index.exists, index.complete) == (True, False)
    await upkeep.ensure()
    assert (index.exists, index.complete) == (True, True)
    assert [job.document_id for job in store.jobs.values()] == [stored.document.id]


async def test_a_whole_index_is_left_alone(
    documents: Documents, store: FakeRetrievalStore, worker: Worker, upkeep: Upkeep
) -> None:
    stored = await documents.create("acme", HEADER, b"one")
    await worker.perform(next(iter(store.jobs.values())))
    await upkeep.ensure()
    assert (await documents.get("acme", stored.document.id)).state is DocumentState.READY


async def test_the_relay_brings_again_what_the_queue_lost(
    documents: Documents, store: FakeRetrievalStore, server: FakeQueueServer
) -> None:
    queue = FakeQueue(server)
    relay = Relay(store, queue, silence, sweep=timedelta(seconds=1), again=timedelta(seconds=30))
    await documents.create("acme", HEADER, b"one")
    await relay.drain()
    assert len(server.entries) == 1
    server.lose_everything()
    await relay.drain()
    assert not server.entries
    store.advance(timedelta(seconds=31))
    await relay.drain()
    assert len(server.entries) == 1


async def test_the_relay_does_not_queue_what_is_queued(
    documents: Documents, store: FakeRetrievalStore, server: FakeQueueServer
) -> None:
    relay = Relay(store, FakeQueue(server), silence, sweep=timedelta(seconds=1), again=timedelta(seconds=30))
    await documents.create("acme", HEADER, b"one")
    for _ in range(3):
        await relay.drain()
        store.advance(timedelta(seconds=31))
    assert len(server.entries) == 1


async def test_the_relay_outlives_lost_stores(
    documents: Documents, store: FakeRetrievalStore, server: FakeQueueServer
) -> None:
    server.failures.append(StoreUnavailable("gone"))
    relay = Relay(
        store, FakeQueue(server), silence, sweep=timedelta(milliseconds=10), again=timedelta(seconds=30)
    )
    await documents.create("acme", HEADER, b"one")
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(2):
        while not server.entries:
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
