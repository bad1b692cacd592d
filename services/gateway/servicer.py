"""The gRPC face of the gateway: parse, call the core, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from services.common.errors import InvalidRequest
from services.gateway.catalogue import Catalogue
from services.gateway.chat import ChatEngine
from services.gateway.convert import answer_to_proto, event_to_proto, model_to_proto, question_of
from services.gateway.embedding import EmbeddingEngine

Context = grpc.aio.ServicerContext[Any, Any]


class ChatServicer(chat_service_pb2_grpc.ChatServiceServicer):
    """causeway.gateway.v1.ChatService. Requests come in validated."""

    def __init__(self, engine: ChatEngine, embedding: EmbeddingEngine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._embedding = embedding
        self._catalogue = catalogue

    async def Chat(
        self, request: chat_service_pb2.ChatRequest, context: Context
    ) -> AsyncIterator[chat_service_pb2.ChatResponse]:
        """Streams an answer."""
        async with aclosing(self._engine.chat(question_of(request))) as events:
            async for event in events:
                yield event_to_proto(event)

    async def Complete(
        self, request: chat_service_pb2.CompleteRequest, context: Context
    ) -> chat_service_pb2.CompleteResponse:
        """Gives an answer at once."""
        if request.chat.HasField("resume"):
            raise InvalidRequest.field("chat.resume", "is for Chat: what is given at once cannot be resumed")
        return answer_to_proto(await self._engine.complete(question_of(request.chat)))

    async def ListModels(
        self, request: chat_service_pb2.ListModelsRequest, context: Context
    ) -> chat_service_pb2.ListModelsResponse:
        """Lists the models."""
        models = await self._catalogue.models()
        return chat_service_pb2.ListModelsResponse(models=[model_to_proto(model) for model in models])

    async def Embed(
        self, request: chat_service_pb2.EmbedRequest, context: Context
    ) -> chat_service_pb2.EmbedResponse:
        """Embeds texts."""
        vectors = await self._embedding.embed(list(request.texts), request.model)
        return chat_service_pb2.EmbedResponse(
            embeddings=[chat_service_pb2.Embedding(values=vector) for vector in vectors],
            model=self._embedding.model,
        )
