"""What every service does with a call, over a real server: the rules of services.common.interceptor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from causeway.policy.v1 import audit_service_pb2 as audit_pb
from causeway.retrieval.v1 import document_service_pb2 as documents_pb
from causeway.retrieval.v1 import document_service_pb2_grpc, operation_service_pb2_grpc
from causeway.retrieval.v1 import operation_service_pb2 as operations_pb
from fakes.tokens import Issuer
from services.common import validation
from services.common.errors import Code, DomainError, InvalidRequest, Reason
from services.common.identity import current_caller
from services.common.server import MAX_TRANSPORT_BYTES, Application, Binding, serving

DOCUMENTS = "/causeway.retrieval.v1.DocumentService/"
ID = "3f0e4b0a-1e5a-4a5a-9c44-0d8f3c2b1a00"


class Teapot(DomainError):
    reason = Reason.CONFLICT
    code = Code.ABORTED


class Documents(document_service_pb2_grpc.DocumentServiceServicer):
    """Answers with what the rule under test needs."""

    async def GetDocument(self, request: Any, context: Any) -> Any:
        caller = current_caller()
        title = f"{caller.tenant}/{caller.subject}"
        return documents_pb.GetDocumentResponse(document={"id": request.id, "title": title})

    async def DeleteDocument(self, request: Any, context: Any) -> Any:
        raise Teapot("public words", metadata={"shown": "yes"}) from RuntimeError("secret words")

    async def ListDocuments(self, request: Any, context: Any) -> Any:
        raise RuntimeError("secret words")

    async def UploadDocument(self, request_iterator: Any, context: Any) -> Any:
        count = 0
        async for _ in request_iterator:
            count += 1
        return documents_pb.UploadDocumentResponse(document={"chunk_count": count})


class Operations(operation_service_pb2_grpc.OperationServiceServicer):
    """A stream that breaks, and one that never ends."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def WatchOperation(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            yield operations_pb.WatchOperationResponse(operation={"id": request.id})
            if request.id == ID:
                raise Teapot("half-way")
            while True:
                await asyncio.sleep(0.01)
                yield operations_pb.WatchOperationResponse(operation={"id": request.id})
        finally:
            self.closed.set()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture
def broken() -> dict[str, bool]:
    """Dependency name to whether it is down."""
    return {"store": False, "index": False}


@pytest.fixture
async def channel(
    issuer: Issuer, operations: Operations, broken: dict[str, bool]
) -> AsyncIterator[grpc.aio.Channel]:
    async def check(name: str) -> None:
        if broken[name]:
            raise ConnectionError(name)

    application = Application(
        bindings=[
            Binding(
                document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
                Documents(),
                documents_pb.DESCRIPTOR.services_by_name["DocumentService"],
            ),
            Binding(
                operation_service_pb2_grpc.add_OperationServiceServicer_to_server,
                operations,
                operations_pb.DESCRIPTOR.services_by_name["OperationService"],
            ),
        ],
        permissions={
            f"{DOCUMENTS}GetDocument": "documents.read",
            f"{DOCUMENTS}DeleteDocument": "documents.write",
            f"{DOCUMENTS}ListDocuments": "documents.read",
            f"{DOCUMENTS}UploadDocument": "documents.write",
            "/causeway.retrieval.v1.OperationService/WatchOperation": "operations.read",
        },
        dependencies={name: lambda name=name: check(name) for name in broken},  # type: ignore[misc]
        required={"store"},
    )
    async with (
        serving(application, issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


def details(error: grpc.aio.AioRpcError, kind: type[Message]) -> Any:
    """The status detail of one kind; fails the test when there is none."""
    blob = next(value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
    assert isinstance(blob, bytes)
    for item in status_pb2.Status.FromString(blob).details:
        found = kind()
        if item.Unpack(found):
            return found
    pytest.fail(f"no {kind.__name__} in the status")


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def get(channel: grpc.aio.Channel, issuer: Issuer, **kwargs: Any) -> Any:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    return stub.GetDocument(documents_pb.GetDocumentRequest(id=ID), metadata=issuer.metadata(**kwargs))


async def test_the_tenant_comes_from_the_token(channel: grpc.aio.Channel, issuer: Issuer) -> None:
    reply = await get(channel, issuer, tenant="acme", subject="ada", roles=["reader"])
    assert reply.document.title == "acme/ada"


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer "),),
        (("authorization", "Basic YTpi"),),
        (("authorization", "Bearer not-a-token"),),
        (("authorization", "Bearer a"), ("authorization", "Bearer b")),
    ],
)
async def test_no_credentials_no_answer(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]
) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    error = await refused(stub.GetDocument(documents_pb.GetDocumentRequest(id=ID), metadata=metadata))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error, error_details_pb2.ErrorInfo).reason == "ERROR_REASON_INVALID_CREDENTIALS"


