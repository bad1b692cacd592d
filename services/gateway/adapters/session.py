"""The session service over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from causeway.session.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc
from services.common.channel import peer_errors
from services.gateway.model import Role, StoredTurn, Turn
from services.gateway.ports import NewMessage

_NAME = "the session service"
_TIMEOUT = 5.0
_ROLES = {
    message_pb2.MESSAGE_ROLE_USER: Role.USER,
    message_pb2.MESSAGE_ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}


class SessionService:
    """services.gateway.ports.Conversations."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._messages = message_service_pb2_grpc.MessageServiceStub(channel)

    async def recent(self, conversation_id: str, limit: int) -> Sequence[StoredTurn]:
        """The last messages, oldest first."""
        request = message_service_pb2.ListMessagesRequest(
            conversation_id=conversation_id, page_size=limit, descending=True
        )
        with peer_errors(_NAME):
            page = await self._messages.ListMessages(request, timeout=_TIMEOUT)
        return [
            StoredTurn(message.sequence, Turn(_ROLES[message.role], message.text), message.partial)
            for message in reversed(page.messages)
            if message.role in _ROLES
        ]

    async def append(self, message: NewMessage) -> int:
        """Stores a message and returns its sequence number."""
        request = message_service_pb2.AppendMessageRequest(
            conversation_id=message.conversation_id,
            role=_ROLE_NUMBERS[message.role],
            text=message.text,
            partial=message.partial,
            request_id=message.request_id,
        )
        for citation in message.citations:
            request.citations.add(
                number=citation.number,
                document_id=citation.passage.document_id,
                title=citation.passage.title,
                text=citation.passage.text,
                offset=citation.offset,
            )
        with peer_errors(_NAME):
            response = await self._messages.AppendMessage(request, timeout=_TIMEOUT)
        return response.message.sequence
