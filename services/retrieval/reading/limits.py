"""How much is read of one document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Bounds of one reading; a document beyond them fails, with a message that names the bound."""

    pages: int = 5_000
    """Pages of a PDF."""
    characters: int = 64 * 1024 * 1024
    """Characters of text that come out of it."""
    chunks: int = 65_536
    """Passages it is cut into."""
