"""A client outside the mesh, over gRPC: what a person's application would be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import grpc
import grpc.aio

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from loadtest.drills.caller import Accepted, CallFailedError, Event, Held, Resumed, Text
from services.common.triton import REGION_KEY

STREAM_LIMIT = 120.0
CONNECTIONS = 4
"""One connection would be one more thing that all calls share."""

Metadata = tuple[tuple[str, str], ...]


class GrpcCaller:
    """Calls a platform at the address that people are given.

    Unary calls list the models: front, ingress, the policy service's decision and a gateway, and little work
    at the end of it, since it is the way there that is harmed. Streams are ungrounded answers.
    """

    def __init__(
        self, channels: Sequence[grpc.aio.Channel], metadata: Callable[[], Metadata], question: str = "Go on."
    ) -> None:
        self._chats = [chat_service_pb2_grpc.ChatServiceStub(channel) for channel in channels]
        self._metadata = metadata
        self._question = question
        self._turn = 0

    async def unary(self, timeout: float) -> str:
        """The models; the region as the answer's headers tell it. Raises CallFailedError."""
        self._turn += 1
        stub = self._chats[self._turn % len(self._chats)]
        request = chat_service_pb2.ListModelsRequest()
        call = stub.ListModels(request, metadata=self._metadata(), timeout=timeout)
        try:
            await call
            return _region(await call.initial_metadata())
        except grpc.aio.AioRpcError as error:
            raise CallFailedError(error.code().name, error.details() or "") from error

    async def stream(self, words: int, held: Held | None) -> AsyncIterator[Event]:
        """An answer, or the rest of it. Raises CallFailedError."""
        self._turn += 1
        stub = self._chats[self._turn % len(self._chats)]
        request = chat_service_pb2.ChatRequest(
            text=self._question,
            parameters=chat_pb2.GenerationParameters(max_tokens=words, temperature=0.0),
            grounding=chat_pb2.Grounding(disabled=True),
        )
        if held is not None:
            request.resume.CopyFrom(chat_service_pb2.ResumePoint(token=held.token, text=held.text))
        finished = False
        try:
            async for response in stub.Chat(request, metadata=self._metadata(), timeout=STREAM_LIMIT):
                match response.WhichOneof("event"):
                    case "accepted":
                        yield Accepted(response.accepted.region, response.accepted.resume_token)
                    case "text_delta":
                        yield Text(response.text_delta.offset, response.text_delta.text)
                    case "resumed":
                        yield Resumed(response.resumed.offset, response.resumed.region)
                    case "finished":
                        finished = True
        except grpc.aio.AioRpcError as error:
            raise CallFailedError(error.code().name, error.details() or "") from error
        if not finished:
            raise CallFailedError("DATA_LOSS", "the stream ended without its last event")


def _region(metadata: object) -> str:
    for key, value in metadata if isinstance(metadata, Iterable) else ():
        if key == REGION_KEY:
            return value if isinstance(value, str) else bytes(value).decode("ascii", "replace")
    return ""
