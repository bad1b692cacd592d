"""Protos to the domain and back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    operation_pb2,
    search_service_pb2,
)
from services.common.status import ERROR_DOMAIN
from services.retrieval.model import (
    Document,
    DocumentFilter,
    DocumentState,
    Failure,
    Header,
    MediaType,
    Operation,
    OperationState,
    Result,
    SearchFilter,
    SearchMode,
)
from services.retrieval.uploads import Part, Start

_MEDIA_TYPES = {
    document_pb2.MEDIA_TYPE_TEXT: MediaType.TEXT,
    document_pb2.MEDIA_TYPE_MARKDOWN: MediaType.MARKDOWN,
    document_pb2.MEDIA_TYPE_HTML: MediaType.HTML,
    document_pb2.MEDIA_TYPE_PDF: MediaType.PDF,
}
_MEDIA_NUMBERS = {kind: number for number, kind in _MEDIA_TYPES.items()}
_DOCUMENT_STATES = {
    document_pb2.DOCUMENT_STATE_PENDING: DocumentState.PENDING,
    document_pb2.DOCUMENT_STATE_READY: DocumentState.READY,
    document_pb2.DOCUMENT_STATE_FAILED: DocumentState.FAILED,
}
_DOCUMENT_STATE_NUMBERS = {state: number for number, state in _DOCUMENT_STATES.items()}
_OPERATION_STATE_NUMBERS = {
    OperationState.QUEUED: operation_pb2.OPERATION_STATE_QUEUED,
    OperationState.RUNNING: operation_pb2.OPERATION_STATE_RUNNING,
    OperationState.SUCCEEDED: operation_pb2.OPERATION_STATE_SUCCEEDED,
    OperationState.FAILED: operation_pb2.OPERATION_STATE_FAILED,
}
_MODES = {
    search_service_pb2.SEARCH_MODE_UNSPECIFIED: SearchMode.HYBRID,
    search_service_pb2.SEARCH_MODE_HYBRID: SearchMode.HYBRID,
    search_service_pb2.SEARCH_MODE_DENSE: SearchMode.DENSE,
    search_service_pb2.SEARCH_MODE_LEXICAL: SearchMode.LEXICAL,
}


def header_of(message: document_service_pb2.DocumentHeader) -> Header:
    """A validated header."""
    return Header(
        title=message.title,
        media_type=_MEDIA_TYPES[message.media_type],
        source=message.source,
        labels=dict(message.labels),
        request_id=UUID(message.request_id) if message.request_id else None,
    )


def part_of(message: document_service_pb2.UploadDocumentRequest) -> Part:
    """A validated piece of an upload."""
    if message.WhichOneof("part") == "start":
        return Start(header_of(message.start.header), message.start.size_bytes)
    return message.content


def document_filter_of(message: document_service_pb2.ListDocumentsRequest) -> DocumentFilter:
    """What a list is narrowed to."""
    return DocumentFilter(labels=dict(message.labels), state=_DOCUMENT_STATES.get(message.state))


def search_filter_of(message: search_service_pb2.SearchFilter) -> SearchFilter:
    """What a search is narrowed to."""
    return SearchFilter(
        document_ids=[UUID(item) for item in message.document_ids],
        labels=dict(message.labels),
        media_types=[_MEDIA_TYPES[item] for item in message.media_types],
    )


def mode_of(number: search_service_pb2.SearchMode.ValueType) -> SearchMode:
    """How to match."""
    return _MODES[number]


def document_to_proto(document: Document) -> document_pb2.Document:
    """A document."""
    return document_pb2.Document(
        id=str(document.id),
        title=document.title,
        media_type=_MEDIA_NUMBERS[document.media_type],
        source=document.source,
        labels=dict(document.labels),
        state=_DOCUMENT_STATE_NUMBERS[document.state],
        size_bytes=document.size_bytes,
        chunk_count=document.chunk_count,
        sha256=document.sha256,
        create_time=_timestamp(document.create_time),
    )


def operation_to_proto(operation: Operation) -> operation_pb2.Operation:
    """An operation; its error carries google.rpc.ErrorInfo, like every error of ours."""
    return operation_pb2.Operation(
        id=str(operation.id),
        document_id=str(operation.document_id),
        state=_OPERATION_STATE_NUMBERS[operation.state],
        chunks_total=operation.chunks_total,
        chunks_indexed=operation.chunks_indexed,
        error=None if operation.failure is None else _status(operation.failure),
        create_time=_timestamp(operation.create_time),
        update_time=_timestamp(operation.update_time),
    )


def result_to_proto(result: Result) -> search_service_pb2.SearchResult:
    """A passage that was found."""
    passage = result.passage
    return search_service_pb2.SearchResult(
        chunk_id=str(passage.chunk_id),
        document_id=str(passage.document_id),
        title=passage.title,
        text=passage.text,
        ordinal=passage.ordinal,
        score=result.score,
        cosine=None if result.cosine is None else max(-1.0, min(1.0, result.cosine)),
    )


def _status(failure: Failure) -> status_pb2.Status:
    status = status_pb2.Status(code=int(failure.code), message=failure.message)
    info = error_details_pb2.ErrorInfo(
        reason=f"ERROR_REASON_{failure.reason.name}", domain=ERROR_DOMAIN, metadata=dict(failure.metadata)
    )
    status.details.add().Pack(info)
    return status


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
