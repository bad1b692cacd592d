"""Notices callers that went away, on a thread of its own.

Triton's answer to "is this request cancelled?" is a round trip to the server's process. Asked by the engine's
callbacks it would hold up the text of every stream, and come too late to keep the engine from its next step.
Asked here, they find the answer ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Call(Protocol):
    """Something somebody waits for."""

    def is_cancelled(self) -> bool:
        """Whether the caller went away. Slow; asked about ended calls too."""
        ...


C = TypeVar("C", bound=Call)


class CallerWatch(Generic[C]):
    """Asks every call under its watch every ``interval`` seconds, and tells ``on_gone`` of those who left.

    ``on_gone`` is told once about each, ``on_present`` about all others in every round. Both run on the
    thread of the watch.
    """

    def __init__(
        self, interval: float, on_gone: Callable[[C], None], on_present: Callable[[C], None] | None = None
    ) -> None:
        self._interval = interval
        self._on_gone = on_gone
        self._on_present = on_present
        self._calls: set[C] = set()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, call: C) -> None:
        """From now on this call is asked about."""
        with self._changed:
            self._calls.add(call)
            self._changed.notify_all()

    def discard(self, call: C) -> None:
        """The call has ended; a round under way may still meet it."""
        with self._changed:
            self._calls.discard(call)

    def close(self) -> None:
        """Ends ``run``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self) -> None:
        """Goes round until the watch is closed; sleeps while there is nobody to ask."""
        while calls := self._next_round():
            for call in calls:
                if call.is_cancelled():
                    self.discard(call)
                    self._on_gone(call)
                elif self._on_present is not None:
                    self._on_present(call)
            time.sleep(self._interval)

    def _next_round(self) -> list[C]:
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closed)
            return [] if self._closed else list(self._calls)
