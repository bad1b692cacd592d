"""The gRPC face of the session service: parse, call the core, convert."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc

from causeway.session.v1 import (
    conversation_service_pb2 as conversations_pb2,
)
from causeway.session.v1 import (
    conversation_service_pb2_grpc as conversations_grpc,
)
from causeway.session.v1 import (
    message_service_pb2 as messages_pb2,
)
from causeway.session.v1 import (
    message_service_pb2_grpc as messages_grpc,
)
from services.common.identity import current_caller
from services.session.convert import (
    body_of,
    conversation_to_proto,
    message_to_proto,
    owner_of,
    request_id_of,
    text_of,
)
from services.session.core import Conversations, Messages

Context = grpc.aio.ServicerContext[Any, Any]


class ConversationServicer(conversations_grpc.ConversationServiceServicer):
    """causeway.session.v1.ConversationService. Requests come in validated."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def CreateConversation(
        self, request: conversations_pb2.CreateConversationRequest, context: Context
    ) -> conversations_pb2.CreateConversationResponse:
        """Starts a conversation."""
        conversation = await self._conversations.create(
            owner_of(current_caller()), text_of(request.title, "title"), request_id_of(request.request_id)
        )
        return conversations_pb2.CreateConversationResponse(conversation=conversation_to_proto(conversation))

    async def GetConversation(
        self, request: conversations_pb2.GetConversationRequest, context: Context
    ) -> conversations_pb2.GetConversationResponse:
        """Reads one."""
        conversation = await self._conversations.get(owner_of(current_caller()), UUID(request.id))
        return conversations_pb2.GetConversationResponse(conversation=conversation_to_proto(conversation))

    async def ListConversations(
        self, request: conversations_pb2.ListConversationsRequest, context: Context
    ) -> conversations_pb2.ListConversationsResponse:
        """Lists the caller's."""
        page = await self._conversations.list_page(
            owner_of(current_caller()), request.page_size, request.page_token
        )
        return conversations_pb2.ListConversationsResponse(
            conversations=[conversation_to_proto(conversation) for conversation in page.items],
            next_page_token=page.next_token,
        )

    async def UpdateConversation(
        self, request: conversations_pb2.UpdateConversationRequest, context: Context
    ) -> conversations_pb2.UpdateConversationResponse:
        """Changes the title: the only path that a valid mask can name."""
        title = text_of(request.conversation.title, "conversation.title")
        conversation = await self._conversations.rename(
            owner_of(current_caller()), UUID(request.conversation.id), title
        )
        return conversations_pb2.UpdateConversationResponse(conversation=conversation_to_proto(conversation))

    async def DeleteConversation(
        self, request: conversations_pb2.DeleteConversationRequest, context: Context
    ) -> conversations_pb2.DeleteConversationResponse:
        """Deletes one with its messages."""
        await self._conversations.delete(owner_of(current_caller()), UUID(request.id))
        return conversations_pb2.DeleteConversationResponse()


class MessageServicer(messages_grpc.MessageServiceServicer):
    """causeway.session.v1.MessageService. Requests come in validated."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    async def AppendMessage(
        self, request: messages_pb2.AppendMessageRequest, context: Context
    ) -> messages_pb2.AppendMessageResponse:
        """Stores a message."""
        message = await self._messages.append(
            owner_of(current_caller()), body_of(request), request_id_of(request.request_id)
        )
        return messages_pb2.AppendMessageResponse(message=message_to_proto(message))

    async def ListMessages(
        self, request: messages_pb2.ListMessagesRequest, context: Context
    ) -> messages_pb2.ListMessagesResponse:
        """Lists a conversation's messages."""
        page = await self._messages.list_page(
            owner_of(current_caller()),
            UUID(request.conversation_id),
            page_size=request.page_size,
            page_token=request.page_token,
            descending=request.descending,
        )
        return messages_pb2.ListMessagesResponse(
            messages=[message_to_proto(message) for message in page.items],
            next_page_token=page.next_token,
        )
