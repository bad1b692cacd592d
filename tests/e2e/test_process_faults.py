"""Every process is killed in turn, and then their supervisor, while questions are asked and texts are stored.

What was killed comes back, `status` never calls it ready meanwhile, and nothing acknowledged is lost.
"""

from __future__ import annotations

import os
import signal
import string
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psycopg
import pytest
from support.platform import MESH, Platform
from support.wait import until

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from causeway.session.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    message_pb2,
    message_service_pb2,
    message_service_pb2_grpc,
)
from mesh.local import daemon, leftovers, procfs, recovery, report

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TENANT = "faults"
ONE_SHOTS = {"models", "migrations"}
EXPECTED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What a caller may see while a process is away: each says that the call may be made again."""


LETTERS = str.maketrans(string.digits, "ghijklmnop")


@dataclass
class Asked:
    """What became of the questions."""

    answered: int = 0
    unexpected: list[str] = field(default_factory=list)


@dataclass
class Written:
    """What was acknowledged, and may not be lost."""

    messages: set[str] = field(default_factory=set)
    documents: dict[str, str] = field(default_factory=dict)
    """A word that stands in nothing else, by document."""
    unexpected: list[str] = field(default_factory=list)


class Client:
    """A caller that keeps one conversation."""

    def __init__(self, platform: Platform, channel: grpc.Channel) -> None:
        self._platform = platform
        self.chat = chat_service_pb2_grpc.ChatServiceStub(channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        self.messages = message_service_pb2_grpc.MessageServiceStub(channel)
        self.documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        self.searches = search_service_pb2_grpc.SearchServiceStub(channel)

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
        """Stores a message; its id, once that is acknowledged."""
        request = message_service_pb2.AppendMessageRequest(
            conversation_id=conversation,
            role=message_pb2.MESSAGE_ROLE_USER,
            text=text,
            request_id=str(uuid.uuid4()),
        )
        reply = self.messages.AppendMessage(
            request, metadata=self.metadata(), timeout=10, wait_for_ready=True
        )
        return reply.message.id

    def create(self) -> tuple[str, str]:
        """Stores a document; its id and its own word, once that is acknowledged: its ingestion goes on."""
        word = uuid.uuid4().hex.translate(LETTERS)
        request = document_service_pb2.CreateDocumentRequest(
            header=document_service_pb2.DocumentHeader(
                title=word, media_type=document_pb2.MEDIA_TYPE_TEXT, request_id=str(uuid.uuid4())
            ),
            content=f"The word {word} stands in this document alone.".encode(),
        )
        reply = self.documents.CreateDocument(
            request, metadata=self.metadata(), timeout=10, wait_for_ready=True
        )
        return reply.document.id, word

    def finds(self, document: str, word: str) -> bool:
        """Whether a search for a document's own word finds it."""
        request = search_service_pb2.SearchRequest(query=word, limit=3)
        try:
            found = self.searches.Search(request, metadata=self.metadata(), timeout=10)
        except grpc.RpcError as error:
            if error.code() not in EXPECTED:
                raise
            return False
        return document in {result.document_id for result in found.results}

    def stored(self, conversation: str) -> list[str]:
        """The messages of a conversation."""
        request = message_service_pb2.ListMessagesRequest(conversation_id=conversation, page_size=200)
        found: list[str] = []
        while True:
            page = self.messages.ListMessages(request, metadata=self.metadata(), timeout=10)
            found += [message.id for message in page.messages]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


@pytest.fixture
def client(platform: Platform) -> Iterator[Client]:
    with platform.channel("gateway") as channel:
        yield Client(platform, channel)


@pytest.fixture
def conversation(platform: Platform, client: Client) -> str:
    """A new one, on a platform that is whole."""
    until(lambda: platform.report().ready, limit=120, what="readiness")
    request = conversation_service_pb2.CreateConversationRequest(title="faults")
    created = client.conversations.CreateConversation(request, metadata=client.metadata(), timeout=10)
    return created.conversation.id


