"""Protos to the domain and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from causeway.session.v1 import conversation_pb2, message_pb2, message_service_pb2
from services.common.errors import InvalidRequest
from services.common.identity import Caller
from services.session.model import Citation, Conversation, Message, MessageBody, Owner, Role

_ROLES = {
    message_pb2.MESSAGE_ROLE_USER: Role.USER,
    message_pb2.MESSAGE_ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}


def owner_of(caller: Caller) -> Owner:
    """Whose conversations the caller's are."""
    return Owner(caller.tenant, caller.subject)


def text_of(value: str, field: str) -> str:
    """``value``, which can be stored.

    Raises:
        InvalidRequest: it holds U+0000, which PostgreSQL's text and jsonb cannot hold
            (https://www.postgresql.org/docs/17/datatype-character.html).
    """
    if "\0" in value:
        raise InvalidRequest.field(field, "must not contain the character U+0000")
    return value


def request_id_of(value: str) -> UUID | None:
    """The request id; None when there is none."""
    return UUID(value) if value else None


def body_of(request: message_service_pb2.AppendMessageRequest) -> MessageBody:
    """The message that a valid request holds.

    Raises:
        InvalidRequest: a text cannot be stored.
    """
    return MessageBody(
        conversation_id=UUID(request.conversation_id),
        role=_ROLES[request.role],
        text=text_of(request.text, "text"),
        citations=_citations_of(request.citations),
        partial=request.partial,
    )


def _citations_of(citations: Sequence[message_pb2.MessageCitation]) -> tuple[Citation, ...]:
    return tuple(
        Citation(
            number=citation.number,
            document_id=UUID(citation.document_id),
            title=text_of(citation.title, f"citations[{index}].title"),
            text=text_of(citation.text, f"citations[{index}].text"),
            offset=citation.offset,
        )
        for index, citation in enumerate(citations)
    )


def conversation_to_proto(conversation: Conversation) -> conversation_pb2.Conversation:
    """A conversation as clients see it."""
    return conversation_pb2.Conversation(
        id=str(conversation.id),
        title=conversation.title,
        message_count=conversation.message_count,
        create_time=_timestamp(conversation.create_time),
        update_time=_timestamp(conversation.update_time),
    )


def message_to_proto(message: Message) -> message_pb2.Message:
    """A message as clients see it."""
    body = message.body
    return message_pb2.Message(
        id=str(message.id),
        conversation_id=str(body.conversation_id),
        sequence=message.sequence,
        role=_ROLE_NUMBERS[body.role],
        text=body.text,
        citations=[
            message_pb2.MessageCitation(
                number=citation.number,
                document_id=str(citation.document_id),
                title=citation.title,
                text=citation.text,
                offset=citation.offset,
            )
            for citation in body.citations
        ],
        partial=body.partial,
        create_time=_timestamp(message.create_time),
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
