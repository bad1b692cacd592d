"""Reads a chat's stream to its end, however often it breaks on the way.

A stream breaks when a gateway, a proxy or a whole region is lost. What has arrived is then sent back with
the answer's resume token to whoever answers now, and the stream goes on behind it. `ChatStream` is the state
of one answer, without I/O; `read` and `read_async` drive it over blocking and asynchronous stubs.

Whoever reads sees one stream: `accepted` once, text without gaps, each citation once, and `resumed` where
there was a break.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any

import grpc

from causeway.gateway.v1.chat_service_pb2 import ChatRequest, ChatResponse, CitationMark
from cli.exits import CommandError
from services.common.errors import Code
from services.common.status import from_call

_BROKEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})
"""What a proxy or a library makes of a reset, when no service has said why it failed."""

Call = Callable[[ChatRequest, float], Any]
"""Calls Chat with a request and the seconds it may take; gives the stream of its events. Credentials are its
own business: an attempt may come long after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a broken stream is taken up again."""

    attempts: int = 20
    """Calls that fail one after the other without any text, until it is enough."""
    first_pause: float = 0.05
    """Seconds after the second such call. The first is followed at once, and each later one after twice the
    time of the one before."""
    longest_pause: float = 1.0
    """Seconds."""
    silence: float | None = None
    """Seconds without an event after which a stream counts as broken, for `read_async`. Must be longer than
    the model takes to begin."""


PATIENCE = Patience()


class LostTextError(CommandError):
    """The server sent text that does not follow what was there."""


class BrokenStreamError(CommandError):
    """The stream ended before the answer did, without an error."""


class ChatStream:
    """One answer as it has arrived."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = ChatRequest()
        self._request.CopyFrom(request)
        # With one, a question that is sent twice is stored once.
        self._request.request_id = request.request_id or str(uuid.uuid4())
        self._accepted = False
        self.text = ""
        self.finished = False
        self.resumed = 0
        """How often the answer went on after its stream had broken."""

    @property
    def resumable(self) -> bool:
        """Whether a call may follow one that broke."""
        return not self._accepted or bool(self._request.resume.token)

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has arrived."""
        return self._accepted

    def request(self) -> ChatRequest:
        """For the next call."""
        request = ChatRequest()
        request.CopyFrom(self._request)
        if self._accepted:
            request.resume.text = self.text
        else:
            request.ClearField("resume")
        return request

    def take(self, event: ChatResponse) -> bool:
        """Takes in an event; whether it is news to the reader.

        Raises:
            LostTextError: text is missing, or comes again.
        """
        match event.WhichOneof("event"):
            case "accepted":
                news, self._accepted = not self._accepted, True
                self._request.resume.token = event.accepted.resume_token
                return news
            case "resumed":
                self._follows(event.resumed.offset)
                self.resumed += 1
            case "text_delta":
                self._follows(event.text_delta.offset)
                self.text += event.text_delta.text
                self._request.resume.tokens = event.text_delta.tokens
            case "citation":
                found = event.citation
                mark = CitationMark(number=found.number, passage=found.passage, offset=found.offset)
                self._request.resume.citations.append(mark)
            case "finished":
                self.finished = True
        return True

    def _follows(self, offset: int) -> None:
        if offset != len(self.text):
            raise LostTextError(f"text was lost: expected offset {len(self.text)}, got {offset}")


class _Attempts:
    """Decides about the next call. One for each answer."""

    def __init__(self, stream: ChatStream, patience: Patience, timeout: float) -> None:
        self._stream = stream
        self._patience = patience
        self._end = time.monotonic() + timeout
        self._failures = 0

    @property
    def left(self) -> float:
        """Seconds for the next call."""
        return max(0.001, self._end - time.monotonic())

    def note(self, event: ChatResponse) -> None:
        """An event has come; only text brings the answer nearer to its end."""
        if event.HasField("text_delta"):
            self._failures = 0

    def after(self, error: Exception) -> float:
        """Seconds until the next call; raises ``error`` when there is none."""
        wait = self._worth(error)
        self._failures += 1
        enough = self._failures > self._patience.attempts or not self._stream.resumable
        if wait is None or enough or wait >= self._end - time.monotonic():
            raise error
        return wait

    def _worth(self, error: Exception) -> float | None:
        """How long to wait after an error; None after one that would come again."""
        doubled = self._patience.first_pause * 2 ** min(self._failures - 1, 16)
        pause = min(doubled, self._patience.longest_pause) if self._failures else 0.0
        if isinstance(error, BrokenStreamError | TimeoutError):
            return pause
        if not isinstance(error, grpc.RpcError):
            return None
        # Both the blocking and the asynchronous kind have these methods; neither type says so for both.
        told: Any = error
        refusal = from_call(told)
        if refusal is None:
            return pause if told.code() is grpc.StatusCode.UNAVAILABLE or told.code() in _BROKEN else None
        code, _ = refusal.status
        if code is Code.UNAVAILABLE:
            return pause
        if code is Code.RESOURCE_EXHAUSTED and refusal.retry_after is not None and self._stream.begun:
            # In the middle of an answer it is better to wait than to give up what is there.
            return max(pause, refusal.retry_after.total_seconds())
        return None


def read(
    call: Call, request: ChatRequest, timeout: float, patience: Patience = PATIENCE
) -> Generator[ChatResponse, None, None]:
    """The events of an answer, over a blocking stub. Closing this, or an exception in it, cancels the call.

    Raises:
        grpc.RpcError: the call failed in a way that no other call would mend, or too often.
        CommandError: text was lost, or the stream ended too soon and cannot be resumed.
    """
    stream = ChatStream(request)
    attempts = _Attempts(stream, patience, timeout)
    while True:
        events = call(stream.request(), attempts.left)
        try:
            for event in events:
                attempts.note(event)
                if stream.take(event):
                    yield event
            if not stream.finished:
                raise BrokenStreamError("the answer was cut off")
        except (grpc.RpcError, BrokenStreamError) as error:
            if stream.finished:
                return
            pause = attempts.after(error)
        else:
            return
        finally:
            events.cancel()
        time.sleep(pause)


async def read_async(
    call: Call, request: ChatRequest, timeout: float, patience: Patience = PATIENCE
) -> AsyncGenerator[ChatResponse, None]:
    """The same over an asynchronous stub.

    Raises:
        grpc.RpcError, CommandError: as for `read`.
        TimeoutError: the stream was silent for too long, too often.
    """
    stream = ChatStream(request)
    attempts = _Attempts(stream, patience, timeout)
    while True:
        events = call(stream.request(), attempts.left)
        try:
            while (event := await _next(events, patience.silence)) is not None:
                attempts.note(event)
                if stream.take(event):
                    yield event
            if not stream.finished:
                raise BrokenStreamError("the answer was cut off")
        except (grpc.RpcError, BrokenStreamError, TimeoutError) as error:
            if stream.finished:
                return
            pause = attempts.after(error)
        else:
            return
        finally:
            events.cancel()
        await asyncio.sleep(pause)


async def _next(events: Any, silence: float | None) -> ChatResponse | None:
    async with asyncio.timeout(silence):
        event = await events.read()
    return None if event is grpc.aio.EOF else event
