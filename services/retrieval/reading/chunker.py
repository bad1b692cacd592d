"""Cuts a run of blocks into passages that fit the embedder. Pure.

Rules:
- nothing is lost or repeated: the passages' texts, one after the other, are the blocks', white space aside;
- a passage with its context has no more word pieces than the embedder reads;
- cuts fall between blocks where they can, else between sentences or lines, else between words, else anywhere;
- a heading stays with what it heads, and a section begins a new passage unless the one before is short;
- what a passage stands under (title, headings) is its context: it is indexed with it, and not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.retrieval.model import ChunkText
from services.retrieval.reading.blocks import Block, Kind

Count = Callable[[Sequence[str]], list[int]]
"""Word pieces of each text; adding over white space."""

_CLOSING = "\"')\\]\N{RIGHT SINGLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
_WIDE_ENDS = "\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}"
_ENDS = ".!?\N{HORIZONTAL ELLIPSIS}"
_SENTENCES = re.compile(rf"(?:(?<=[{_ENDS}])|(?<=[{_ENDS}][{_CLOSING}]))\s+|(?<=[{_WIDE_ENDS}])")
_LINES = re.compile(r"\n")
_RUNS = re.compile(r"(?<=\S)\s+(?=\S)")
_WORDS = re.compile(r"\s+")
_RUN_CHARACTERS = 200  # words are counted by the run, for counting each costs more than its length
_NON_ASCII_PIECES = 4  # the most pieces one character makes: a decomposed one, accents and all


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSize:
    """How large passages are."""

    pieces: int = 254
    """Most word pieces of context and text together; the embedder adds two of its own to its 256."""
    context: int = 48
    """Most of them for the context."""
    characters: int = 4_000
    """Most characters of a text."""
    short: int = 64
    """A passage with fewer pieces takes the next section in, too."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """The smallest part that is moved as a whole."""

    text: str
    pieces: int
    glue: str
    """What stands between it and the unit before, unless a passage begins with it."""
    above: Sequence[str] | None = None
    """For a heading: title and headings that it stands under."""

    @property
    def heading(self) -> bool:
        return self.above is not None


@dataclass(slots=True)
class _Draft:
    """A passage in the making."""

    context: str = ""
    room: int = 0
    """Pieces that its text may have."""
    units: list[_Unit] = field(default_factory=list)
    pieces: int = 0
    characters: int = 0

    def add(self, unit: _Unit) -> None:
        self.units.append(unit)
        self.pieces += unit.pieces
        self.characters += len(unit.glue) + len(unit.text)

    def take_trailing_headings(self) -> list[_Unit]:
        """Removes headings at the end, if anything else remains."""
        keep = len(self.units)
        while keep and self.units[keep - 1].heading:
            keep -= 1
        if not keep:
            return []
        taken, self.units = self.units[keep:], self.units[:keep]
        return taken

    def text(self) -> str:
        return "".join(
            unit.text if index == 0 else unit.glue + unit.text for index, unit in enumerate(self.units)
        ).strip("\n")


class Chunker:
    """One document's cutting: ``Chunker(count, size).cut(title, blocks)``."""

    def __init__(self, count: Count, size: ChunkSize | None = None) -> None:
        self._count_some = count
        self._size = size or ChunkSize()

    def cut(self, title: str, blocks: Sequence[Block]) -> Iterator[ChunkText]:
        """The passages, in order."""
        headings = _Headings(title)
        draft = self._begin(headings.path())
        for block, pieces in zip(blocks, self._count([block.text for block in blocks]), strict=True):
            if block.kind is Kind.HEADING:
                headings.enter(block.level, block.text)
                if draft.pieces >= self._size.short and not draft.units[-1].heading:
                    yield from self._finish(draft)
                    draft = self._begin(headings.above())
                units = self._heading(block, pieces, headings.above())
            else:
                if not self._fits(draft, pieces, len(block.text)) and draft.pieces * 2 >= draft.room:
                    carried = draft.take_trailing_headings()
                    yield from self._finish(draft)
                    draft = self._begin(headings.path(), carried)
                if self._fits(draft, pieces, len(block.text)):
                    units = iter([_Unit(block.text, pieces, "\n\n")])
                else:
                    units = self._parts(block, draft.room)
            for unit in units:
                if draft.units and not self._fits(draft, unit.pieces, len(unit.text)):
                    yield from self._finish(draft)
                    draft = self._begin(headings.path() if unit.above is None else unit.above)
                draft.add(unit)
        yield from self._finish(draft)

    def _count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of each text; of one that is too long for a passage, only that it is too many."""
        most = self._size.characters
        counts = iter(self._count_some([text for text in texts if len(text) <= most]))
        return [next(counts) if len(text) <= most else most for text in texts]

    def _begin(self, path: Sequence[str], carried: Sequence[_Unit] = ()) -> _Draft:
        if carried and carried[0].above is not None:
            path = carried[0].above
        context, pieces = self._context(path)
        draft = _Draft(context, self._size.pieces - pieces)
        for unit in carried:
            draft.add(unit)
        return draft

    def _finish(self, draft: _Draft) -> Iterator[ChunkText]:
        text = draft.text()
        if text.strip():
            yield ChunkText(text, draft.context)

    def _fits(self, draft: _Draft, pieces: int, characters: int) -> bool:
        return (
            draft.pieces + pieces <= draft.room and draft.characters + 2 + characters <= self._size.characters
        )

    def _context(self, path: Sequence[str]) -> tuple[str, int]:
        """Title and headings within their bound: the inmost heading and the title matter most."""
        for parts in (path, [*path[:1], *path[-1:]] if len(path) > 1 else path, path[:1]):
            context = " > ".join(parts)
            pieces = self._count([context])[0]
            if pieces <= self._size.context and len(context) <= self._size.characters // 4:
                return context, pieces
        words = path[0].split() if path else []
        while words:
            words = words[: len(words) // 2]
            context = " ".join(words)
            pieces = self._count([context])[0]
            if pieces <= self._size.context and len(context) <= self._size.characters // 4:
                return context, pieces
        return "", 0

    def _heading(self, block: Block, pieces: int, above: Sequence[str]) -> Iterator[_Unit]:
        """A heading in one unit; one that is long as a paragraph is cut like one."""
        if pieces <= self._size.context and len(block.text) <= self._size.characters // 4:
            return iter([_Unit(block.text, pieces, "\n\n", above)])
        return self._parts(block, self._size.pieces)

    def _parts(self, block: Block, room: int) -> Iterator[_Unit]:
        """A block in units that each fit a passage."""
        # A unit that moves on to a passage with a longer context has to fit there, too.
        room = min(room, self._size.pieces - self._size.context)
        glue = "\n\n"
        patterns = (_LINES, _RUNS, _WORDS) if block.kind is Kind.LINES else (_SENTENCES, _RUNS, _WORDS)
        for unit in self._split(block.text, patterns, room):
            yield _Unit(unit.text, unit.pieces, glue or unit.glue)
            glue = ""

    def _split(self, text: str, patterns: Sequence[re.Pattern[str]], room: int) -> Iterator[_Unit]:
        if not patterns:
            yield from self._slices(text, room)
            return
        parts, glues = _cut(text, patterns[0], _RUN_CHARACTERS if patterns[0] is _RUNS else 0)
        for part, glue, pieces in zip(parts, glues, self._count(parts), strict=True):
            if pieces <= room and len(part) <= self._size.characters // 2:
                yield _Unit(part, pieces, glue)
                continue
            for unit in self._split(part, patterns[1:], room):
                yield _Unit(unit.text, unit.pieces, glue or unit.glue)
                glue = ""

    def _slices(self, word: str, room: int) -> Iterator[_Unit]:
        """A word without white space, cut where it must be: at the length that is short enough for sure."""
        most = self._size.characters // 2
        if self._count([word[:most]])[0] > room or len(word) <= most:
            most = min(most, room if word.isascii() else max(1, room // _NON_ASCII_PIECES))
        slices = [word[start : start + most] for start in range(0, len(word), most)]
        for part, pieces in zip(slices, self._count(slices), strict=True):
            if pieces > room and len(part) > 1:
                yield from self._slices(part, room)
            else:
                yield _Unit(part, pieces, "")


def _cut(text: str, pattern: re.Pattern[str], at_least: int = 0) -> tuple[list[str], list[str]]:
    """Non-empty parts between the matches, and the white space in front of each.

    ``at_least``: matches that would make a part shorter than this are passed over.
    """
    parts: list[str] = []
    glues: list[str] = []
    glue, start = "", 0
    for match in pattern.finditer(text):
        if match.start() - start < at_least:
            continue
        if match.start() > start:
            parts.append(text[start : match.start()])
            glues.append(glue)
            glue = ""
        glue += match.group()
        start = match.end()
    if start < len(text):
        parts.append(text[start:])
        glues.append(glue)
    return parts, glues


class _Headings:
    """The headings that the current block stands under."""

    def __init__(self, title: str) -> None:
        self._title = " ".join(title.split())
        self._stack: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> None:
        """A heading ends the sections of its level and below."""
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        self._stack.append((level, " ".join(text.split())))

    def path(self) -> list[str]:
        """Title first."""
        return [self._title, *(text for _, text in self._stack)]

    def above(self) -> list[str]:
        """What the inmost heading stands under."""
        return self.path()[:-1]
