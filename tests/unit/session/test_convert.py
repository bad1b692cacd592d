"""Protos to the domain and back, without loss."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.session.v1 import message_pb2, message_service_pb2
from services.common.errors import InvalidRequest
from services.session.convert import (
    body_of,
    conversation_to_proto,
    message_to_proto,
    request_id_of,
    text_of,
)
from services.session.model import Citation, Conversation, Message, MessageBody, Role

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
TIMES = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
CITATIONS = st.builds(
    Citation,
    number=st.integers(1, 1000),
    document_id=st.uuids(),
    title=TEXT,
    text=TEXT,
    offset=st.integers(0, 2**63 - 1),
)
BODIES = st.builds(
    MessageBody,
    conversation_id=st.uuids(),
    role=st.sampled_from(Role),
    text=TEXT,
    citations=st.lists(CITATIONS, max_size=4).map(tuple),
    partial=st.booleans(),
)


def request_with(message: message_pb2.Message) -> message_service_pb2.AppendMessageRequest:
    """The request that would store the same again."""
    return message_service_pb2.AppendMessageRequest(
        conversation_id=message.conversation_id,
        role=message.role,
        text=message.text,
        citations=message.citations,
        partial=message.partial,
    )


@given(body=BODIES, message_id=st.uuids(), sequence=st.integers(1, 2**63 - 1), moment=TIMES)
def test_a_message_survives_the_way_out_and_in(
    body: MessageBody, message_id: UUID, sequence: int, moment: datetime
) -> None:
    wire = message_to_proto(Message(message_id, sequence, body, moment)).SerializeToString()
    proto = message_pb2.Message.FromString(wire)
    assert body_of(request_with(proto)) == body
    assert (UUID(proto.id), proto.sequence) == (message_id, sequence)
    assert proto.create_time.ToDatetime(UTC) == moment


@given(body=BODIES, message_id=st.uuids(), sequence=st.integers(1, 2**63 - 1), moment=TIMES)
def test_a_message_takes_no_more_room_than_was_reckoned(
    body: MessageBody, message_id: UUID, sequence: int, moment: datetime
) -> None:
    assert message_to_proto(Message(message_id, sequence, body, moment)).ByteSize() <= body.size_bytes


def test_the_largest_message_takes_no_more_room_than_was_reckoned() -> None:
    citation = Citation(1000, uuid4(), "🧀" * 512, "🧀" * 16_384, 2**63 - 1)
    body = MessageBody(uuid4(), Role.ASSISTANT, "🧀" * 262_144, (citation,) * 64, partial=True)
    latest = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert message_to_proto(Message(uuid4(), 2**63 - 1, body, latest)).ByteSize() <= body.size_bytes


@given(
    conversation=st.builds(
        Conversation,
        id=st.uuids(),
        title=TEXT,
        message_count=st.integers(0, 2**63 - 1),
        create_time=TIMES,
        update_time=TIMES,
    )
)
def test_a_conversation_survives_the_way_out(conversation: Conversation) -> None:
    proto = conversation_to_proto(conversation)
    assert conversation == Conversation(
        UUID(proto.id),
        proto.title,
        proto.message_count,
        proto.create_time.ToDatetime(UTC),
        proto.update_time.ToDatetime(UTC),
    )


def test_text_that_postgresql_cannot_hold_is_named_by_its_field() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        text_of("a\0b", "conversation.title")
    assert [violation.field for violation in refusal.value.violations] == ["conversation.title"]


@pytest.mark.parametrize("field", ["text", "citations[1].title", "citations[1].text"])
def test_every_text_of_a_message_is_looked_at(field: str) -> None:
    request = message_service_pb2.AppendMessageRequest(
        conversation_id=str(uuid4()), role=message_pb2.MESSAGE_ROLE_USER, text="x"
    )
    for _ in range(2):
        request.citations.add(number=1, document_id=str(uuid4()))
    owner = request.citations[1] if field.startswith("citations") else request
    setattr(owner, field.rpartition(".")[2], "\0")
    with pytest.raises(InvalidRequest) as refusal:
        body_of(request)
    assert [violation.field for violation in refusal.value.violations] == [field]


def test_ids_are_the_same_in_either_case() -> None:
    request_id = uuid4()
    assert request_id_of(str(request_id).upper()) == request_id
    assert request_id_of("") is None
