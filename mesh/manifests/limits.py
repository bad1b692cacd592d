"""How much input is read before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Above these a file is refused, whatever it says; they are far above what people write."""

    file_bytes: int = 16 * 1024 * 1024
    documents: int = 20_000
    """In one file."""
    nodes: int = 20_000
    """Values and keys in one document."""
    file_nodes: int = 1_500_000
    """In one file."""
    depth: int = 48
    """Maps and lists within one another."""
    scalar_characters: int = 1024 * 1024
    files: int = 10_000
    """In one folder, and in one kustomization."""
    errors: int = 500
    """Reported at once."""


LIMITS = Limits()
