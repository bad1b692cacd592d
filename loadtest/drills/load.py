"""Steady load: unary calls at a constant rate, whatever becomes of them, and streams that are always open.

Open loop: a call is sent when it is due, not when the one before was answered, so that a platform that stalls
meets the calls that real callers would have made meanwhile. Latency counts from when a call was due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from loadtest.drills.caller import Accepted, Caller, CallFailedError, Held, Resumed, Text
from loadtest.drills.records import OK, Answer, Break, Call, Piece, Records, Takeover

RETURNS = 8
"""Times that a caller comes back to one answer before giving it up."""
LONGEST_PAUSE = 0.5
"""Seconds before it comes back; each pause is twice the one before, up to this."""
LATE = 0.5
"""Seconds by which the load generator itself may be late before its figures are worthless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much load."""

    rate: float = 200.0
    """Unary calls a second."""
    streams: int = 20
    words: int = 60
    """Of each answer; a stream that ends is followed by the next."""
    deadline: float = 5.0
    """Seconds, of a unary call."""
    longest: float = 60.0
    """Seconds after which a stream is given up."""
    pause: float = 0.05
    """Seconds before a caller first comes back to a stream that broke off."""


class Load:
    """The load on one platform. Starts when it is entered, and is over when it is left."""

    def __init__(self, caller: Caller, shape: Shape, clock: Callable[[], float]) -> None:
        self.records = Records()
        self.shape = shape
        self.latest = 0.0
        """Seconds by which a call was sent late, at worst."""
        self._caller = caller
        self._clock = clock
        self._stopping = False
        self._runners: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Load:
        self._runners = [asyncio.create_task(self._unary())]
        self._runners += [asyncio.create_task(self._streams(place)) for place in range(self.shape.streams)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Nobody will look at what is still under way.
            for task in (*self._runners, *self._calls):
                task.cancel()
            await asyncio.gather(*self._runners, *self._calls, return_exceptions=True)
            return
        await self.stop()

    async def stop(self) -> None:
        """No new calls; those under way, and the streams that are open, are waited for."""
        self._stopping = True
        runners, self._runners = self._runners, []
        for item in await asyncio.gather(*runners, return_exceptions=True):
            if isinstance(item, BaseException):
                raise item
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _unary(self) -> None:
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        base = self._clock() - began
        while not self._stopping:
            due = began + sent / self.shape.rate
            pause = due - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self.latest = max(self.latest, -pause)
                # Behind or not, others get their turn.
                await asyncio.sleep(0)
            task = asyncio.create_task(self._call(base + due))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            sent += 1

    async def _call(self, due: float) -> None:
        try:
            region = await self._caller.unary(self.shape.deadline)
        except CallFailedError as error:
            self.records.calls.append(Call(due, self._clock(), error.code, "", error.detail))
        else:
            self.records.calls.append(Call(due, self._clock(), OK, region))

    async def _streams(self, place: int) -> None:
        # They do not begin all at once, nor end so.
        await asyncio.sleep(place / max(1, self.shape.streams) * 0.5)
        while not self._stopping:
            answer = Answer(self._clock(), self.shape.words)
            self.records.answers.append(answer)
            try:
                async with asyncio.timeout(self.shape.longest):
                    await self._follow(answer)
            except TimeoutError:
                answer.error = f"not done after {self.shape.longest:g} s"
            if answer.error:
                await asyncio.sleep(self.shape.pause)

    async def _follow(self, answer: Answer) -> None:
        """One answer, to its end: a stream that breaks off is taken up again with what there is."""
        token = b""
        while True:
            held = Held(token, answer.text) if token else None
            try:
                async for event in self._caller.stream(answer.words, held):
                    now = self._clock()
                    match event:
                        case Accepted():
                            token = event.token or token
                            answer.regions.append((now, event.region))
                        case Text():
                            answer.pieces.append(Piece(now, event.offset, event.text))
                        case Resumed():
                            answer.takeovers.append(Takeover(now, event.offset, event.region))
            except CallFailedError as error:
                answer.breaks.append(Break(self._clock(), error.code, error.detail))
                if (answer.pieces and not token) or len(answer.breaks) > RETURNS:
                    answer.error = str(error)
                    return
                await asyncio.sleep(min(LONGEST_PAUSE, self.shape.pause * 2 ** (len(answer.breaks) - 1)))
            else:
                answer.finished = self._clock()
                return
