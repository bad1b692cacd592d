"""Documents that come in pieces: all of it is stored, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.retrieval_store import FakeRetrievalStore
from services.common.errors import InvalidRequest, Overloaded
from services.retrieval.documents import Documents, Limits
from services.retrieval.errors import DocumentTooLarge
from services.retrieval.model import Header, MediaType
from services.retrieval.uploads import Part, Start, Uploads

HEADER = Header(title="A title", media_type=MediaType.TEXT)
LIMITS = Limits(upload_bytes=100, buffered_bytes=150)


@pytest.fixture
def uploads(store: FakeRetrievalStore) -> Uploads:
    return Uploads(Documents(store, LIMITS), LIMITS)


async def parts(*given: Part) -> AsyncIterator[Part]:
    for part in given:
        yield part


async def test_the_pieces_are_put_together_in_order(uploads: Uploads, store: FakeRetrievalStore) -> None:
    stored = await uploads.receive("acme", parts(Start(HEADER, 6), b"abc", b"def"))
    job = next(iter(store.jobs.values()))
    work = await store.begin(job)
    assert work is not None
    assert work.content == b"abcdef"
    assert stored.document.size_bytes == 6


async def test_an_empty_upload_is_stored_and_left_to_its_operation(uploads: Uploads) -> None:
    stored = await uploads.receive("acme", parts(Start(HEADER, 0)))
    assert stored.document.size_bytes == 0


@pytest.mark.parametrize(
    "given",
    [
        (),
        (b"abc",),
        (Start(HEADER, 3), b"ab"),
        (Start(HEADER, 3), b"abcd"),
        (Start(HEADER, 3), Start(HEADER, 3), b"abc"),
        (Start(HEADER, 0), b"a"),
    ],
    ids=["nothing", "no start", "too few", "too many", "two starts", "more than none"],
)
async def test_what_does_not_add_up_is_refused_and_not_stored(
    uploads: Uploads, store: FakeRetrievalStore, given: tuple[Part, ...]
) -> None:
    with pytest.raises(InvalidRequest):
        await uploads.receive("acme", parts(*given))
    assert not store.jobs


async def test_a_declared_size_above_the_limit_is_refused_before_a_byte_is_read(uploads: Uploads) -> None:
    async def never() -> AsyncIterator[Part]:
        yield Start(HEADER, 101)
        raise AssertionError("the upload was read on")

    with pytest.raises(DocumentTooLarge) as caught:
        await uploads.receive("acme", never())
    assert [violation.field for violation in caught.value.violations] == ["start.size_bytes"]


async def test_more_bytes_than_declared_are_not_buffered(uploads: Uploads) -> None:
    async def endless() -> AsyncIterator[Part]:
        yield Start(HEADER, 10)
        for _ in range(3):
            yield b"12345678"
        raise AssertionError("the upload was read on")

    with pytest.raises(InvalidRequest, match="more bytes"):
        await uploads.receive("acme", endless())


async def test_an_upload_that_breaks_off_stores_nothing_and_frees_its_room(
    uploads: Uploads, store: FakeRetrievalStore
) -> None:
    async def broken() -> AsyncIterator[Part]:
        yield Start(HEADER, 100)
        raise ConnectionResetError

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await uploads.receive("acme", broken())
    assert not store.jobs
    await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 100))


async def test_uploads_beyond_the_buffer_are_told_to_come_back(uploads: Uploads) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[Part]:
        yield Start(HEADER, 100)
        started.set()
        await go_on.wait()
        yield b"x" * 100

    first = asyncio.create_task(uploads.receive("acme", slow()))
    await started.wait()
    with pytest.raises(Overloaded) as caught:
        await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 100))
    assert caught.value.retry_after is not None
    go_on.set()
    await first
    await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 100))
