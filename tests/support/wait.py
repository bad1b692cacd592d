"""Waiting for something to become true, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], *, limit: float = 15.0, what: str = "the condition") -> None:
    """Return once `condition` is true; fail after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {limit:g} s"
        time.sleep(0.02)
