"""A chat's stream that breaks anywhere is read to its end, without a gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from causeway.gateway.v1 import chat_pb2
from causeway.gateway.v1.chat_service_pb2 import Accepted, ChatRequest, ChatResponse, Finished, Resumed
from cli.stream import BrokenStreamError, LostTextError, Patience, read, read_async
from fakes.front_door import text
from services.common.errors import DomainError, ModelUnavailable, Overloaded
from services.common.status import DETAILS_KEY, to_status
from services.gateway.errors import NotResumable

ANSWER = "The with statement wraps the execution of a block."
QUICK = Patience(attempts=5, first_pause=0.001, longest_pause=0.002)


class Broken(grpc.RpcError):
    """A call's failure, of both kinds."""

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status | None = None) -> None:
        super().__init__()
        self._code, self._status = code, status

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> Any:
        return () if self._status is None else ((DETAILS_KEY, self._status.SerializeToString()),)


def told(error: DomainError) -> Broken:
    """An error as a service tells it."""
    status = to_status(error, "r-1")
    return Broken(next(code for code in grpc.StatusCode if code.value[0] == status.code), status)


RESET = Broken(grpc.StatusCode.UNAVAILABLE)


@dataclass
class Server:
    """Answers from wherever the client is; ``ends`` is how each stream ends, after how many events."""

    ends: list[tuple[int, Exception | None]] = field(default_factory=list)
    requests: list[ChatRequest] = field(default_factory=list)
    cancelled: int = 0
    token: bytes = b"t"
    hang: bool = False

    def events(self, request: ChatRequest) -> Iterator[ChatResponse]:
        self.requests.append(request)
        said = request.resume.text
        assert ANSWER.startswith(said)
        events = [ChatResponse(accepted=Accepted(answer_id="a", resume_token=self.token))]
        if request.HasField("resume"):
            assert request.resume.token == self.token
            assert request.resume.tokens == len(said)
            events.append(ChatResponse(resumed=Resumed(offset=len(said))))
        for offset in range(len(said), len(ANSWER)):
            event = text(offset, ANSWER[offset])
            event.text_delta.tokens = offset + 1
            events.append(event)
        if not request.resume.citations:
            citation = chat_pb2.Citation(number=1, passage=2, offset=len(ANSWER))
            events.append(ChatResponse(citation=citation))
        events += [ChatResponse(usage=chat_pb2.Usage()), ChatResponse(finished=Finished())]
        count, error = self.ends.pop(0) if self.ends else (len(events), None)
        yield from events[:count]
        if error is not None:
            raise error

    def call(self, request: ChatRequest, timeout: float) -> Stream:
        assert 0 < timeout <= 10
        return Stream(self, self.events(request))


@dataclass
class Stream:
    """A call, for a blocking and for an asynchronous reader."""

    server: Server
    events: Iterator[ChatResponse]

    def __iter__(self) -> Iterator[ChatResponse]:
        return self.events

    async def read(self) -> object:
        if self.server.hang:
            self.server.hang = False
            await asyncio.sleep(60)
        return next(self.events, grpc.aio.EOF)

    def cancel(self) -> bool:
        self.server.cancelled += 1
        return True


def blocking(server: Server, patience: Patience = QUICK) -> list[ChatResponse]:
    return list(read(server.call, ChatRequest(text="?"), 10, patience))


def awaited(server: Server, patience: Patience = QUICK) -> list[ChatResponse]:
    async def collect() -> list[ChatResponse]:
        events: AsyncIterator[ChatResponse] = read_async(server.call, ChatRequest(text="?"), 10, patience)
        return [event async for event in events]

    return asyncio.run(collect())


Reader = Callable[..., list[ChatResponse]]
both = pytest.mark.parametrize("reader", [blocking, awaited])


def kinds(events: Sequence[ChatResponse]) -> list[str]:
    """What the events are, runs of text as one."""
    names = [str(event.WhichOneof("event")) for event in events]
    return [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]


@both
def test_a_stream_that_does_not_break_is_passed_on(reader: Reader) -> None:
    server = Server()
    assert kinds(reader(server)) == ["accepted", "text_delta", "citation", "usage", "finished"]
    assert len(server.requests) == 1


