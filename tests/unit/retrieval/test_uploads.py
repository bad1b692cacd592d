"""Documents that come in pieces: all of it is stored, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest

from causeway.retrieval.v1 import document_service_pb2, document_service_pb2_grpc
from fakes.retrieval_store import FakeRetrievalStore
from fakes.tokens import Issuer
from services.common.config import ConfigError
from services.common.errors import Code, DeadlineExceeded, InvalidRequest, Overloaded, Reason, RequestIdReused
from services.common.server import Application, Binding, serving
from services.common.status import from_call
from services.retrieval.documents import Documents, Limits
from services.retrieval.model import (
    DocumentFilter,
    DocumentState,
    Failure,
    Header,
    MediaType,
    OperationState,
)
from services.retrieval.servicer import DocumentServicer
from services.retrieval.uploads import Part, Start, Uploads

HEADER = Header(title="A title", media_type=MediaType.TEXT)
LIMITS = Limits(upload_bytes=100, tenant_buffered_bytes=120, buffered_bytes=150)


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


async def test_a_declared_size_above_the_limit_fails_before_a_byte_is_read(
    uploads: Uploads, store: FakeRetrievalStore
) -> None:
    async def never() -> AsyncIterator[Part]:
        yield Start(HEADER, 101)
        raise AssertionError("the upload was read on")

    stored = await uploads.receive("acme", never())
    assert (stored.document.state, stored.document.size_bytes) == (DocumentState.FAILED, 101)
    assert stored.operation.state is OperationState.FAILED
    assert stored.operation.failure == Failure(
        code=Code.FAILED_PRECONDITION,
        reason=Reason.DOCUMENT_TOO_LARGE,
        message="the document is too large: it has 101 bytes, and at most 100 are taken",
        metadata={"limit_bytes": "100", "size_bytes": "101"},
    )
    assert not store.jobs


async def test_a_document_too_large_is_noted_once_however_often_it_is_sent(uploads: Uploads) -> None:
    start = Start(replace(HEADER, request_id=uuid4()), 101)
    first = await uploads.receive("acme", parts(start))
    assert await uploads.receive("acme", parts(start, b"abc")) == first
    with pytest.raises(RequestIdReused):
        await uploads.receive("acme", parts(replace(start, size_bytes=102)))


async def test_a_document_that_was_too_large_is_stored_once_the_limit_allows_it(
    uploads: Uploads, store: FakeRetrievalStore
) -> None:
    header = replace(HEADER, request_id=uuid4())
    refused = await uploads.receive("acme", parts(Start(header, 101)))
    larger = replace(LIMITS, upload_bytes=101)
    later = Uploads(Documents(store, larger), larger)
    stored = await later.receive("acme", parts(Start(header, 101), b"x" * 101))
    assert stored.operation.state is OperationState.QUEUED
    listed = await store.list_page("acme", DocumentFilter(), None, 10)
    assert [document.id for document in listed] == [stored.document.id] != [refused.document.id]
    # And once it does not again: what is stored stays.
    assert await uploads.receive("acme", parts(Start(header, 101))) == stored


async def test_another_document_does_not_take_the_place_of_one_that_was_too_large(
    uploads: Uploads, store: FakeRetrievalStore
) -> None:
    header = replace(HEADER, request_id=uuid4())
    refused = await uploads.receive("acme", parts(Start(header, 101)))
    for start in (Start(header, 3), Start(replace(header, title="Another"), 3)):
        with pytest.raises(RequestIdReused):
            await uploads.receive("acme", parts(start, b"abc"))
    assert await store.list_page("acme", DocumentFilter(), None, 10) == [refused.document]


async def test_one_that_is_too_large_does_not_pass_for_another(uploads: Uploads) -> None:
    header = replace(HEADER, request_id=uuid4())
    await uploads.receive("acme", parts(Start(header, 3), b"abc"))
    with pytest.raises(RequestIdReused):
        await uploads.receive("acme", parts(Start(header, 101)))


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


class Slow:
    """An upload of 100 bytes: ``now`` of them come at once, the rest when it is told to go on."""

    def __init__(self, uploads: Uploads, tenant: str, now: int) -> None:
        self.go_on = asyncio.Event()
        self._waits = asyncio.Event()
        self._now = now
        self.task = asyncio.create_task(uploads.receive(tenant, self._parts()))

    async def waits(self) -> None:
        """Until it has sent what it sends at once, and that was taken."""
        await self._waits.wait()

    async def _parts(self) -> AsyncIterator[Part]:
        yield Start(HEADER, 100)
        yield b"x" * self._now
        self._waits.set()
        await self.go_on.wait()
        yield b"x" * (100 - self._now)


async def test_a_tenant_has_no_more_than_its_share_of_the_buffer(uploads: Uploads) -> None:
    slow = Slow(uploads, "acme", 100)
    await slow.waits()
    with pytest.raises(Overloaded, match="this tenant") as caught:
        await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 21))
    assert caught.value.status == (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED)
    assert caught.value.retry_after is not None
    await uploads.receive("globex", parts(Start(HEADER, 50), b"x" * 50))
    slow.go_on.set()
    await slow.task
    await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 100))


async def test_uploads_beyond_the_buffer_are_told_to_come_back(uploads: Uploads) -> None:
    slow = [Slow(uploads, tenant, 70) for tenant in ("acme", "globex")]
    for one in slow:
        await one.waits()
    with pytest.raises(Overloaded) as caught:
        await uploads.receive("initech", parts(Start(HEADER, 11), b"x" * 11))
    assert "tenant" not in caught.value.message
    assert caught.value.retry_after is not None
    await uploads.receive("initech", parts(Start(HEADER, 10), b"x" * 10))
    for one in slow:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)
    await uploads.receive("initech", parts(Start(HEADER, 100), b"x" * 100))


async def test_what_is_declared_and_not_sent_keeps_nobody_out(uploads: Uploads) -> None:
    silent = [Slow(uploads, "acme", 0) for _ in range(8)]
    for one in silent:
        await one.waits()
    for tenant in ("acme", "globex"):
        await uploads.receive(tenant, parts(Start(HEADER, 100), b"x" * 100))
    for one in silent:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in silent), return_exceptions=True)


@pytest.mark.parametrize("given", [(), (Start(HEADER, 100),), (Start(HEADER, 100), b"x" * 60)])
async def test_an_upload_that_falls_silent_is_given_up_and_frees_its_room(
    store: FakeRetrievalStore, given: tuple[Part, ...]
) -> None:
    limits = replace(LIMITS, upload_idle=timedelta(milliseconds=50))
    uploads = Uploads(Documents(store, limits), limits)

    async def silent() -> AsyncIterator[Part]:
        for part in given:
            yield part
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as caught:
        await uploads.receive("acme", silent())
    assert caught.value.status == (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
    assert not store.jobs
    await uploads.receive("acme", parts(Start(HEADER, 100), b"x" * 100))


async def test_a_caller_who_falls_silent_is_told_so_while_its_stream_is_open(
    store: FakeRetrievalStore,
) -> None:
    limits = replace(LIMITS, upload_idle=timedelta(milliseconds=50))
    documents = Documents(store, limits)
    service = document_service_pb2.DESCRIPTOR.services_by_name["DocumentService"]
    application = Application(
        bindings=[
            Binding(
                document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
                DocumentServicer(documents, Uploads(documents, limits)),
                service,
            )
        ],
        permissions={f"/{service.full_name}/UploadDocument": "documents.write"},
    )
    issuer = Issuer()
    async with (
        serving(application, issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = document_service_pb2_grpc.DocumentServiceStub(channel)
        call = stub.UploadDocument(metadata=issuer.metadata(), timeout=30)
        await call.write(
            document_service_pb2.UploadDocumentRequest(
                start={"header": {"title": "A title", "media_type": 1}, "size_bytes": 100}
            )
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        refusal = from_call(caught.value)
        assert refusal is not None, caught.value
        assert refusal.status == (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
        assert "nothing of the upload" in refusal.message


@pytest.mark.parametrize(
    "limits",
    [
        {"upload_bytes": 3, "tenant_buffered_bytes": 2, "buffered_bytes": 3},
        {"upload_bytes": 1, "tenant_buffered_bytes": 3, "buffered_bytes": 2},
        {"upload_idle": timedelta(0)},
    ],
)
def test_limits_under_which_nobody_could_upload_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Limits(**limits)
