"""Says on standard error what a benchmark is doing: in place on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO


class Progress:
    """Shows the stage and how long it has taken."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = time.monotonic()
        self._stage = ""

    def stage(self, text: str) -> None:
        """A new stage begins."""
        self._stage = text
        if self._live:
            self._draw(text)
        else:
            self._line(text)

    def step(self, text: str) -> None:
        """Where in the stage we are; told on a terminal only."""
        if self._live:
            self._draw(f"{self._stage}: {text}")

    def clear(self) -> None:
        """Wipes the line, so that what is printed next begins on a clean one."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + f"{self._elapsed()}  {text}"[:width] + "\x1b[K")
        self._stream.flush()

    def _line(self, text: str) -> None:
        self._stream.write(f"{self._elapsed()}  {text}\n")
        self._stream.flush()

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:5.0f} s"
