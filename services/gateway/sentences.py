"""Where sentences end. Simple rules, the same for passages and for an answer that is still being written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_END = re.compile(r"(?P<stop>[.!?…]+[\"'”\u2019)\]*_`]*(?:\s?\[\d[\d, ]*\])*)(?=\s)(?!\s?\[\d)|(?P<line>\n)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"“])(?:e\.g|i\.e|cf|vs|etc|approx|no|fig|dr|mr|ms|st|[A-Za-z])\.$", re.IGNORECASE
)
_LIST_NUMBER = re.compile(r"^\s*\d{1,3}\.$")
_ITEM = re.compile(r"(?:\d{1,3}[.)]|[-*•]) ")
_WRAPPED_LINE = 50
_CODE = frozenset("={}<>|#@\\")
"""Characters by which an indented line is taken for code."""


def boundary(text: str, start: int = 0) -> int | None:
    """Index just behind the first sentence that ends at or after ``start``; None while none has.

    A sentence ends at ``.``, ``!`` or ``?`` with a blank behind it, or before a line break. The blanks belong
    to the next sentence, a citation marker behind the stop to this one. "e.g.", an initial, or the number
    of a list item end nothing.
    """
    for match in _END.finditer(text, start):
        if match["line"] is not None:
            if text[: match.start()].strip():
                return match.start()
            continue
        sentence = text[: match.end()]
        if not _ABBREVIATION.search(sentence) and not _LIST_NUMBER.match(sentence):
            return match.end()
    return None


def split(text: str) -> Iterator[str]:
    """The sentences of a text; joined together they are the text."""
    while (end := boundary(text)) is not None:
        yield text[:end]
        text = text[end:]
    if text:
        yield text


def unwrap(text: str) -> str:
    """``text`` with the line breaks taken out that only keep its lines short.

    A break stays where the layout means something: around blank lines, before list items, at a change of
    indentation, and beside short lines, drawn lines, tables and indented code.
    """
    lines = text.split("\n")
    result = [lines[0]]
    for before, line in pairwise(lines):
        wrapped = (
            len(before) >= _WRAPPED_LINE
            and _indent(before) == _indent(line)
            and _is_prose(before)
            and _is_prose(line)
            and not _ITEM.match(line.lstrip())
        )
        result.append(f" {line.lstrip()}" if wrapped else f"\n{line}")
    return "".join(result)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_prose(line: str) -> bool:
    text = line.strip()
    if not text or text[0] in "|+*=-~#>":
        return False
    return line[0] != " " or _CODE.isdisjoint(text)
