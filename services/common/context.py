"""What travels with a call from one service to the next: request id and deadline."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_ID_KEY = "x-request-id"
TRACE_KEYS = frozenset({"traceparent", "tracestate"})
"""W3C Trace Context (https://www.w3.org/TR/trace-context/)."""
_TRACE_LIMIT = 512
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MARGIN = 0.05
"""Seconds that every step keeps of the caller's time, so that its error reaches him in time."""
_SHORTEST = 0.001
"""Seconds that are tried all the same, where he leaves less than that."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """One RPC being served."""

    request_id: str
    """Names the request in every service's log. Envoy sets it at the edge; so do we when it is missing."""
    deadline: float | None
    """``time.monotonic()`` at which the caller stops waiting; None when it waits for ever."""
    trace: tuple[tuple[str, str], ...] = ()
    """The trace that the call belongs to, as it came: handed on, the next proxy's spans go beneath it."""


_context: ContextVar[CallContext | None] = ContextVar("call", default=None)


def current_call() -> CallContext:
    """The RPC being served; a fresh context outside of one."""
    return _context.get() or CallContext(request_id=uuid.uuid4().hex, deadline=None)


def set_current_call(call: CallContext) -> None:
    """Makes ``call`` the current one for this task and what it starts."""
    _context.set(call)


def request_id_from(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's request id, or a new one when there is none that is fit for a log."""
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def trace_from(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
    """The headers that name the caller's trace; what is empty or too long for one is left out."""
    return tuple(
        (key, value)
        for key, value in metadata
        if key in TRACE_KEYS and isinstance(value, str) and 0 < len(value) <= _TRACE_LIMIT
    )


def remaining(call: CallContext) -> float | None:
    """Seconds until the deadline, not below zero; None without one."""
    return None if call.deadline is None else max(0.0, call.deadline - time.monotonic())


def allotted() -> float | None:
    """Seconds that the caller leaves to a step of the call being served; None when he waits for ever."""
    left = remaining(current_call())
    return None if left is None else max(_SHORTEST, left - _MARGIN)


def caller_ran_out() -> bool:
    """Whether the step that has just timed out had all the time that the caller left."""
    left = allotted()
    return left is not None and left <= _MARGIN


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a step of the call being served may take, and whose limit that is.

    It decides what a timeout means. A dependency that outlasts our own patience is unavailable, and another
    instance may be tried; a caller who did not wait for it has let his deadline pass, and must not make a
    healthy dependency, or us, look broken to health checks, retries and outlier detection.
    """

    seconds: float
    by_caller: bool
    """The caller's deadline comes first."""


def time_limit(own: float) -> TimeLimit:
    """``own`` seconds, or what the caller leaves."""
    left = allotted()
    if left is None or own <= left:
        return TimeLimit(own, by_caller=False)
    return TimeLimit(left, by_caller=True)