@contextmanager
def again_and_again(turn: Callable[[], None], unexpected: list[str], pause: float) -> Iterator[None]:
    """Takes one turn after another, from beside; notes refusals that ask nobody to try again."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                turn()
            except grpc.RpcError as error:
                if error.code() not in EXPECTED:
                    unexpected.append(f"{error.code().name}: {error.details()}")
            stop.wait(pause)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def questions(client: Client) -> Iterator[Asked]:
    """Asks one question after another."""
    asked = Asked()

    def turn() -> None:
        client.ask(timeout=15)
        asked.answered += 1

    with again_and_again(turn, asked.unexpected, pause=0.1):
        yield asked


@contextmanager
def writes(client: Client, conversation: str) -> Iterator[Written]:
    """Stores one message and one document after another."""
    written = Written()

    def turn() -> None:
        written.messages.add(client.append(conversation, "a line"))
        document, word = client.create()
        written.documents[document] = word

    with again_and_again(turn, written.unexpected, pause=0.5):
        yield written


def check_nothing_is_lost(platform: Platform, client: Client, conversation: str, written: Written) -> None:
    """Every message is there once; every document has its row, becomes ready and is found."""
    stored = client.stored(conversation)
    assert len(stored) == len(set(stored))
    assert written.messages <= set(stored)
    assert states(platform, written) == dict.fromkeys(written.documents, "ready")
    for document, word in written.documents.items():
        until(lambda: client.finds(document, word), limit=30, what=f"finding {word}")  # noqa: B023 - used at once


def states(platform: Platform, written: Written) -> dict[str, str]:
    """What the rows say of the documents, once no ingestion is under way."""
    found: dict[str, str] = {}

    def settled() -> bool:
        with psycopg.connect(platform.postgres_conninfo("postgres")) as connection:
            rows = connection.execute(
                "select id::text, state from retrieval.documents where tenant_id = %s and id = any(%s)",
                (TENANT, [uuid.UUID(document) for document in written.documents]),
            )
            found.clear()
            found.update(rows.fetchall())
        return "pending" not in found.values()

    until(settled, limit=120, what="the end of all ingestion")
    return found


KILLED = [
    member.name
    for member in MESH.members
    if member.name not in ONE_SHOTS and member.region in ("", MESH.regions[0])
]
"""What there is once, and all of one region: the other is the same."""


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_process_comes_back_and_nothing_acknowledged_is_lost(
    name: str, platform: Platform, client: Client, conversation: str
) -> None:
    with questions(client) as asked, writes(client, conversation) as written:
        until(lambda: asked.answered and len(written.documents) > 1, limit=60, what="answers and documents")
        old = platform.process(name)
        assert old.identity is not None
        # Acknowledged, and its ingestion just begun.
        document, word = client.create()
        written.documents[document] = word
        os.kill(old.identity.pid, signal.SIGKILL)
        until(lambda: told_as_gone(platform, name), limit=10, what="status telling that it is gone")
        until(
            lambda: platform.report().ready and platform.process(name).pid not in (None, old.pid),
            limit=180,
            what=f"the return of {name}",
        )
        before = asked.answered, len(written.messages), len(written.documents)
        until(
            lambda: (
                asked.answered > before[0]
                and len(written.messages) > before[1]
                and len(written.documents) > before[2]
            ),
            limit=60,
            what="an answer, a message and a document after the fault",
        )
    assert asked.unexpected + written.unexpected == []
    check_nothing_is_lost(platform, client, conversation, written)


def told_as_gone(platform: Platform, name: str) -> bool:
    """Whether `status` says now that this process is not ready, and so the platform is not."""
    found = platform.report()
    one = next(process for process in found.processes if process.name == name)
    return not one.ready and not found.ready


def test_a_platform_whose_supervisor_is_killed_starts_again_with_nothing_doubled_or_left(
    platform: Platform, client: Client, conversation: str, supervisors: list[subprocess.Popen[bytes]]
) -> None:
    layout = platform.layout
    old = platform.report().supervisor
    assert old is not None
    children = [item.identity for item in procfs.descendants(old.pid)]
    assert len(children) >= len(MESH.members) - len(ONE_SHOTS)
    memory = shared_memory(platform)
    with writes(client, conversation) as written:
        until(lambda: written.documents, limit=60, what="a document")
        document, word = client.create()
        written.documents[document] = word
        os.kill(old.pid, signal.SIGKILL)
        until(lambda: not procfs.alive(old), what="the end of the supervisor")
        found = report.read(layout)
        assert (found.ready, found.phase) == (False, "unsupervised")
        assert not any(process.ready for process in found.processes)
        # At once, as a person would: whatever still ends must not be in the way.
        started = daemon.up(layout, None, limit=300, shape=MESH, tied=True)
        assert started.child is not None
        supervisors.append(started.child)
        documents = len(written.documents)
        until(lambda: len(written.documents) > documents, limit=60, what="a document after the fault")
    assert written.unexpected == []
    assert [item for item in children if procfs.alive(item)] == []
    assert memory & shared_memory(platform) == set()
    owned = leftovers.find(layout.home, [], recovery.owned_folders(layout))
    ours = {started.child.pid, *(item.pid for item in procfs.descendants(started.child.pid))}
    assert {item.pid for item in owned if procfs.alive(item)} <= ours
    assert sorted(process.name for process in platform.report().processes) == sorted(MESH.names)
    until(lambda: answers(client), limit=60, what="an answer")
    check_nothing_is_lost(platform, client, conversation, written)


def answers(client: Client) -> bool:
    """Whether a question is answered now."""
    try:
        client.ask()
    except grpc.RpcError as error:
        if error.code() not in EXPECTED:
            raise
        return False
    return True


def shared_memory(platform: Platform) -> set[str]:
    """Names in /dev/shm that are this platform's."""
    prefixes = tuple(recovery.shm_prefixes(platform.layout))
    return {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(prefixes)}  # noqa: S108
