"""PDF to blocks, by pypdf. The only parser here that hostile bytes can keep busy: see __main__."""

from __future__ import annotations

import io
import logging
import re

from pypdf import PdfReader
from pypdf.errors import PdfReadError

from services.retrieval.reading.blocks import Block, Kind
from services.retrieval.reading.failures import TooLong, Unreadable
from services.retrieval.reading.limits import ReadLimits

_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_HYPHENATED = re.compile(r"(?<=[a-z])[-\u00ad]\n(?=[a-z])")
_SIGNATURE = b"%PDF-"
_SIGNATURE_WITHIN = 1024  # ISO 32000-1, annex H.3, implementation note 13


def parse(content: bytes, limits: ReadLimits) -> list[Block]:
    """The text of each page, in order.

    Raises:
        Unreadable: corrupt, encrypted, or no PDF at all.
        TooLong: too many pages, or too much text.
    """
    if _SIGNATURE not in content[:_SIGNATURE_WITHIN]:
        raise Unreadable("the document is not a PDF")
    # pypdf reports every flaw of a file; whether the text came out is all that counts here.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        return _pages(content, limits)
    except (TooLong, Unreadable):
        raise
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # pypdf raises whatever a malformed structure trips over
        raise Unreadable("the PDF is damaged and cannot be read") from error


def _pages(content: bytes, limits: ReadLimits) -> list[Block]:
    try:
        reader = PdfReader(io.BytesIO(content), strict=False)
        # An empty user password opens files that only restrict printing and copying.
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("the PDF is encrypted; upload it without its password")
    except PdfReadError as error:
        raise Unreadable("the PDF is damaged and cannot be read") from error
    if len(reader.pages) > limits.pages:
        raise TooLong(
            f"the PDF has {len(reader.pages)} pages, at most {limits.pages} are read",
            {"limit_pages": str(limits.pages)},
        )
    blocks: list[Block] = []
    characters = 0
    for page in reader.pages:
        text = _clean(page.extract_text())
        characters += len(text)
        if characters > limits.characters:
            raise TooLong(
                f"the PDF holds more than {limits.characters} characters of text",
                {"limit_characters": str(limits.characters)},
            )
        blocks.extend(Block(Kind.TEXT, part) for part in _BLANK_LINES.split(text) if part.strip())
    return blocks


def _clean(text: str) -> str:
    """Without zero bytes and lone surrogates, which broken fonts produce, and with words whole again."""
    text = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return _HYPHENATED.sub("", text)
