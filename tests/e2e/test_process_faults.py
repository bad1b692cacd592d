"""Every process is killed in turn while questions are asked: it comes back, nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from support.platform import MESH, Platform
from support.wait import until

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from causeway.session.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    message_pb2,
    message_service_pb2,
    message_service_pb2_grpc,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TENANT = "faults"
ONE_SHOTS = {"models", "migrations"}
EXPECTED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What a caller may see while a process is away: each says that the call may be made again."""


@dataclass
class Asked:
    """What became of the questions."""

    answered: int = 0
    unexpected: list[str] = field(default_factory=list)


class Client:
    """A caller that keeps one conversation."""

    def __init__(self, platform: Platform, channel: grpc.Channel) -> None:
        self._platform = platform
        self.chat = chat_service_pb2_grpc.ChatServiceStub(channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        self.messages = message_service_pb2_grpc.MessageServiceStub(channel)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._platform.token(TENANT, ('editor',))}"),)

    def ask(self, conversation: str = "", timeout: float = 30) -> str:
        request = chat_service_pb2.ChatRequest(
            text="Say one word.",
            conversation_id=conversation,
            parameters=chat_pb2.GenerationParameters(max_tokens=3, temperature=0),
            grounding=chat_pb2.Grounding(disabled=True),
            request_id=str(uuid.uuid4()),
        )
        complete = chat_service_pb2.CompleteRequest(chat=request)
        return self.chat.Complete(complete, metadata=self.metadata(), timeout=timeout).text

    def append(self, conversation: str, text: str) -> str:
        """Stores a message; its id once that is acknowledged, empty when it was not."""
        request = message_service_pb2.AppendMessageRequest(
            conversation_id=conversation,
            role=message_pb2.MESSAGE_ROLE_USER,
            text=text,
            request_id=str(uuid.uuid4()),
        )
        try:
            reply = self.messages.AppendMessage(
                request, metadata=self.metadata(), timeout=10, wait_for_ready=True
            )
            return reply.message.id
        except grpc.RpcError:
            return ""

    def stored(self, conversation: str) -> set[str]:
        request = message_service_pb2.ListMessagesRequest(conversation_id=conversation, page_size=200)
        found: set[str] = set()
        while True:
            page = self.messages.ListMessages(request, metadata=self.metadata(), timeout=10)
            found |= {message.id for message in page.messages}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


@pytest.fixture
def client(platform: Platform) -> Iterator[Client]:
    with platform.channel("gateway") as channel:
        yield Client(platform, channel)


@contextmanager
def questions(client: Client) -> Iterator[Asked]:
    """Asks one question after another, from beside."""
    asked, stop = Asked(), threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                client.ask(timeout=15)
                asked.answered += 1
            except grpc.RpcError as error:
                if error.code() not in EXPECTED:
                    asked.unexpected.append(f"{error.code().name}: {error.details()}")
                stop.wait(0.1)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


KILLED = [
    member.name
    for member in MESH.members
    if member.name not in ONE_SHOTS and member.region in ("", MESH.regions[0])
]
"""What there is once, and all of one region: the other is the same."""


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_process_comes_back_and_nothing_acknowledged_is_lost(
    name: str, platform: Platform, client: Client
) -> None:
    until(lambda: platform.report().ready, limit=120, what="readiness")
    created = client.conversations.CreateConversation(
        conversation_service_pb2.CreateConversationRequest(title=name), metadata=client.metadata(), timeout=10
    )
    conversation = created.conversation.id
    acknowledged: set[str] = set()
    with questions(client) as asked:
        until(lambda: asked.answered, limit=60, what="a first answer")
        acknowledged |= {client.append(conversation, f"before {number}") for number in range(5)}
        old = platform.process(name)
        assert old.identity is not None
        os.kill(old.identity.pid, signal.SIGKILL)
        until(lambda: not platform.report().ready, limit=10, what="status telling that it is gone")
        acknowledged |= {client.append(conversation, f"while away {number}") for number in range(5)}
        until(
            lambda: platform.report().ready and platform.process(name).pid not in (None, old.pid),
            limit=180,
            what=f"the return of {name}",
        )
        acknowledged |= {client.append(conversation, f"after {number}") for number in range(5)}
        answers = asked.answered
        until(lambda: asked.answered > answers, limit=60, what="an answer after the fault")
    assert asked.unexpected == []
    acknowledged.discard("")
    assert len(acknowledged) >= 10
    assert acknowledged <= client.stored(conversation)


def test_documents_outlive_every_fault_above(platform: Platform, causeway: object) -> None:
    assert callable(causeway)
    until(lambda: platform.report().ready, limit=120, what="readiness")
    found = causeway("search", "with statement context manager", "--json")
    assert found.returncode == 0, found.stderr
    assert '"title": "with"' in found.stdout
