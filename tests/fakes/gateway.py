"""In-memory peers of the gateway's core, which can be told to fail, to hang, or to be slow.

Each call passes a gate named after it: ``peers.fail("search", error)`` makes the next ones raise,
``peers.hang("search")`` makes them wait until ``peers.release("search")``. ``peers.calls`` tells what was
called, in order.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.common.errors import (
    Code,
    DomainError,
    InvalidRequest,
    PermissionDenied,
    Reason,
    RemoteError,
    RequestIdReused,
)
from services.common.identity import Caller
from services.common.secret import Secret
from services.gateway.background import Background
from services.gateway.chat import ChatEngine
from services.gateway.ending import Endings
from services.gateway.model import (
    Event,
    Grounding,
    Passage,
    Question,
    ResumePoint,
    Role,
    StoredTurn,
    Turn,
    Usage,
)
from services.gateway.ports import AuditRecord, NewMessage, Piece, Prompt
from services.gateway.prompt import PromptWriter
from services.gateway.resumption import Tickets
from services.gateway.run import Parts
from services.gateway.settings import ChatSettings

CALLER = Caller("acme", "ada", frozenset({"reader"}), Secret("a token"))
KEY = "a key that all gateways of the platform have"
CONVERSATION = "6d3f0a1c-8a52-4a35-9b5c-0f3c2a3f7a01"

WITH = Passage(
    document_id="0d9f6a30-0000-4000-8000-000000000001",
    title="The with statement",
    text='The "with" statement is used to wrap the execution of a block with methods defined by a context '
    "manager. This allows common try-except-finally usage patterns to be encapsulated for convenient reuse.",
    score=0.032,
    cosine=0.71,
)
PASS = Passage(
    document_id="0d9f6a30-0000-4000-8000-000000000002",
    title="The pass statement",
    text="The pass statement is a null operation: when it is executed, nothing happens. It is useful as a "
    "placeholder when a statement is required syntactically, but no code needs to be executed.",
    score=0.020,
    cosine=0.44,
)
ANSWER = "The with statement wraps the execution of a block with methods defined by a context manager."


@dataclass
class FakePeers:
    """Policy, conversations, passages and generator in one, so that the order of all calls can be seen."""

    passages: Sequence[Passage] = (WITH, PASS)
    tokens: Sequence[str] = (*tuple(f"{word} " for word in ANSWER.split(" ")[:-1]), ANSWER.split(" ")[-1])
    finish_reason: str = "stop"
    model_region: str = ""
    """Where the model says that it is."""
    token_pause: float = 0.0
    """Seconds before each token; 0 only gives way."""
    quota: int = 1_000_000
    denied: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    open_reservations: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    messages: list[NewMessage] = field(default_factory=list)
    history: list[StoredTurn] = field(default_factory=list)
    audited: list[AuditRecord] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    generating: int = 0
    """Generations that are under way."""
    generated: int = 0
    """Tokens that were written."""
    _failures: dict[str, list[Exception]] = field(default_factory=dict)
    _gates: dict[str, asyncio.Event] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)

    def fail(self, call: str, error: Exception, times: int = 1) -> None:
        """The next ``times`` calls of this name raise ``error``."""
        self._failures.setdefault(call, []).extend([error] * times)

    def hang(self, call: str) -> asyncio.Event:
        """Calls of this name wait from now on; the event that is returned tells that one does."""
        self._gates[call] = asyncio.Event()
        return self.reached.setdefault(call, asyncio.Event())

    def release(self, call: str) -> None:
        """Lets them go on."""
        self._gates.pop(call).set()

    async def _pass(self, call: str) -> None:
        self.calls.append(call)
        gate = self._gates.get(call)
        if gate is not None:
            self.reached.setdefault(call, asyncio.Event()).set()
            await gate.wait()
        await asyncio.sleep(0)
        if self._failures.get(call):
            raise self._failures[call].pop(0)

    async def check(self, action: str) -> None:
        """Policy.check."""
        await self._pass("check")
        if action in self.denied:
            raise PermissionDenied("the tenant's policy does not allow this")

    async def reserve(self, reservation_id: str, tokens: int, lease: timedelta) -> None:
        """Policy.reserve."""
        await self._pass("reserve")
        if tokens > self.quota:
            raise RemoteError(Code.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED, "the quota is used up")
        self.open_reservations[reservation_id] = tokens

    async def settle(self, reservation_id: str, used: int) -> None:
        """Policy.settle."""
        await self._pass("settle")
        if self.open_reservations.pop(reservation_id, None) is not None:
            self.settled[reservation_id] = used

    async def audit(self, record: AuditRecord) -> None:
        """Policy.audit."""
        await self._pass("audit")
        if record.request_id not in {known.request_id for known in self.audited}:
            self.audited.append(record)

    async def recent(self, conversation_id: str, limit: int) -> Sequence[StoredTurn]:
        """Conversations.recent."""
        await self._pass("history")
        return self.history[-limit:]

    async def append(self, message: NewMessage) -> int:
        """Conversations.append."""
        await self._pass("append question" if message.role is Role.USER else "append answer")
        for known, stored in zip(self.messages, self.history, strict=True):
            if known.request_id == message.request_id:
                if known.text != message.text:
                    raise RequestIdReused("the request_id was used for another message")
                return stored.sequence
        self.messages.append(message)
        turn = StoredTurn(len(self.history) + 1, Turn(message.role, message.text), message.partial)
        self.history.append(turn)
        return turn.sequence

    async def search(self, query: str, limit: int, grounding: Grounding) -> Sequence[Passage]:
        """Passages.search."""
        self.queries.append(query)
        await self._pass("search")
        return self.passages[:limit]

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Generator.generate."""
        self.prompts.append(prompt)
        self.generating += 1
        try:
            await self._pass("generate")
            first, rest = self._after(prompt.said)
            for index, token in enumerate(self.tokens[first:], first):
                await asyncio.sleep(self.token_pause)
                if self._failures.get(f"token {index}"):
                    raise self._failures[f"token {index}"].pop(0)
                if (gate := self._gates.get(f"token {index}")) is not None:
                    self.reached.setdefault(f"token {index}", asyncio.Event()).set()
                    await gate.wait()
                self.generated += 1
                yield Piece(rest + token, region=self.model_region)
                rest = ""
            usage = Usage(prompt_tokens=100, completion_tokens=len(self.tokens), cached_tokens=7)
            yield Piece("", self.finish_reason, usage)
        finally:
            self.generating -= 1

    def _after(self, said: str) -> tuple[int, str]:
        """The first token that was not begun, and what is left of the one before it."""
        count, length = 0, 0
        while length < len(said):
            length, count = length + len(self.tokens[count]), count + 1
        text = "".join(self.tokens[:count])
        if not text.startswith(said):
            raise InvalidRequest("the answer does not begin so")
        return count, text[len(said) :]

    async def ready(self) -> bool:
        """Generator.ready and Embedder.ready."""
        return not self._failures.get("ready")

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Embedder.embed."""
        await self._pass("embed")
        return [[1.0, 0.0] for _ in texts]


@dataclass
class Gateway:
    """An engine on top of fakes."""

    peers: FakePeers
    background: Background
    endings: Endings
    engine: ChatEngine

    async def events(self, question: Question | None = None) -> list[Event]:
        """All events of an answer, with what it owes done."""
        events = [event async for event in self.engine.chat(question or ask())]
        await self.background.drain()
        return events

    async def failure(self, question: Question | None = None) -> DomainError:
        """The error that an answer ends in, with what it owes done."""
        try:
            async for _ in self.engine.chat(question or ask()):
                pass
        except DomainError as error:
            await self.background.drain()
            return error
        raise AssertionError("the answer did not fail")


def gateway(
    peers: FakePeers,
    settings: ChatSettings | None = None,
    context_tokens: int = 3072,
    *,
    keys: Sequence[str] = (KEY,),
    region: str = "eu-test-1",
) -> Gateway:
    """An engine on top of ``peers``."""
    settings = settings or ChatSettings(
        retry_pause=timedelta(milliseconds=1), finish_timeout=timedelta(milliseconds=500)
    )
    background = Background(timedelta(seconds=2))
    endings = Endings(background, peers, peers, settings.finish_timeout)
    parts = Parts(
        policy=peers,
        conversations=peers,
        passages=peers,
        generator=peers,
        endings=endings,
        writer=PromptWriter(settings, context_tokens),
        settings=settings,
        tickets=Tickets(keys, timedelta(minutes=15)),
        model="generator",
        region=region,
    )
    return Gateway(peers, background, endings, ChatEngine(parts))


def ask(
    text: str = "What does the with statement do?",
    *,
    conversation: bool = False,
    grounding: Grounding | None = None,
    history: Sequence[Turn] = (),
    model: str = "",
    request_id: str = "",
    resume: ResumePoint | None = None,
) -> Question:
    """A question."""
    return Question(
        text=text,
        conversation_id=CONVERSATION if conversation else "",
        grounding=grounding or Grounding(),
        history=history,
        model=model,
        request_id=request_id or str(uuid.uuid4()),
        resume=resume,
    )
