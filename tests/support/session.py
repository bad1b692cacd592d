"""The session service for tests: a real server over a real PostgreSQL, and somebody who calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from support.platform import Platform

from causeway.session.v1 import (
    conversation_service_pb2 as conversations_pb2,
)
from causeway.session.v1 import (
    conversation_service_pb2_grpc as conversations_grpc,
)
from causeway.session.v1 import (
    message_pb2,
    message_service_pb2_grpc,
)
from causeway.session.v1 import (
    message_service_pb2 as messages_pb2,
)
from fakes.tokens import Issuer
from services.common.errors import RemoteError
from services.common.postgres import Database, PostgresConfig
from services.common.secret import Secret
from services.common.server import serving
from services.common.status import from_call
from services.session.app import application
from services.session.core import Limits


@dataclass
class Client:
    """One person's view of the service."""

    channel: grpc.aio.Channel
    issuer: Issuer
    tenant: str
    subject: str = "ada"
    metadata: Any = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = self.issuer.metadata(self.tenant, self.subject, ("reader",))
        self.conversations = conversations_grpc.ConversationServiceStub(self.channel)
        self.messages = message_service_pb2_grpc.MessageServiceStub(self.channel)

    def another(self, *, tenant: str | None = None, subject: str = "ada") -> Client:
        """Somebody else at the same server."""
        return Client(self.channel, self.issuer, tenant or self.tenant, subject)

    async def create(self, title: str = "", request_id: str = "") -> str:
        """The id of a new conversation."""
        request = conversations_pb2.CreateConversationRequest(title=title, request_id=request_id)
        response = await self.conversations.CreateConversation(request, metadata=self.metadata)
        return response.conversation.id

    async def get(self, conversation_id: str) -> Any:
        """A conversation."""
        request = conversations_pb2.GetConversationRequest(id=conversation_id)
        return (await self.conversations.GetConversation(request, metadata=self.metadata)).conversation

    async def append(self, conversation_id: str, text: str, request_id: str = "") -> message_pb2.Message:
        """A message of the person, stored."""
        request = messages_pb2.AppendMessageRequest(
            conversation_id=conversation_id,
            role=message_pb2.MESSAGE_ROLE_USER,
            text=text,
            request_id=request_id,
        )
        response = await self.messages.AppendMessage(request, metadata=self.metadata)
        return response.message

    async def read_all(self, conversation_id: str, page_size: int = 0) -> list[message_pb2.Message]:
        """Every message, page by page."""
        found: list[message_pb2.Message] = []
        token = ""
        while True:
            request = messages_pb2.ListMessagesRequest(
                conversation_id=conversation_id, page_size=page_size, page_token=token
            )
            response = await self.messages.ListMessages(request, metadata=self.metadata)
            found += response.messages
            token = response.next_page_token
            if not token:
                return found


@contextmanager
def refused() -> Iterator[list[RemoteError]]:
    """Collects the error that the block must end in, as the service told it."""
    caught: list[RemoteError] = []
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        yield caught
    told = from_call(failure.value)
    assert told is not None, failure.value
    caught.append(told)


def database_of(platform: Platform) -> Database:
    """The database, as the service connects to it."""
    password = Secret(platform.postgres_password_file("session").read_text().strip())
    return Database(PostgresConfig(platform.postgres_dsn("session"), password))


@asynccontextmanager
async def client_of(platform: Platform, limits: Limits | None = None) -> AsyncIterator[Client]:
    """Somebody of a new tenant, at a server of its own."""
    issuer = Issuer()
    async with (
        database_of(platform) as database,
        serving(application(database, limits or Limits()), issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Client(channel, issuer, f"t-{uuid4().hex[:12]}")
