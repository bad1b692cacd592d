"""Plain text to blocks. Pure.

Headings are recognised where a line is underlined, as reStructuredText and Markdown write them
(https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#sections). Which mark means which level is
set by the order in which the marks first occur. Indented paragraphs keep their lines.
"""

from __future__ import annotations

import re

from services.retrieval.reading.blocks import Block, Kind

_UNDERLINE = re.compile(r"([=\-*~^#\"+`])\1{2,}\s*")
_SHORTEST_SHARE = 0.7  # people miscount the marks under a long title


def parse(text: str) -> list[Block]:
    """Paragraphs and headings in their order."""
    blocks: list[Block] = []
    marks: list[str] = []
    paragraph: list[str] = []
    for line in text.split("\n"):
        if not line.strip():
            _flush(paragraph, blocks)
        elif len(paragraph) == 1 and _underlines(line, paragraph[0]):
            mark = line[0]
            if mark not in marks:
                marks.append(mark)
            blocks.append(Block(Kind.HEADING, paragraph.pop().strip(), marks.index(mark) + 1))
        else:
            paragraph.append(line.rstrip())
    _flush(paragraph, blocks)
    return blocks


def _underlines(line: str, title: str) -> bool:
    if title[:1].isspace() or not _UNDERLINE.fullmatch(line):
        return False
    # A title underlined is a title; a row of marks above a row of marks is a drawing.
    if _UNDERLINE.fullmatch(title):
        return False
    return len(line.rstrip()) >= _SHORTEST_SHARE * len(title.strip())


def _flush(paragraph: list[str], blocks: list[Block]) -> None:
    if not paragraph:
        return
    indented = all(line[:1].isspace() for line in paragraph)
    kind = Kind.LINES if indented else Kind.TEXT
    blocks.append(Block(kind, "\n".join(paragraph)))
    paragraph.clear()
