"""One clock for the load and for what is done to the platform, across processes."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the epoch that never jump: the wall clock at the start, and monotonic from there."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return time.monotonic() + self._offset
