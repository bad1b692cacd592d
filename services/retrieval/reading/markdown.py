"""Markdown (CommonMark, and tables as GitHub writes them) to blocks. Pure."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.retrieval.reading import html
from services.retrieval.reading.blocks import Block, Kind

_MAX_NESTING = 100  # what is nested deeper is passed over by the parser; the preset's 20 is soon reached
_NOT_TEXT = frozenset({"html_inline"})


def parse(text: str) -> list[Block]:
    """Blocks in their order; markup is gone, raw HTML is read as HTML."""
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table")
    blocks: list[Block] = []
    heading = 0
    row: list[str] | None = None
    for token in parser.parse(text):
        match token.type:
            case "heading_open":
                heading = int(token.tag[1:])
            case "heading_close":
                heading = 0
            case "tr_open":
                row = []
            case "tr_close":
                _add(blocks, Kind.LINES, " | ".join(row or ()))
                row = None
            case "inline":
                content = _inline(token)
                if row is not None:
                    row.append(content)
                elif heading:
                    _add(blocks, Kind.HEADING, content, heading)
                else:
                    _add(blocks, Kind.TEXT, content)
            case "fence" | "code_block":
                _add(blocks, Kind.LINES, token.content.rstrip("\n"))
            case "html_block":
                blocks.extend(html.parse(token.content))
    return blocks


def _add(blocks: list[Block], kind: Kind, text: str, level: int = 0) -> None:
    if kind is Kind.HEADING:
        text = " ".join(text.split())
    if text.strip():
        blocks.append(Block(kind, text, level))


def _inline(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(_inline(child))
        elif child.type not in _NOT_TEXT:
            parts.append(child.content)
    return "".join(parts)
