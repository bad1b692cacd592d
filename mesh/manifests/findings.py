"""Collects what is wrong, while reading goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.manifests.errors import ManifestError
from mesh.manifests.message import Message, Position, position_of

_CONFUSED = 200
"""With so much that could not be read, rules are not looked at."""


@dataclass(slots=True)
class Findings:
    """What is wrong with some input."""

    limit: int
    """Errors beyond it are counted, not kept."""
    errors: list[ManifestError] = field(default_factory=list)
    more: int = 0
    refused: list[str] = field(default_factory=list)
    """Paths of the document at hand that could not be read, so that checks do not complain of them again."""

    @property
    def full(self) -> bool:
        """No more errors are kept."""
        return len(self.errors) >= self.limit

    def add(self, at: Position, message: str) -> None:
        """Something is wrong."""
        if not self.full:
            self.errors.append(ManifestError(at, message))
        else:
            self.more += 1

    def refuse(self, at: Position, message: str) -> None:
        """Something cannot be read."""
        self.refused.append(at.path)
        self.add(at, message)

    def check(self, at: Position, message: str) -> None:
        """A rule is broken, unless that comes of something that could not be read."""
        if len(self.refused) > _CONFUSED:
            return
        for path in self.refused:
            if _within(path, at.path) or _within(at.path, path):
                return
        self.add(at, message)

    def field(self, message: Message, name: str, text: str, key: int | str | None = None) -> None:
        """A rule is broken by a field, or an element of it."""
        self.check(position_of(message, name, key), text)


def _within(inner: str, outer: str) -> bool:
    return inner.startswith(outer) and (len(inner) == len(outer) or not outer or inner[len(outer)] in ".[")
