"""Signals: every one that asks for an end is an orderly interrupt, and none interrupts the cleaning up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeIsUpError(KeyboardInterrupt):
    """The hard limit is reached.

    A KeyboardInterrupt because that is the one exception an event loop lets through from wherever it is.
    """


@contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Ends what runs within on SIGTERM and SIGHUP as on Ctrl-C, and when `limit` seconds have passed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def time_is_up(number: int, frame: FrameType | None) -> None:
        raise TimeIsUpError

    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: interrupt,
        signal.SIGHUP: interrupt,
        signal.SIGALRM: time_is_up,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait until what runs within is done: for cleaning up. It must be bounded by itself."""
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in waiting:
            signal.raise_signal(missed)
