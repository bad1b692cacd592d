"""The retrieval service as its clients see it: real processes, real stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from support.platform import Platform

from causeway.retrieval.v1 import document_pb2, document_service_pb2, operation_service_pb2
from causeway.retrieval.v1 import search_service_pb2 as search_pb2
from fakes.retrieval_pdf import pdf_with_text
from fakes.retrieval_triton import FakeTriton, fake_triton
from services.common.status import DETAILS_KEY, from_status

from .harness import FAILED, TEXT, Client, deployed

Connect = Callable[..., Client]
PDF = document_pb2.MEDIA_TYPE_PDF

# One service and one indexer for all tests of this file: none of them breaks anything.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[FakeTriton]:
    """A Triton without a model."""
    async with fake_triton() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connect(data_servers: Platform, model: FakeTriton) -> AsyncIterator[Connect]:
    """Clients of the service: ``connect(tenant, roles)``."""
    async with deployed(data_servers, model) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            yield lambda tenant, roles=("editor",): Client(channel, data_servers, tenant, roles)


async def refused(call: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and fields of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    blob = dict(caught.value.trailing_metadata() or ()).get(DETAILS_KEY)
    assert isinstance(blob, bytes), caught.value
    error = from_status(status_pb2.Status.FromString(blob))
    assert error is not None
    return caught.value.code(), error.status[1].name, [violation.field for violation in error.violations]


def upload(client: Client, size: int, *pieces: bytes) -> Any:
    head = document_service_pb2.DocumentHeader(title="Upload", media_type=TEXT)
    start = document_service_pb2.UploadStart(header=head, size_bytes=size)

    async def parts() -> AsyncIterator[document_service_pb2.UploadDocumentRequest]:
        yield document_service_pb2.UploadDocumentRequest(start=start)
        for piece in pieces:
            yield document_service_pb2.UploadDocumentRequest(content=piece)

    return client.documents.UploadDocument(parts(), metadata=client.metadata, timeout=30)


async def test_documents_of_every_kind_become_searchable_and_vanish_when_deleted(
    connect: Connect, tenant: str
) -> None:
    client = connect(tenant)
    text = await client.ingest("Plain", b"The zebra has stripes.", labels={"kind": "plain"})
    await client.ingest("Marked", b"# Zebra\n\nIt *eats* grass.", media_type=document_pb2.MEDIA_TYPE_MARKDOWN)
    await client.ingest(
        "Page", b"<p>Zebra page</p><script>no()</script>", media_type=document_pb2.MEDIA_TYPE_HTML
    )
    await client.ingest("Paper", pdf_with_text("A zebra in print."), media_type=PDF)

    results = await client.search("zebra")
    assert {result.title for result in results} == {"Plain", "Marked", "Page", "Paper"}
    assert all(result.HasField("cosine") for result in results)
    lexical = await client.search("stripes", mode=search_pb2.SEARCH_MODE_LEXICAL)
    assert [(result.title, result.text) for result in lexical] == [("Plain", "The zebra has stripes.")]
    assert not lexical[0].HasField("cosine")
    only = await client.search("zebra", filter=search_pb2.SearchFilter(labels={"kind": "plain"}))
    assert [result.document_id for result in only] == [text.id]
    papers = await client.search("zebra", filter=search_pb2.SearchFilter(media_types=[PDF]))
    assert [result.title for result in papers] == ["Paper"]

    await client.delete(text.id)
    assert text.id not in {result.document_id for result in await client.search("zebra")}
    assert (await refused(client.get(text.id)))[:2] == (grpc.StatusCode.NOT_FOUND, "DOCUMENT_NOT_FOUND")


@pytest.mark.parametrize(
    "content,media_type,reason,message",
    [
        (b"", TEXT, "ERROR_REASON_DOCUMENT_EMPTY", "empty"),
        (b"caf\xe9", TEXT, "ERROR_REASON_DOCUMENT_UNREADABLE", "byte 3"),
        (b"%PDF-1.4 broken", PDF, "ERROR_REASON_DOCUMENT_UNREADABLE", "damaged"),
        (pdf_with_text(""), PDF, "ERROR_REASON_DOCUMENT_EMPTY", "no text"),
    ],
    ids=["empty", "latin-1", "corrupt pdf", "blank pdf"],
)
async def test_a_document_that_cannot_be_indexed_fails_and_says_why(
    connect: Connect, tenant: str, content: bytes, media_type: int, reason: str, message: str
) -> None:
    client = connect(tenant)
    created = await client.create("Bad", content, media_type)
    operation = await client.finished(created.operation.id)
    info = error_details_pb2.ErrorInfo()
    assert operation.state == FAILED
    assert operation.error.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "causeway.dev")
    assert message in operation.error.message
    document = await client.get(created.document.id)
    assert (document.state, document.chunk_count) == (document_pb2.DOCUMENT_STATE_FAILED, 0)


async def test_uploads_are_whole_or_not_there(connect: Connect, tenant: str) -> None:
    client = connect(tenant)
    piece = b"zebra words in a row. " * 40_000
    response = await upload(client, 6 * len(piece), *[piece] * 6)
    assert response.document.size_bytes == 6 * len(piece)
    for size, pieces in ((10, [b"short"]), (3, [b"long"])):
        assert await refused(upload(client, size, *pieces)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["start.size_bytes"],
        )
    call = upload(client, 100, b"begun")
    await asyncio.sleep(0.05)
    call.cancel()
    listed = await client.documents.ListDocuments(
        document_service_pb2.ListDocumentsRequest(), metadata=client.metadata
    )
    assert [document.id for document in listed.documents] == [response.document.id]


async def test_a_document_of_50_mb_is_not_read_and_its_operation_fails(connect: Connect, tenant: str) -> None:
    client = connect(tenant)
    size = 50 * 1024 * 1024
    response = await upload(client, size)
    operation = await client.finished(response.operation.id)
    info = error_details_pb2.ErrorInfo()
    assert operation == response.operation
    assert operation.state == FAILED
    assert operation.error.details[0].Unpack(info)
    assert info.reason == "ERROR_REASON_DOCUMENT_TOO_LARGE"
    assert info.metadata == {"limit_bytes": "33554432", "size_bytes": str(size)}
    document = await client.get(response.document.id)
    assert (document.state, document.size_bytes, document.sha256) == (
        document_pb2.DOCUMENT_STATE_FAILED,
        size,
        "",
    )
    await client.documents.DeleteDocument(
        document_service_pb2.DeleteDocumentRequest(id=document.id), metadata=client.metadata
    )


async def test_bad_requests_name_their_fields(connect: Connect, tenant: str) -> None:
    client = connect(tenant)
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert await refused(client.create("a\0b", b"x")) == (*invalid, ["header.title"])
    assert await refused(client.create("t", b"x", source="\0")) == (*invalid, ["header.source"])
    assert await refused(client.create("t", b"x", labels={"k": "\0"})) == (*invalid, ['header.labels["k"]'])
    assert await refused(client.create("", b"x")) == (*invalid, ["header.title"])
    assert await refused(client.create("t", b"x" * (4 * 1024 * 1024 + 1))) == (*invalid, ["content"])
    assert await refused(client.search(" ")) == (*invalid, ["query"])
    assert await refused(client.search("\0")) == (*invalid, ["query"])
    assert (await refused(client.get("no-uuid")))[:2] == invalid
    assert (await refused(client.get(str(uuid4()))))[1] == "DOCUMENT_NOT_FOUND"
    assert (await refused(client.delete(str(uuid4()))))[1] == "DOCUMENT_NOT_FOUND"
    token = document_service_pb2.ListDocumentsRequest(page_token="made up")
    listing = client.documents.ListDocuments(token, metadata=client.metadata)
    assert (await refused(listing))[1] == "INVALID_PAGE_TOKEN"


async def test_strange_queries_are_answered(connect: Connect, tenant: str) -> None:
    client = connect(tenant)
    await client.ingest("Plain", b"The zebra has stripes.")
    for query in (
        "?!",
        "the of a",
        "\u202e\ufeff",
        "\"\\' or 1 == 1",
        "x" * 16_384,
        "zebra " * 2_700,
        "日本語",
    ):
        for mode in (search_pb2.SEARCH_MODE_HYBRID, search_pb2.SEARCH_MODE_LEXICAL):
            await client.search(query, mode=mode, limit=100)


async def test_the_same_request_id_creates_one_document(connect: Connect, tenant: str) -> None:
    client = connect(tenant)
    request_id = str(uuid4())
    made = await asyncio.gather(*(client.create("T", b"text", request_id=request_id) for _ in range(5)))
    assert len({response.document.id for response in made}) == 1
    code, reason, _ = await refused(client.create("T", b"other", request_id=request_id))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_no_call_reaches_another_tenants_documents(connect: Connect, tenant: str) -> None:
    mine, theirs = connect(tenant), connect(f"{tenant}-x")
    document = await mine.ingest("Secret", b"The zebra is secret.")
    assert (await refused(theirs.get(document.id)))[0] is grpc.StatusCode.NOT_FOUND
    assert (await refused(theirs.delete(document.id)))[0] is grpc.StatusCode.NOT_FOUND
    for mode in (search_pb2.SEARCH_MODE_HYBRID, search_pb2.SEARCH_MODE_DENSE, search_pb2.SEARCH_MODE_LEXICAL):
        only = search_pb2.SearchFilter(document_ids=[document.id])
        assert not await theirs.search("zebra secret", mode=mode)
        assert not await theirs.search("zebra secret", mode=mode, filter=only)


async def test_readers_may_search_and_not_write(connect: Connect, tenant: str) -> None:
    reader = connect(tenant, ("reader",))
    assert not await reader.search("zebra")
    assert (await refused(reader.create("T", b"x")))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert (await refused(reader.delete(str(uuid4()))))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_watch_ends_when_its_document_is_deleted(
    connect: Connect, tenant: str, model: FakeTriton
) -> None:
    client = connect(tenant)
    model.gate.clear()
    created = await client.create("T", b"zebra")
    watch = asyncio.create_task(client.finished(created.operation.id))
    await asyncio.sleep(0.3)
    await client.delete(created.document.id)
    model.gate.set()
    assert (await refused(watch))[:2] == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_changes_reach_a_watch_at_once(connect: Connect, tenant: str, model: FakeTriton) -> None:
    client = connect(tenant)
    model.gate.clear()
    created = await client.create("T", b"zebra")
    request = operation_service_pb2.WatchOperationRequest(id=created.operation.id)
    arrivals: list[float] = []
    async for response in client.operations.WatchOperation(request, metadata=client.metadata, timeout=30):
        arrivals.append(time.monotonic())
        if response.operation.chunks_total:
            model.gate.set()
    assert len(arrivals) >= 3
    assert arrivals[-1] - arrivals[-2] < 0.9, "news came by looking, not by being told"
