"""The RPCs that the command-line tool calls, answered from memory over real gRPC; failures can be ordered."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from causeway.retrieval.v1 import (
    document_service_pb2,
    document_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from causeway.session.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
FAILED = operation_pb2.OPERATION_STATE_FAILED


class FrontDoor(
    chat_service_pb2_grpc.ChatServiceServicer,
    conversation_service_pb2_grpc.ConversationServiceServicer,
    document_service_pb2_grpc.DocumentServiceServicer,
    operation_service_pb2_grpc.OperationServiceServicer,
    search_service_pb2_grpc.SearchServiceServicer,
):
    """Remembers what it was asked; `events` is what Chat sends."""

    def __init__(self) -> None:
        self.events: list[chat_service_pb2.ChatResponse] = []
        self.results: list[search_service_pb2.SearchResult] = []
        self.chats: list[chat_service_pb2.ChatRequest] = []
        self.documents: dict[str, tuple[document_service_pb2.DocumentHeader, bytes]] = {}
        """Header and bytes by request id: the same id stores once."""
        self.tokens: list[str] = []
        self.refuse: dict[str, str] = {}
        """Why a document with this title is refused, by its operation."""
        self.unavailable = 0
        """How many of the next calls find nobody home."""
        self.refuse_documents: list[status_pb2.Status] = []
        """The statuses that the next documents are refused with."""
        self.abort_chat: grpc.StatusCode | None = None
        """The status that ends a chat after its events."""
        self.refuse_chat: status_pb2.Status | None = None
        """The status that a chat is refused with."""
        self.hang_chat = False
        """Whether a chat goes on, silently, after its events, until it is cancelled."""
        self.cancelled = threading.Event()

    def Chat(
        self, request: chat_service_pb2.ChatRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_service_pb2.ChatResponse]:
        self._admit(context)
        self.chats.append(request)
        if self.refuse_chat is not None:
            context.abort_with_status(rpc_status.to_status(self.refuse_chat))
        context.add_callback(self.cancelled.set)
        yield from self.events
        while self.hang_chat and context.is_active():
            time.sleep(0.01)
        if self.abort_chat is not None:
            context.abort(self.abort_chat, "the model went away")

    def CreateConversation(
        self, request: conversation_service_pb2.CreateConversationRequest, context: grpc.ServicerContext
    ) -> conversation_service_pb2.CreateConversationResponse:
        self._admit(context)
        made = conversation_pb2.Conversation(id=str(uuid.uuid4()), title=request.title)
        return conversation_service_pb2.CreateConversationResponse(conversation=made)

    def CreateDocument(
        self, request: document_service_pb2.CreateDocumentRequest, context: grpc.ServicerContext
    ) -> document_service_pb2.CreateDocumentResponse:
        self._admit(context)
        if self.refuse_documents:
            context.abort_with_status(rpc_status.to_status(self.refuse_documents.pop(0)))
        operation = self._keep(request.header, request.content)
        return document_service_pb2.CreateDocumentResponse(operation=operation)

    def UploadDocument(
        self,
        request_iterator: Iterator[document_service_pb2.UploadDocumentRequest],
        context: grpc.ServicerContext,
    ) -> document_service_pb2.UploadDocumentResponse:
        self._admit(context)
        start = next(request_iterator).start
        content = b"".join(part.content for part in request_iterator)
        if len(content) != start.size_bytes:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the size is not what was announced")
        return document_service_pb2.UploadDocumentResponse(operation=self._keep(start.header, content))

    def WatchOperation(
        self, request: operation_service_pb2.WatchOperationRequest, context: grpc.ServicerContext
    ) -> Iterator[operation_service_pb2.WatchOperationResponse]:
        self._admit(context)
        header, _ = self.documents[request.id]
        reason = self.refuse.get(header.title)
        running = operation_pb2.Operation(id=request.id, state=operation_pb2.OPERATION_STATE_RUNNING)
        yield operation_service_pb2.WatchOperationResponse(operation=running)
        done = operation_pb2.Operation(id=request.id, state=FAILED if reason else SUCCEEDED, chunks_total=3)
        done.error.message = reason or ""
        yield operation_service_pb2.WatchOperationResponse(operation=done)

    def Search(
        self, request: search_service_pb2.SearchRequest, context: grpc.ServicerContext
    ) -> search_service_pb2.SearchResponse:
        self._admit(context)
        return search_service_pb2.SearchResponse(results=self.results[: request.limit])

    def _keep(self, header: document_service_pb2.DocumentHeader, content: bytes) -> operation_pb2.Operation:
        self.documents[header.request_id] = (header, content)
        return operation_pb2.Operation(id=header.request_id, state=operation_pb2.OPERATION_STATE_QUEUED)

    def _admit(self, context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        self.tokens.append(str(metadata.get("authorization", "")))
        if self.unavailable:
            self.unavailable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")


def text(offset: int, piece: str) -> chat_service_pb2.ChatResponse:
    """A text event."""
    return chat_service_pb2.ChatResponse(text_delta=chat_pb2.TextDelta(offset=offset, text=piece))


def answer(
    *pieces: str, citations: tuple[chat_pb2.Citation, ...] = ()
) -> list[chat_service_pb2.ChatResponse]:
    """The events of one whole answer."""
    events = [chat_service_pb2.ChatResponse(accepted=chat_service_pb2.Accepted(region="us-west-2"))]
    offset = 0
    for piece in pieces:
        events.append(text(offset, piece))
        offset += len(piece)
    events += [chat_service_pb2.ChatResponse(citation=citation) for citation in citations]
    usage = chat_pb2.Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=2)
    events.append(chat_service_pb2.ChatResponse(usage=usage))
    timing = chat_pb2.Timing(retrieval_us=1500, first_text_us=20_000, total_us=90_000)
    finished = chat_service_pb2.Finished(reason=chat_pb2.FINISH_REASON_STOP, timing=timing)
    events.append(chat_service_pb2.ChatResponse(finished=finished))
    return events


def refusal(
    code: grpc.StatusCode,
    message: str,
    field: str = "",
    description: str = "",
    retry_after: timedelta | None = None,
) -> status_pb2.Status:
    """A status as the services send it, with the field at fault, and when to come back."""
    status = status_pb2.Status(code=code.value[0], message=message)
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason="ERROR_REASON_INVALID_REQUEST", domain="causeway.dev"))
    status.details.append(packed)
    if field:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=field, description=description)
        packed = any_pb2.Any()
        packed.Pack(bad)
        status.details.append(packed)
    if retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromTimedelta(retry_after)
        packed = any_pb2.Any()
        packed.Pack(info)
        status.details.append(packed)
    return status


@contextmanager
def serving(front: FrontDoor, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """`front` on a free loopback port, in plaintext unless there are credentials."""
    server = grpc.server(ThreadPoolExecutor(max_workers=48))
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(front, server)
    conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(front, server)
    document_service_pb2_grpc.add_DocumentServiceServicer_to_server(front, server)
    operation_service_pb2_grpc.add_OperationServiceServicer_to_server(front, server)
    search_service_pb2_grpc.add_SearchServiceServicer_to_server(front, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
