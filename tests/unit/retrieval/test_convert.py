"""Protos to the domain and back."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from google.rpc import error_details_pb2

from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    operation_pb2,
    search_service_pb2,
)
from services.common.errors import Code, Reason
from services.retrieval import convert
from services.retrieval.model import (
    Document,
    DocumentState,
    Failure,
    Header,
    MediaType,
    Operation,
    OperationState,
    Passage,
    Result,
    SearchMode,
)
from services.retrieval.uploads import Start

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


def numbers(enum: object) -> set[int]:
    """All values of a proto enum but the unspecified one."""
    return {value for value in enum.DESCRIPTOR.values_by_number if value}  # type: ignore[attr-defined]


def test_every_media_type_has_its_number() -> None:
    seen = set()
    for number in numbers(document_pb2.MediaType):
        message = document_service_pb2.DocumentHeader(title="t", media_type=number)  # type: ignore[arg-type]
        seen.add(convert.header_of(message).media_type)
    assert seen == set(MediaType)


@pytest.mark.parametrize("state", DocumentState)
@pytest.mark.parametrize("media_type", MediaType)
def test_a_document_is_told_whole(state: DocumentState, media_type: MediaType) -> None:
    document = Document(
        id=uuid4(),
        title="T",
        media_type=media_type,
        source="s",
        labels={"a": "b"},
        state=state,
        size_bytes=7,
        chunk_count=3,
        sha256="0" * 64,
        create_time=NOW,
    )
    message = convert.document_to_proto(document)
    assert (message.id, message.title, message.source) == (str(document.id), "T", "s")
    assert dict(message.labels) == {"a": "b"}
    assert (message.size_bytes, message.chunk_count, message.sha256) == (7, 3, "0" * 64)
    assert document_pb2.DocumentState.Name(message.state) == f"DOCUMENT_STATE_{state.name}"
    assert document_pb2.MediaType.Name(message.media_type) == f"MEDIA_TYPE_{media_type.name}"
    assert message.create_time.ToDatetime(UTC) == NOW


@pytest.mark.parametrize("state", OperationState)
def test_an_operation_is_told_whole(state: OperationState) -> None:
    failure = Failure(
        code=Code.FAILED_PRECONDITION,
        reason=Reason.DOCUMENT_UNREADABLE,
        message="no",
        metadata={"byte_offset": "3"},
    )
    operation = Operation(
        id=uuid4(),
        document_id=uuid4(),
        state=state,
        chunks_total=5,
        chunks_indexed=2,
        failure=failure if state is OperationState.FAILED else None,
        create_time=NOW,
        update_time=NOW,
    )
    message = convert.operation_to_proto(operation)
    assert operation_pb2.OperationState.Name(message.state) == f"OPERATION_STATE_{state.name}"
    assert (message.chunks_total, message.chunks_indexed) == (5, 2)
    assert message.HasField("error") is (state is OperationState.FAILED)
    if state is OperationState.FAILED:
        info = error_details_pb2.ErrorInfo()
        assert message.error.details[0].Unpack(info)
        assert (message.error.code, message.error.message) == (9, "no")
        assert (info.reason, info.domain) == ("ERROR_REASON_DOCUMENT_UNREADABLE", "causeway.dev")
        assert dict(info.metadata) == {"byte_offset": "3"}


def test_the_header_keeps_everything() -> None:
    request_id = uuid4()
    message = document_service_pb2.DocumentHeader(
        title="t",
        media_type=document_pb2.MEDIA_TYPE_PDF,
        source="s",
        labels={"a": "b"},
        request_id=str(request_id),
    )
    header = Header(title="t", media_type=MediaType.PDF, source="s", labels={"a": "b"}, request_id=request_id)
    assert convert.header_of(message) == header
    start = document_service_pb2.UploadStart(header=message, size_bytes=9)
    assert convert.part_of(document_service_pb2.UploadDocumentRequest(start=start)) == Start(header, 9)
    assert convert.part_of(document_service_pb2.UploadDocumentRequest(content=b"x")) == b"x"


def test_an_unset_mode_is_hybrid_and_every_mode_is_known() -> None:
    assert convert.mode_of(search_service_pb2.SEARCH_MODE_UNSPECIFIED) is SearchMode.HYBRID
    known = {convert.mode_of(number) for number in numbers(search_service_pb2.SearchMode)}  # type: ignore[arg-type]
    assert known == set(SearchMode)


def test_an_unset_filter_filters_nothing() -> None:
    where = convert.search_filter_of(search_service_pb2.SearchFilter())
    assert not where.document_ids
    assert not where.labels
    assert not where.media_types
    assert convert.document_filter_of(document_service_pb2.ListDocumentsRequest()).state is None


@pytest.mark.parametrize("cosine,told", [(None, None), (0.25, 0.25), (1.0000001, 1.0), (-1.0000001, -1.0)])
def test_a_cosine_is_told_within_its_bounds_or_not_at_all(cosine: float | None, told: float | None) -> None:
    passage = Passage(chunk_id=uuid4(), document_id=uuid4(), title="T", text="x", ordinal=4)
    message = convert.result_to_proto(Result(passage=passage, score=0.5, cosine=cosine))
    assert (message.cosine if message.HasField("cosine") else None) == told
    assert (message.title, message.text, message.ordinal, message.score) == ("T", "x", 4, 0.5)
