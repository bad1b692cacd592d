"""What callers see when PostgreSQL, or the service itself, is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.platform import Platform, running
from support.session import Client, refused

from causeway.session.v1 import conversation_service_pb2, message_pb2
from causeway.session.v1 import message_service_pb2 as pb
from causeway.session.v1.conversation_service_pb2_grpc import ConversationServiceStub
from causeway.session.v1.message_service_pb2_grpc import MessageServiceStub
from fakes.tokens import Issuer
from services.common.errors import Code, Reason
from services.common.postgres import Database, PostgresConfig
from services.common.server import serving
from services.session.app import application
from services.session.core import Limits

MESSAGES = 150
RETRY_FOR = 30.0
"""Seconds after which a caller gives up."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """The service and its database as processes of their own."""
    with running(["postgres", "migrations", "session"]) as started:
        yield started


class Writer:
    """Appends messages one after the other, and retries each until it is acknowledged."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._conversations = ConversationServiceStub(channel)
        self._messages = MessageServiceStub(channel)
        self.acknowledged: list[str] = []
        self.codes: set[grpc.StatusCode] = set()

    async def start(self) -> str:
        """A new conversation."""
        request = conversation_service_pb2.CreateConversationRequest()
        response = await self._conversations.CreateConversation(request, metadata=self._metadata)
        return response.conversation.id

    async def write(self, conversation_id: str, text: str) -> None:
        """Appends ``text``, once, whatever it takes."""
        request = pb.AppendMessageRequest(
            conversation_id=conversation_id,
            role=message_pb2.MESSAGE_ROLE_USER,
            text=text,
            request_id=str(uuid4()),
        )
        give_up = asyncio.get_running_loop().time() + RETRY_FOR
        while asyncio.get_running_loop().time() < give_up:
            try:
                await self._messages.AppendMessage(request, metadata=self._metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                self.codes.add(error.code())
                await asyncio.sleep(0.05)
            else:
                self.acknowledged.append(text)
                return

    async def read(self, conversation_id: str) -> list[message_pb2.Message]:
        """What the conversation holds."""
        request = pb.ListMessagesRequest(conversation_id=conversation_id, page_size=200)
        return list((await self._messages.ListMessages(request, metadata=self._metadata)).messages)


@pytest.mark.parametrize("victim", ["postgres", "session"])
async def test_a_kill_loses_no_acknowledged_message_and_retries_double_none(
    platform: Platform, victim: str
) -> None:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{platform.ports['session']}", options=[("grpc.max_reconnect_backoff_ms", 500)]
    ) as channel:
        writer = Writer(channel, platform.token(f"t-{victim}"))
        conversation_id = await writer.start()
        pid = platform.process(victim).pid
        assert pid is not None
        for number in range(MESSAGES):
            if number == MESSAGES // 3:
                os.kill(pid, signal.SIGKILL)
            await writer.write(conversation_id, str(number))
        found = await writer.read(conversation_id)
    assert writer.acknowledged == [str(number) for number in range(MESSAGES)]
    assert [message.text for message in found] == writer.acknowledged
    assert [message.sequence for message in found] == list(range(1, MESSAGES + 1))
    assert writer.codes <= {grpc.StatusCode.UNAVAILABLE}


async def test_without_its_database_the_service_says_so(unused_tcp_port: int) -> None:
    issuer = Issuer()
    config = PostgresConfig(f"host=127.0.0.1 port={unused_tcp_port} dbname=causeway user=session")
    async with (
        Database(config) as database,
        serving(application(database, Limits()), issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "causeway.session.v1.MessageService", "dependency:postgres"):
            response = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert response.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with refused() as errors:
            await Client(channel, issuer, "acme").create()
        assert errors[0].status == (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE)
        assert str(unused_tcp_port) not in errors[0].message
