"""What the load asks of a platform's client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class CallFailedError(Exception):
    """A call was not answered."""

    def __init__(self, code: str, detail: str = "") -> None:
        """`code` is the name of a gRPC status."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer begins, or begins again."""

    region: str
    token: bytes
    """For coming back when the stream breaks off."""


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Somebody else goes on."""

    offset: int
    region: str


Event = Accepted | Text | Resumed


@dataclass(frozen=True, slots=True)
class Held:
    """What a caller already has of an answer."""

    token: bytes
    text: str


class Caller(Protocol):
    """Calls a platform."""

    async def unary(self, timeout: float) -> str:
        """One idempotent call; the region that answered. Raises CallFailedError."""
        ...

    def stream(self, words: int, held: Held | None) -> AsyncIterator[Event]:
        """An answer of so many words, or the rest of it; ends when it is whole. Raises CallFailedError."""
        ...
