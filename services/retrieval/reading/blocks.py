"""What a parser gives: the text of a document as a flat run of blocks. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """How a block may be cut."""

    HEADING = "heading"
    """Starts a section."""
    TEXT = "text"
    """Prose: cut between sentences."""
    LINES = "lines"
    """Code, tables, poems: cut between lines, white space kept."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a list item, a code block, a heading."""

    kind: Kind
    text: str
    """Never blank."""
    level: int = 0
    """Of a heading: 1 for the highest."""
