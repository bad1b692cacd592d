"""Events on their way from the model to a reader who may be slower.

Text that waits is merged, so that a slow reader gets fewer and longer deltas instead of a queue of tokens;
when too much waits, the writer waits, too. The first event is there for the reader as soon as it is put.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from services.gateway.model import Event, TextDelta

LONGEST_DELTA = 65_536
"""Code points that one delta can hold on the wire."""


class Delivery:
    """One writer, one reader."""

    def __init__(self, limit: int) -> None:
        """``limit``: code points of waiting text from which the writer has to wait."""
        self._limit = limit
        self._events: deque[Event] = deque()
        self._waiting = 0
        self._closed = False
        self._error: Exception | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, event: Event) -> None:
        """Hands over an event; waits while the reader is too far behind."""
        last = self._events[-1] if self._events else None
        if (
            isinstance(event, TextDelta)
            and isinstance(last, TextDelta)
            and len(last.text) + len(event.text) <= LONGEST_DELTA
        ):
            self._events[-1] = TextDelta(last.offset, last.text + event.text, event.tokens)
        else:
            self._events.append(event)
        if isinstance(event, TextDelta):
            self._waiting += len(event.text)
        self._filled.set()
        while self._waiting >= self._limit and not self._closed:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self, error: Exception | None = None) -> None:
        """Nothing more will come; the reader gets what is waiting first, then the error."""
        self._closed, self._error = True, error
        self._filled.set()
        self._emptied.set()

    async def events(self) -> AsyncGenerator[Event, None]:
        """What was put, in order.

        Raises:
            Exception: what the writer closed with, after everything that was put before.
        """
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, TextDelta):
                    self._waiting -= len(event.text)
                    self._emptied.set()
                yield event
            if self._closed:
                if self._error is not None:
                    raise self._error
                return
            self._filled.clear()
            await self._filled.wait()
