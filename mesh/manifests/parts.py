"""The documents of a file apart, so that after a change only those are read again that changed.

A line that begins with `---` and a blank ends a document wherever it stands, or is an error (YAML 1.1, 4.5;
libyaml looks for it at the beginning of every line). So a file can be cut there. Where anything else could
decide what belongs together, or what a line is, the file is not cut.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from mesh.manifests.limits import Limits

_START = re.compile(r"^---(?=[ \t\n]|\Z)", re.MULTILINE)
_UNSURE = re.compile(r"^(?:%|\.\.\.)|[\r\0\x85\u2028\u2029\ufeff]", re.MULTILINE)
"""Directives, ends of documents that are written out, and what YAML takes for ends of lines beside \\n."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file: one document at most."""

    text: str
    lines_before: int

    @property
    def digest(self) -> bytes:
        """Of the text."""
        return digest(self.text.encode())


def digest(content: bytes) -> bytes:
    """Of any content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def parts(content: bytes, limits: Limits) -> list[Part] | None:
    """The parts of a file, in order; None for one that has to be read as a whole."""
    # No character makes more than two values, so that no limit of the whole file is passed unnoticed.
    if len(content) > limits.file_bytes or 2 * len(content) > limits.file_nodes:
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if _UNSURE.search(text):
        return None
    starts = [match.start() for match in _START.finditer(text)]
    if len(starts) > limits.documents:
        return None
    found: list[Part] = []
    lines = 0
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        part = text[start:end]
        if part:
            found.append(Part(part, lines))
            lines += part.count("\n")
    return found
