"""HTML to blocks: what a reader of the page would read. Pure.

The tree comes from lexbor, which follows the HTML standard's parsing algorithm
(https://html.spec.whatwg.org/multipage/parsing.html). Scripts, styles, navigation, forms and whatever the
page hides by attribute or inline style are left out.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from services.retrieval.reading.blocks import Block, Kind

_LEFT_OUT = frozenset(
    [
        "audio",
        "base",
        "button",
        "canvas",
        "datalist",
        "dialog",
        "embed",
        "head",
        "iframe",
        "input",
        "link",
        "map",
        "meta",
        "nav",
        "noscript",
        "object",
        "option",
        "param",
        "progress",
        "script",
        "select",
        "source",
        "style",
        "svg",
        "template",
        "textarea",
        "title",
        "track",
        "video",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
_HIDDEN_ROLES = frozenset({"navigation", "search", "menu", "menubar"})
_SPACES = re.compile(r"[ \t\n\r\f]+")


def parse(text: str) -> list[Block]:
    """Headings, paragraphs, list items, table rows and preformatted text, in document order."""
    root = LexborHTMLParser(text).root
    if root is None:
        return []
    writer = _Writer()
    # An explicit stack: pages nested thousands deep are no reason to run out of Python's.
    stack: list[tuple[LexborNode, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if leaving:
            writer.leave(tag)
            continue
        if tag == "-text":
            writer.add(node.text_content or "")
            continue
        if (tag.startswith("-") and tag != "-document") or _is_left_out(node, tag):
            continue
        writer.enter(tag)
        stack.append((node, True))
        children = list(node.iter(include_text=True))
        stack.extend((child, False) for child in reversed(children))
    return writer.finish()


def _is_left_out(node: LexborNode, tag: str) -> bool:
    if tag in _LEFT_OUT:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or (attributes.get("role") or "") in _HIDDEN_ROLES
        or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
    )


class _Writer:
    """Collects text until a block element begins or ends."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._parts: list[str] = []
        self._heading = 0
        self._preformatted = 0

    def enter(self, tag: str) -> None:
        """The start of an element."""
        if tag in _BLOCKS:
            self._flush()
        if tag == "pre":
            self._preformatted += 1
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._heading = int(tag[1])
        elif tag == "br":
            self._parts.append("\n")
        elif tag in ("td", "th") and self._parts:
            self._parts.append(" | ")

    def leave(self, tag: str) -> None:
        """The end of an element."""
        if tag in _BLOCKS:
            self._flush()
        if tag == "pre":
            self._preformatted -= 1
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._heading = 0

    def add(self, text: str) -> None:
        """Character data."""
        self._parts.append(text if self._preformatted else _SPACES.sub(" ", text))

    def finish(self) -> list[Block]:
        """All blocks."""
        self._flush()
        return self._blocks

    def _flush(self) -> None:
        text = "".join(self._parts)
        self._parts.clear()
        if self._preformatted:
            text = text.strip("\n")
        else:
            text = "\n".join(line.strip() for line in text.split("\n")).strip()
        if not text.strip():
            return
        if self._heading:
            self._blocks.append(Block(Kind.HEADING, " ".join(text.split()), self._heading))
        else:
            self._blocks.append(Block(Kind.LINES if self._preformatted else Kind.TEXT, text))
