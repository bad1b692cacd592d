"""What every vector index has to do."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid4

import numpy as np
import pytest

from fakes.retrieval_models import vector_of
from services.retrieval.errors import IndexRefusal
from services.retrieval.model import Chunk, ChunkText, MediaType, SearchFilter, chunk_id
from services.retrieval.ports import TenantIndex, VectorIndex

ALL = SearchFilter()
NASTY = 'we"ird\\ \'quotes\' % {x} ☂ and tenant == "other"'


async def add(
    index: TenantIndex,
    *texts: str,
    media_type: MediaType = MediaType.TEXT,
    labels: Mapping[str, str] | None = None,
    document_id: UUID | None = None,
) -> UUID:
    document_id = document_id or uuid4()
    chunks = [
        Chunk(chunk_id(document_id, number), number, ChunkText(text, "")) for number, text in enumerate(texts)
    ]
    vectors = np.stack([vector_of(text) for text in texts])
    await index.upsert(document_id, media_type, labels or {}, chunks, vectors)
    return document_id


async def dense(index: TenantIndex, text: str, where: SearchFilter = ALL, limit: int = 10) -> list[UUID]:
    return [hit.chunk_id for hit in await index.dense(vector_of(text), where, limit)]


async def lexical(index: TenantIndex, text: str, where: SearchFilter = ALL, limit: int = 10) -> list[UUID]:
    return [hit.chunk_id for hit in await index.lexical(text, where, limit)]


async def test_dense_search_gives_the_nearest_first_with_their_cosines(
    index: VectorIndex, tenant: str
) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, "context managers close files", "bananas grow on trees", "context only")
    hits = await view.dense(vector_of("context managers"), ALL, 10)
    assert [hit.chunk_id for hit in hits[:2]] == [chunk_id(document, 0), chunk_id(document, 2)]
    for hit in hits:
        text = ["context managers close files", "bananas grow on trees", "context only"]
        ordinal = [chunk_id(document, number) for number in range(3)].index(hit.chunk_id)
        expected = float(vector_of("context managers") @ vector_of(text[ordinal]))
        assert hit.score == pytest.approx(expected, abs=1e-4)


async def test_lexical_search_finds_words(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, "zebra stripes", "elephant trunk", "zebra zebra")
    found = await lexical(view, "zebra")
    assert set(found) == {chunk_id(document, 0), chunk_id(document, 2)}


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        "the of a",
        "?!.,;",
        "\0",
        "🙂",
        "日本語",
        '"',
        "\\",
        "'",
        '") or tenant != "',
        "x" * 20_000,
        "w " * 8_000,
    ],
    ids=lambda query: repr(query[:12]),
)
async def test_no_query_breaks_lexical_search(index: VectorIndex, tenant: str, query: str) -> None:
    view = index.for_tenant(tenant)
    await add(view, "some text")
    assert await lexical(view, query) == []


async def test_an_empty_index_finds_nothing(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    assert await dense(view, "x") == []
    assert await lexical(view, "x") == []
    assert await view.cosines(vector_of("x"), [uuid4()]) == {}
    assert await view.cosines(vector_of("x"), []) == {}
    assert await view.count(uuid4()) == 0
    await view.delete(uuid4())


async def test_tenants_do_not_meet(index: VectorIndex, tenant: str) -> None:
    mine, theirs = index.for_tenant(tenant), index.for_tenant(f"{tenant}-x")
    document = await add(mine, "secret zebra")
    assert await dense(theirs, "secret zebra") == []
    assert await lexical(theirs, "secret zebra") == []
    assert await dense(theirs, "secret zebra", SearchFilter(document_ids=[document])) == []
    assert await theirs.cosines(vector_of("secret"), [chunk_id(document, 0)]) == {}
    assert await theirs.count(document) == 0
    await theirs.delete(document)
    assert await mine.count(document) == 1


@pytest.mark.parametrize("tenant_name", ["", "A", "a b", 'a" or "1" == "1', "a\\", "x" * 64, "a\n"])
async def test_there_is_no_view_without_a_tenant(index: VectorIndex, tenant_name: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        index.for_tenant(tenant_name)


async def test_writing_again_changes_nothing(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, "one zebra", "two zebra")
    await add(view, "one zebra", "two zebra", document_id=document)
    assert await view.count(document) == 2
    assert len(await lexical(view, "zebra")) == 2


async def test_a_deleted_document_is_found_no_more_and_others_stay(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    gone, kept = await add(view, "one zebra", "two zebra"), await add(view, "three zebra")
    await view.delete(gone)
    await view.delete(gone)
    assert await view.count(gone) == 0
    assert await lexical(view, "zebra") == [chunk_id(kept, 0)]
    assert await dense(view, "zebra") == [chunk_id(kept, 0)]


async def test_filters_hold_for_both_kinds_of_search(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    red = chunk_id(await add(view, "zebra", labels={"team": "red", "k.1-x_Y": NASTY}), 0)
    blue_document = await add(view, "zebra", labels={"team": "blue"}, media_type=MediaType.PDF)
    blue = chunk_id(blue_document, 0)
    for where, expected in (
        (SearchFilter(labels={"team": "red"}), {red}),
        (SearchFilter(labels={"k.1-x_Y": NASTY}), {red}),
        (SearchFilter(labels={"team": "red", "k.1-x_Y": "other"}), set()),
        (SearchFilter(labels={"nobody": "has this"}), set()),
        (SearchFilter(labels={"team": ""}), set()),
        (SearchFilter(media_types=[MediaType.PDF]), {blue}),
        (SearchFilter(media_types=list(MediaType)), {red, blue}),
        (SearchFilter(document_ids=[blue_document]), {blue}),
        (SearchFilter(document_ids=[blue_document], labels={"team": "red"}), set()),
        (SearchFilter(document_ids=[uuid4() for _ in range(100)]), set()),
    ):
        assert set(await dense(view, "zebra", where)) == expected, where
        assert set(await lexical(view, "zebra", where)) == expected, where


async def test_the_limit_holds(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    await add(view, *(f"zebra {number}" for number in range(30)))
    assert len(await dense(view, "zebra", limit=7)) == 7
    assert len(await lexical(view, "zebra", limit=7)) == 7


async def test_cosines_are_given_for_the_chunks_that_are_there(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, "context managers", "bananas")
    asked = [chunk_id(document, 0), chunk_id(document, 1), uuid4()]
    found = await view.cosines(vector_of("context managers"), asked)
    assert found[asked[0]] == pytest.approx(1.0, abs=1e-5)
    assert set(found) == set(asked[:2])


async def test_a_long_passage_is_taken(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, "漢字" * 15_000 + " zebra")
    assert await view.count(document) == 1


async def test_many_chunks_are_written(index: VectorIndex, tenant: str) -> None:
    view = index.for_tenant(tenant)
    document = await add(view, *(f"zebra {number}" for number in range(1_200)))
    assert await view.count(document) == 1_200


async def test_an_index_is_whole_once_it_is_confirmed(index: VectorIndex) -> None:
    await index.prepare()
    await index.confirm()
    await index.confirm()
    assert await index.prepare() is False
    await index.check()


async def test_what_the_index_refuses_is_told_from_an_index_that_is_away(
    index: VectorIndex, tenant: str
) -> None:
    view, document = index.for_tenant(tenant), uuid4()
    chunks = [Chunk(chunk_id(document, 0), 0, ChunkText("text", ""))]
    with pytest.raises(IndexRefusal):
        await view.upsert(document, MediaType.TEXT, {}, chunks, np.ones((1, 3), np.float32))
    assert await view.count(document) == 0
