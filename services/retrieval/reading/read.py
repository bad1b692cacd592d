"""From bytes to passages. Pure, and without mercy for memory and time: it runs in a child process."""

from __future__ import annotations

from collections.abc import Sequence

from services.retrieval.model import ChunkText, MediaType
from services.retrieval.reading import html, markdown, pdf, plain
from services.retrieval.reading.blocks import Block
from services.retrieval.reading.chunker import Chunker
from services.retrieval.reading.decode import utf8
from services.retrieval.reading.failures import Empty, TooLong
from services.retrieval.reading.limits import ReadLimits


def parse(media_type: MediaType, content: bytes, limits: ReadLimits) -> list[Block]:
    """The blocks of a document.

    Raises:
        Unreadable, TooLong: see failures.
    """
    match media_type:
        case MediaType.PDF:
            return pdf.parse(content, limits)
        case MediaType.HTML:
            return html.parse(utf8(content))
        case MediaType.MARKDOWN:
            return markdown.parse(utf8(content))
        case MediaType.TEXT:
            return plain.parse(utf8(content))


def read(
    media_type: MediaType, title: str, content: bytes, chunker: Chunker, limits: ReadLimits
) -> Sequence[ChunkText]:
    """At least one passage.

    Raises:
        Unreadable, Empty, TooLong: see failures.
    """
    if not content:
        raise Empty("the document is empty")
    blocks = parse(media_type, content, limits)
    characters = sum(len(block.text) for block in blocks)
    if characters > limits.characters:
        raise TooLong(
            f"the document holds more than {limits.characters} characters of text",
            {"limit_characters": str(limits.characters)},
        )
    chunks: list[ChunkText] = []
    for chunk in chunker.cut(title, blocks):
        chunks.append(chunk)
        if len(chunks) > limits.chunks:
            raise TooLong(
                f"the document makes more than {limits.chunks} passages",
                {"limit_passages": str(limits.chunks)},
            )
    if not chunks:
        if media_type is MediaType.PDF:
            raise Empty("the PDF holds no text; scanned pages have to be recognised first")
        raise Empty("the document holds no text")
    return chunks
