"""What a rule is, and what it finds."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh.lint.view import Mesh
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, Position


class Severity(enum.Enum):
    """How bad it is."""

    ERROR = "error"
    """It does not do what it says, or it breaks something."""
    WARNING = "warning"
    """It does what it says, and that will surprise somebody."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that breaks a rule."""

    manifest: Manifest[Message]
    """Where it is; its annotations may allow it."""
    at: Position
    message: str
    """What is wrong here, with the names involved; no full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One trap."""

    id: str
    """As in `failover-without-outlier-detection`."""
    severity: Severity
    finds: str
    """What it looks for: one sentence."""
    why: str
    """What happens to those who fall into it."""
    fix: str
    """What to write instead."""
    source: str
    """Where the behaviour is documented or was reported."""
    check: Callable[[Mesh], Iterator[Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that is broken, and where."""

    rule: str
    severity: Severity
    file: str
    line: int
    path: str
    """The field, as in `spec.http[0].retries`."""
    manifest: str
    """`VirtualService causeway/session`."""
    message: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity.value} {self.rule} {self.message}"
