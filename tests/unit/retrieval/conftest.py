"""The retrieval service's cores on fakes."""

from __future__ import annotations

import pytest

from fakes.retrieval_index import FakeIndex
from fakes.retrieval_models import FakeEmbedder, FakeReader
from fakes.retrieval_queue import FakeQueueServer
from fakes.retrieval_store import FakeRetrievalStore
from services.retrieval.documents import Documents, Limits
from services.retrieval.indexer.work import Worker


@pytest.fixture
def store() -> FakeRetrievalStore:
    return FakeRetrievalStore()


@pytest.fixture
def index() -> FakeIndex:
    return FakeIndex(exists=True, complete=True)


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def server() -> FakeQueueServer:
    return FakeQueueServer()


@pytest.fixture
def documents(store: FakeRetrievalStore) -> Documents:
    return Documents(store, Limits())


@pytest.fixture
def worker(store: FakeRetrievalStore, reader: FakeReader, embedder: FakeEmbedder, index: FakeIndex) -> Worker:
    return Worker(store, reader, embedder, index, wave=2)
