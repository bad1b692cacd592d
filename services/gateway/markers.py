"""Finds citation markers such as ``[2]`` and ``[1, 3]`` in text that comes in pieces.

Text that may be the beginning of a marker is held back until it is known; so is a blank, because the blank
before a marker goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MARKER = re.compile(r"(?P<blank> ?)\[(?P<numbers>[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,7})\]")
_UNFINISHED = re.compile(r" ?(?:\[[\d, ]{0,32})?$")


@dataclass(frozen=True, slots=True)
class Marker:
    """What looks like a citation; it may also be a Python list."""

    blank: str
    """The blank before it, or nothing."""
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.blank}[{', '.join(map(str, self.numbers))}]"


class MarkerReader:
    """Splits text into text and markers."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> Iterator[str | Marker]:
        """What is known after another piece."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        yield from _split(text[:cut])

    def flush(self) -> Iterator[str | Marker]:
        """What was held back, when nothing more comes."""
        text, self._held = self._held, ""
        yield from _split(text)


def _split(text: str) -> Iterator[str | Marker]:
    start = 0
    for match in _MARKER.finditer(text):
        if match.start() > start:
            yield text[start : match.start()]
        numbers = tuple(int(number) for number in match["numbers"].split(","))
        yield Marker(match["blank"], numbers)
        start = match.end()
    if start < len(text):
        yield text[start:]