@both
@pytest.mark.parametrize(
    "error", [RESET, None, Broken(grpc.StatusCode.INTERNAL)], ids=["reset", "end", "internal"]
)
def test_whatever_it_breaks_after_the_reader_sees_one_answer(reader: Reader, error: Exception | None) -> None:
    for count in range(len(ANSWER) + 4):
        server = Server(ends=[(count, error)])
        events = reader(server)
        assert "".join(event.text_delta.text for event in events) == ANSWER
        assert len(server.requests) == 2
        names = kinds(events)
        assert names.count("accepted") == 1
        assert names.count("citation") == 1
        assert names.count("resumed") == (1 if count else 0)
        assert names[-1] == "finished"


@both
def test_it_may_break_again_and_again_as_long_as_text_comes(reader: Reader) -> None:
    server = Server(ends=[(4, RESET)] * 20)
    assert "".join(event.text_delta.text for event in reader(server)) == ANSWER
    ids = {request.request_id for request in server.requests}
    assert len(ids) == 1
    assert ids != {""}


@both
def test_without_progress_it_is_given_up(reader: Reader) -> None:
    server = Server(ends=[(3, RESET), *[(1, RESET)] * 100])
    with pytest.raises(Broken):
        reader(server)
    assert len(server.requests) == 6
    assert server.cancelled == 6


@both
def test_an_error_after_the_end_is_none(reader: Reader) -> None:
    assert kinds(reader(Server(ends=[(len(ANSWER) + 4, RESET)])))[-1] == "finished"


@both
@pytest.mark.parametrize(
    "error",
    [
        told(NotResumable("ask anew")),
        Broken(grpc.StatusCode.DEADLINE_EXCEEDED),
        Broken(grpc.StatusCode.NOT_FOUND),
    ],
    ids=["not resumable", "deadline", "not found"],
)
def test_what_another_call_does_not_mend_is_told(reader: Reader, error: Exception) -> None:
    server = Server(ends=[(3, error)])
    with pytest.raises(Broken) as caught:
        reader(server)
    assert caught.value is error
    assert len(server.requests) == 1


@both
def test_what_a_service_calls_passing_is_tried_again(reader: Reader) -> None:
    server = Server(ends=[(3, told(ModelUnavailable("gone")))])
    assert kinds(reader(server))[-1] == "finished"


@both
def test_a_busy_platform_is_waited_for_in_the_middle_of_an_answer_only(reader: Reader) -> None:
    from datetime import timedelta

    busy = told(Overloaded("full", retry_after=timedelta(milliseconds=20)))
    begun = time.monotonic()
    assert kinds(reader(Server(ends=[(3, RESET), (0, busy)])))[-1] == "finished"
    assert time.monotonic() - begun >= 0.02
    with pytest.raises(Broken):
        reader(Server(ends=[(0, busy)]))


@both
def test_a_platform_that_issues_no_tokens_cannot_be_resumed(reader: Reader) -> None:
    with pytest.raises(Broken):
        reader(Server(ends=[(3, RESET)], token=b""))
    with pytest.raises(BrokenStreamError, match="cut off"):
        reader(Server(ends=[(3, None)], token=b""))
    # As long as nothing has come, it is simply asked again.
    assert kinds(reader(Server(ends=[(0, RESET)], token=b"")))[-1] == "finished"


@both
def test_lost_text_is_an_error(reader: Reader) -> None:
    class Forgetful(Server):
        def events(self, request: ChatRequest) -> Iterator[ChatResponse]:
            yield ChatResponse(accepted=Accepted())
            yield text(1, "x")

    with pytest.raises(LostTextError, match="expected offset 0, got 1"):
        reader(Forgetful())


def test_silence_counts_as_a_break_when_it_is_asked_for() -> None:
    server = Server(hang=True)
    patience = Patience(first_pause=0.001, silence=0.05)
    assert kinds(awaited(server, patience))[-1] == "finished"
    assert server.cancelled == 2


def test_the_callers_time_is_the_end_of_it() -> None:
    def call(request: ChatRequest, timeout: float) -> Stream:
        return Server(ends=[(0, RESET)]).call(request, timeout)

    begun = time.monotonic()
    with pytest.raises(Broken):
        list(read(call, ChatRequest(text="?"), 0.1, Patience(attempts=10_000, first_pause=0.01)))
    assert time.monotonic() - begun < 30
