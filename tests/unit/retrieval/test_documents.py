"""What may be stored, what a retry gives, how lists go on."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.retrieval_store import FakeRetrievalStore
from services.common.errors import InvalidPageToken, InvalidRequest, RequestIdReused, StoreUnavailable
from services.retrieval.documents import Documents, Limits
from services.retrieval.errors import DocumentNotFound, DocumentTooLarge
from services.retrieval.model import DocumentFilter, DocumentState, Header, MediaType

HEADER = Header(title="A title", media_type=MediaType.TEXT, source="a.txt", labels={"team": "red"})


async def test_a_document_is_stored_with_its_digest_and_queued(
    documents: Documents, store: FakeRetrievalStore
) -> None:
    stored = await documents.create("acme", HEADER, b"abc")
    document = await documents.get("acme", stored.document.id)
    assert document.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (document.size_bytes, document.state) == (3, DocumentState.PENDING)
    assert [job.document_id for job in store.jobs.values()] == [document.id]


async def test_the_same_request_id_gives_the_same_document(documents: Documents) -> None:
    header = replace(HEADER, request_id=uuid4())
    first = await documents.create("acme", header, b"abc")
    again = await documents.create("acme", header, b"abc")
    assert (again.document.id, again.operation.id) == (first.document.id, first.operation.id)


@pytest.mark.parametrize(
    "header,content",
    [
        (replace(HEADER, title="Another"), b"abc"),
        (replace(HEADER, source="b.txt"), b"abc"),
        (replace(HEADER, labels={}), b"abc"),
        (replace(HEADER, media_type=MediaType.HTML), b"abc"),
        (HEADER, b"abd"),
    ],
    ids=["title", "source", "labels", "media type", "content"],
)
async def test_a_request_id_is_for_one_request(documents: Documents, header: Header, content: bytes) -> None:
    request_id = uuid4()
    await documents.create("acme", replace(HEADER, request_id=request_id), b"abc")
    with pytest.raises(RequestIdReused):
        await documents.create("acme", replace(header, request_id=request_id), content)


async def test_tenants_may_use_the_same_request_id(documents: Documents) -> None:
    header = replace(HEADER, request_id=uuid4())
    first = await documents.create("acme", header, b"abc")
    other = await documents.create("umbrella", header, b"xyz")
    assert first.document.id != other.document.id


@pytest.mark.parametrize(
    "header,field",
    [
        (replace(HEADER, title="a\0b"), "header.title"),
        (replace(HEADER, title=" \t"), "header.title"),
        (replace(HEADER, source="\0"), "header.source"),
        (replace(HEADER, labels={"k": "\0"}), 'header.labels["k"]'),
    ],
)
async def test_texts_that_cannot_be_stored_are_refused_by_field(
    documents: Documents, store: FakeRetrievalStore, header: Header, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await documents.create("acme", header, b"abc")
    assert [violation.field for violation in caught.value.violations] == [field]
    assert not store.jobs


async def test_a_document_above_the_inline_limit_is_refused(store: FakeRetrievalStore) -> None:
    documents = Documents(store, Limits(inline_bytes=4))
    await documents.create("acme", HEADER, b"1234")
    with pytest.raises(DocumentTooLarge) as caught:
        await documents.create("acme", HEADER, b"12345")
    assert caught.value.metadata == {"limit_bytes": "4", "size_bytes": "5"}
    assert [violation.field for violation in caught.value.violations] == ["content"]


async def test_a_list_goes_through_all_pages_newest_first(documents: Documents) -> None:
    made = [(await documents.create("acme", HEADER, b"x")).document.id for _ in range(5)]
    seen: list[UUID] = []
    token = ""
    while True:
        page = await documents.list_page("acme", DocumentFilter(), 2, token)
        seen += [document.id for document in page.items]
        token = page.next_token
        if not token:
            break
    assert seen == made[::-1]


async def test_a_page_token_belongs_to_its_filter(documents: Documents) -> None:
    for _ in range(3):
        await documents.create("acme", HEADER, b"x")
    page = await documents.list_page("acme", DocumentFilter(), 2, "")
    for where in (DocumentFilter(labels={"team": "red"}), DocumentFilter(state=DocumentState.PENDING)):
        with pytest.raises(InvalidPageToken):
            await documents.list_page("acme", where, 2, page.next_token)
    with pytest.raises(InvalidPageToken):
        await documents.list_operations("acme", False, 2, page.next_token)


@given(st.text(max_size=60).filter(bool))
async def test_no_made_up_page_token_is_taken(token: str) -> None:
    documents = Documents(FakeRetrievalStore(), Limits())
    with pytest.raises(InvalidPageToken):
        await documents.list_page("acme", DocumentFilter(), 2, token)


async def test_operations_are_listed_newest_first_and_unfinished_ones_alone(documents: Documents) -> None:
    made = [(await documents.create("acme", HEADER, b"x")).operation.id for _ in range(3)]
    page = await documents.list_operations("acme", True, 2, "")
    rest = await documents.list_operations("acme", True, 2, page.next_token)
    assert [operation.id for operation in [*page.items, *rest.items]] == made[::-1]


async def test_a_deleted_document_is_gone_for_good(documents: Documents) -> None:
    stored = await documents.create("acme", HEADER, b"x")
    await documents.delete("acme", stored.document.id)
    for again in (documents.get, documents.delete):
        with pytest.raises(DocumentNotFound):
            await again("acme", stored.document.id)


async def test_another_tenants_document_does_not_exist(documents: Documents) -> None:
    stored = await documents.create("acme", HEADER, b"x")
    for foreign in (documents.get, documents.delete):
        with pytest.raises(DocumentNotFound):
            await foreign("umbrella", stored.document.id)


async def test_a_lost_store_is_told(documents: Documents, store: FakeRetrievalStore) -> None:
    store.fail_next(StoreUnavailable("the database cannot be reached"))
    with pytest.raises(StoreUnavailable):
        await documents.create("acme", HEADER, b"x")