async def test_a_role_that_does_not_allow_it_is_refused(channel: grpc.aio.Channel, issuer: Issuer) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    request = documents_pb.DeleteDocumentRequest(id=ID)
    error = await refused(stub.DeleteDocument(request, metadata=issuer.metadata(roles=["reader"])))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_method_without_a_permission_is_refused_to_everybody(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    request = documents_pb.CreateDocumentRequest(header={"title": "t", "media_type": 1})
    error = await refused(stub.CreateDocument(request, metadata=issuer.metadata()))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_broken_limit_names_the_field(channel: grpc.aio.Channel, issuer: Issuer) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    error = await refused(
        stub.GetDocument(documents_pb.GetDocumentRequest(id="x"), metadata=issuer.metadata())
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [item.field for item in details(error, error_details_pb2.BadRequest).field_violations] == ["id"]


@pytest.mark.parametrize(
    "data, fields",
    [
        (b"\xff\xff\xff", [""]),
        (b"\x0a\x02\xff\xfe", [""]),
        (b"\x0a\x01x\xf8\x3f\x01", ["1023"]),
        (b"\xf8\x3f\x01\xf8\x3f\x01\x78\x01", ["1023", "15"]),
    ],
)
async def test_undecodable_bytes_and_unknown_fields_are_the_clients_fault(
    channel: grpc.aio.Channel, issuer: Issuer, data: bytes, fields: list[str]
) -> None:
    call = channel.unary_unary(f"{DOCUMENTS}GetDocument")
    error = await refused(call(data, metadata=issuer.metadata()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = details(error, error_details_pb2.BadRequest).field_violations
    assert [item.field for item in violations] == fields
    assert all(item.description for item in violations)


@pytest.mark.parametrize("size", [validation.MAX_REQUEST_BYTES + 1, 50 << 20])
async def test_a_message_larger_than_any_request_is_told_so_and_not_decoded(
    channel: grpc.aio.Channel, issuer: Issuer, size: int
) -> None:
    # Undecodable, if anybody tried.
    data = b"\xff" * size
    unary = channel.unary_unary(f"{DOCUMENTS}GetDocument")(data, metadata=issuer.metadata())
    streamed = channel.stream_unary(f"{DOCUMENTS}UploadDocument")(iter([data]), metadata=issuer.metadata())
    for call in (unary, streamed):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        [violation] = details(error, error_details_pb2.BadRequest).field_violations
        assert violation.field == ""
        assert f"{size} bytes" in violation.description


async def test_beyond_the_transports_limit_grpc_refuses_and_the_connection_lives_on(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    call = channel.unary_unary(f"{DOCUMENTS}GetDocument")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff" * (MAX_TRANSPORT_BYTES + 1), metadata=issuer.metadata())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    assert await stub.GetDocument(documents_pb.GetDocumentRequest(id=ID), metadata=issuer.metadata())


def encoded(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


STRANGE = b"\xf8\x3f\x01"
"""Field 1023, which no message has."""


@pytest.mark.parametrize(
    "kind, data, path",
    [
        (
            documents_pb.UploadDocumentRequest,
            encoded(1, encoded(1, encoded(1, b"title") + STRANGE)),
            "start.header.1023",
        ),
        (audit_pb.AppendRequest, encoded(1, b"") + encoded(1, STRANGE), "entries[1].1023"),
        (struct_pb2.Struct, encoded(1, encoded(1, b"k") + encoded(2, STRANGE)), 'fields["k"].1023'),
    ],
)
def test_an_unknown_field_is_named_by_its_path(kind: type[Message], data: bytes, path: str) -> None:
    found = list(validation.unknown_fields(kind.FromString(data)))
    assert found == [path]


def test_many_unknown_fields_make_no_longer_an_answer() -> None:
    data = b"".join(bytes([0x80 | number % 16 << 3, 16 + number // 16, 1]) for number in range(100))
    with pytest.raises(InvalidRequest) as caught:
        validation.decode(documents_pb.GetDocumentRequest.FromString, data)
    assert len(caught.value.violations) == 32


def test_of_a_large_request_it_is_told_only_that_it_has_unknown_fields() -> None:
    """To look for them in eight megabytes would keep everybody else waiting for seconds."""
    stranger = bytes([0x80 | 1 << 3, 16, 1])
    with pytest.raises(InvalidRequest) as caught:
        validation.decode(documents_pb.GetDocumentRequest.FromString, stranger * 10_000)
    assert [violation.field for violation in caught.value.violations] == [""]
    assert "does not know" in caught.value.violations[0].description + str(caught.value)


async def test_every_message_of_a_request_stream_is_validated(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    good = documents_pb.UploadDocumentRequest(
        start={"header": {"title": "t", "media_type": 1}, "size_bytes": 1}
    )
    reply = await stub.UploadDocument(iter([good, good]), metadata=issuer.metadata())
    assert reply.document.chunk_count == 2
    bad = documents_pb.UploadDocumentRequest()
    error = await refused(stub.UploadDocument(iter([good, bad]), metadata=issuer.metadata()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_domain_error_arrives_with_reason_metadata_and_request_id(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    metadata = (*issuer.metadata(), ("x-request-id", "abc-123"))
    error = await refused(stub.DeleteDocument(documents_pb.DeleteDocumentRequest(id=ID), metadata=metadata))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "public words")
    info = details(error, error_details_pb2.ErrorInfo)
    assert info.domain == "causeway.dev"
    assert dict(info.metadata) == {"shown": "yes", "request_id": "abc-123"}


async def test_an_unexpected_error_tells_the_client_nothing_but_the_request_id(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
    error = await refused(stub.ListDocuments(documents_pb.ListDocumentsRequest(), metadata=issuer.metadata()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in f"{error.details()}{error.trailing_metadata()}"
    assert details(error, error_details_pb2.ErrorInfo).metadata["request_id"]


async def test_an_error_in_the_middle_of_a_stream_keeps_what_was_sent(
    channel: grpc.aio.Channel, issuer: Issuer
) -> None:
    stub = operation_service_pb2_grpc.OperationServiceStub(channel)
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for reply in stub.WatchOperation(
            operations_pb.WatchOperationRequest(id=ID), metadata=issuer.metadata()
        ):
            received.append(reply)
    assert len(received) == 1
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_a_client_that_goes_away_closes_the_handler(
    channel: grpc.aio.Channel, issuer: Issuer, operations: Operations
) -> None:
    stub = operation_service_pb2_grpc.OperationServiceStub(channel)
    other = ID.replace("3", "4")
    call = stub.WatchOperation(operations_pb.WatchOperationRequest(id=other), metadata=issuer.metadata())
    await call.read()
    call.cancel()
    await asyncio.wait_for(operations.closed.wait(), 5)


async def test_health_tells_each_dependency_and_the_whole(
    channel: grpc.aio.Channel, broken: dict[str, bool]
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    async def status(name: str) -> str:
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))

    async def becomes(name: str, wanted: str) -> None:
        async with asyncio.timeout(10):
            while await status(name) != wanted:
                await asyncio.sleep(0.05)

    assert await status("") == await status("dependency:index") == "SERVING"
    broken["index"] = True
    await becomes("dependency:index", "NOT_SERVING")
    assert await status("causeway.retrieval.v1.DocumentService") == "SERVING", "it can do without the index"
    broken["store"] = True
    await becomes("", "NOT_SERVING")
    await becomes("causeway.retrieval.v1.DocumentService", "NOT_SERVING")
    broken["store"] = False
    await becomes("", "SERVING")


async def test_reflection_and_channelz_answer(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert "causeway.retrieval.v1.DocumentService" in names
    servers = await channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
    assert servers.server


async def test_only_the_services_that_proxies_call_answer_without_a_token(issuer: Issuer) -> None:
    documents, operations = (
        documents_pb.DESCRIPTOR.services_by_name["DocumentService"],
        operations_pb.DESCRIPTOR.services_by_name["OperationService"],
    )
    application = Application(
        bindings=[
            Binding(document_service_pb2_grpc.add_DocumentServiceServicer_to_server, Documents(), documents),
            Binding(
                operation_service_pb2_grpc.add_OperationServiceServicer_to_server, Operations(), operations
            ),
        ],
        permissions={"/causeway.retrieval.v1.OperationService/WatchOperation": "operations.read"},
        proxied={documents.full_name},
    )
    async with (
        serving(application, issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = document_service_pb2_grpc.DocumentServiceStub(channel)
        error = await refused(stub.DeleteDocument(documents_pb.DeleteDocumentRequest(id=ID)))
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "public words")
        # There is no caller to be found where none was checked.
        error = await refused(stub.GetDocument(documents_pb.GetDocumentRequest(id=ID)))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        watch = operation_service_pb2_grpc.OperationServiceStub(channel).WatchOperation(
            operations_pb.WatchOperationRequest(id=ID)
        )
        error = await refused(watch.read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
