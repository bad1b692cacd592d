"""Search: what is found, in which order, and what is never shown."""

from __future__ import annotations

from uuid import UUID

import pytest

from fakes.retrieval_index import FakeIndex
from fakes.retrieval_models import FakeEmbedder, vector_of
from fakes.retrieval_store import FakeRetrievalStore
from services.common.errors import InvalidRequest, ModelUnavailable, StoreUnavailable
from services.retrieval.documents import Documents
from services.retrieval.indexer.work import Worker
from services.retrieval.model import Header, MediaType, SearchFilter, SearchMode
from services.retrieval.search import Search, SearchSettings

ALL = SearchFilter()


@pytest.fixture
def search(index: FakeIndex, embedder: FakeEmbedder, store: FakeRetrievalStore) -> Search:
    return Search(index, embedder, store)


class Library:
    """Puts documents where searches find them."""

    def __init__(self, documents: Documents, store: FakeRetrievalStore, worker: Worker) -> None:
        self.documents = documents
        self._store = store
        self._worker = worker

    async def add(self, text: str, tenant: str = "acme", **header: object) -> UUID:
        made = Header(**{"title": "T", "media_type": MediaType.TEXT, **header})  # type: ignore[arg-type]
        stored = await self.documents.create(tenant, made, text.encode())
        await self._worker.perform(next(reversed(self._store.jobs.values())))
        return stored.document.id


@pytest.fixture
def library(documents: Documents, store: FakeRetrievalStore, worker: Worker) -> Library:
    return Library(documents, store, worker)


async def test_a_hybrid_search_finds_by_words_and_by_meaning_and_gives_the_cosine(
    search: Search, library: Library
) -> None:
    wanted = await library.add("context managers close files")
    await library.add("bananas are yellow")
    results = await search.search("acme", "context managers", SearchMode.HYBRID, ALL, 10)
    assert results[0].passage.document_id == wanted
    assert results[0].passage.text == "context managers close files"
    assert results[0].cosine is not None
    assert results[0].score >= results[-1].score


async def test_what_only_the_words_found_gets_its_cosine_too(
    index: FakeIndex, embedder: FakeEmbedder, store: FakeRetrievalStore, library: Library
) -> None:
    for number in range(4):
        await library.add(f"quick fox {number}")
    await library.add("needle " + "hay " * 30)
    narrow = Search(index, embedder, store, SearchSettings(candidates=2))
    results = await narrow.search("acme", "quick fox needle", SearchMode.HYBRID, ALL, 1)
    assert all(result.cosine is not None for result in results)
    query = vector_of("quick fox needle")
    for result in results:
        expected = float(query @ index.rows[result.passage.chunk_id].vector)
        assert result.cosine == pytest.approx(expected, abs=1e-6)


async def test_a_lexical_search_needs_no_model_and_gives_no_cosine(
    search: Search, library: Library, embedder: FakeEmbedder
) -> None:
    await library.add("context managers close files")
    embedder.failures.append(ModelUnavailable("gone"))
    (result,) = await search.search("acme", "managers", SearchMode.LEXICAL, ALL, 10)
    assert result.cosine is None


async def test_a_dense_search_is_scored_by_the_cosine(search: Search, library: Library) -> None:
    await library.add("context managers close files")
    (result,) = await search.search("acme", "managers", SearchMode.DENSE, ALL, 10)
    assert result.score == result.cosine


async def test_a_deleted_document_is_not_shown_though_the_index_still_holds_it(
    search: Search, library: Library, index: FakeIndex
) -> None:
    gone = await library.add("context managers close files")
    kept = await library.add("context managers open files")
    await library.documents.delete("acme", gone)
    assert len(index.rows) == 2
    for mode in SearchMode:
        results = await search.search("acme", "context managers", mode, ALL, 10)
        assert {result.passage.document_id for result in results} == {kept}


async def test_no_search_sees_another_tenant(search: Search, library: Library) -> None:
    await library.add("context managers close files", tenant="umbrella")
    for mode in SearchMode:
        assert await search.search("acme", "context managers", mode, ALL, 10) == []


async def test_one_document_does_not_fill_the_result(search: Search, library: Library) -> None:
    await library.add("\n".join(f"context managers are {number}" for number in range(8)))
    other = await library.add("context managers sometimes close files")
    results = await search.search("acme", "context managers", SearchMode.HYBRID, ALL, 2)
    assert other in {result.passage.document_id for result in results}


async def test_filters_narrow_a_search(search: Search, library: Library) -> None:
    red = await library.add("apples", labels={"team": "red", "year": "1"})
    blue = await library.add("apples", labels={"team": "blue"}, media_type=MediaType.MARKDOWN)

    async def found(where: SearchFilter) -> set[UUID]:
        results = await search.search("acme", "apples", SearchMode.HYBRID, where, 10)
        return {result.passage.document_id for result in results}

    assert await found(SearchFilter(labels={"team": "red"})) == {red}
    assert await found(SearchFilter(labels={"team": "red", "year": "2"})) == set()
    assert await found(SearchFilter(media_types=[MediaType.MARKDOWN])) == {blue}
    assert await found(SearchFilter(document_ids=[red, blue])) == {red, blue}
    assert await found(SearchFilter(document_ids=[red], labels={"team": "blue"})) == set()


@pytest.mark.parametrize("query", [" ", "\n\t", "a\0b"])
async def test_a_query_with_nothing_to_look_for_is_refused(search: Search, query: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await search.search("acme", query, SearchMode.HYBRID, ALL, 10)
    assert [violation.field for violation in caught.value.violations] == ["query"]


async def test_the_limit_holds_and_zero_takes_ten(search: Search, library: Library) -> None:
    for number in range(15):
        await library.add(f"apples {number}")
    assert len(await search.search("acme", "apples", SearchMode.HYBRID, ALL, 3)) == 3
    assert len(await search.search("acme", "apples", SearchMode.HYBRID, ALL, 0)) == 10


async def test_a_lost_part_of_the_search_is_told_as_what_it_is(
    search: Search, library: Library, index: FakeIndex, embedder: FakeEmbedder
) -> None:
    await library.add("apples")
    embedder.failures.append(ModelUnavailable("gone"))
    with pytest.raises(ModelUnavailable):
        await search.search("acme", "apples", SearchMode.HYBRID, ALL, 10)
    index.lose_everything()
    with pytest.raises(StoreUnavailable):
        await search.search("acme", "apples", SearchMode.HYBRID, ALL, 10)


async def test_a_very_long_query_is_cut_for_the_model(
    search: Search, library: Library, embedder: FakeEmbedder
) -> None:
    await library.add("apples")
    await search.search("acme", "apples " * 2_000, SearchMode.HYBRID, ALL, 10)
    assert len(embedder.texts[-1]) == SearchSettings().query_characters
