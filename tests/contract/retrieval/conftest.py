"""The adapters that the contracts hold: those in memory, and those on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from support.platform import Platform, running

from fakes.retrieval_index import FakeIndex
from fakes.retrieval_queue import FakeQueue, FakeQueueServer
from fakes.retrieval_store import FakeRetrievalStore
from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret
from services.common.valkey import ValkeyConfig, open_valkey
from services.retrieval.adapters.milvus import MilvusConfig, MilvusIndex
from services.retrieval.adapters.postgres_documents import PostgresDocuments
from services.retrieval.adapters.postgres_indexing import PostgresIndexing
from services.retrieval.adapters.postgres_outbox import PostgresOutbox
from services.retrieval.adapters.valkey import ValkeyQueue
from services.retrieval.ports import DocumentStore, IndexingStore, Outbox, Queue, VectorIndex

MakeQueue = Callable[[timedelta], Queue]


@dataclass(frozen=True)
class Stores:
    """The truth, by its three ports."""

    documents: DocumentStore
    indexing: IndexingStore
    outbox: Outbox


@pytest.fixture(scope="session")
def servers() -> Iterator[Platform]:
    """PostgreSQL with the schema applied, Valkey and Milvus."""
    with running(["postgres", "valkey", "milvus", "migrations"]) as platform:
        yield platform


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture(params=["memory", "postgres"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """The truth."""
    if request.param == "memory":
        fake = FakeRetrievalStore()
        yield Stores(fake, fake, fake)
        return
    platform: Platform = request.getfixturevalue("servers")

    def config(role: str) -> PostgresConfig:
        password = Secret(platform.postgres_password_file(role).read_text().strip())
        return PostgresConfig(platform.postgres_dsn(role), password)

    async with Database(config("retrieval")) as database, Database(config("retrieval_relay")) as relay:
        yield Stores(PostgresDocuments(database), PostgresIndexing(database), PostgresOutbox(relay))


@pytest.fixture(params=["memory", "valkey"])
async def make_queue(request: pytest.FixtureRequest) -> AsyncIterator[MakeQueue]:
    """Makes queues of one server, each for a worker of its own, with a visibility timeout."""
    if request.param == "memory":
        server = FakeQueueServer()
        yield lambda visibility: FakeQueue(server, visibility)
        return
    platform: Platform = request.getfixturevalue("servers")
    password = Secret(platform.valkey_password_file("retrieval").read_text().strip())
    client = open_valkey(ValkeyConfig(platform.valkey_url("retrieval"), password))
    async for key in client.scan_iter("retrieval:*"):
        await client.delete(key)
    yield lambda visibility: ValkeyQueue(client, visibility)
    await client.aclose()


@pytest.fixture(params=["memory", "milvus"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    """An index that is there and empty, as far as one tenant sees."""
    if request.param == "memory":
        fake = FakeIndex()
        await fake.prepare()
        yield fake
        return
    platform: Platform = request.getfixturevalue("servers")
    async with AsyncExitStack() as stack:
        config = MilvusConfig(uri=platform.milvus_uri, timeout=timedelta(seconds=10))
        milvus = await stack.enter_async_context(MilvusIndex(config))
        await milvus.prepare()
        yield milvus
