"""What a caller saw: each call and each stream, with moments."""

from __future__ import annotations

from dataclasses import dataclass, field

OK = "OK"


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call."""

    started: float
    """When it was due, in seconds since the epoch: the load does not wait for answers."""
    ended: float
    code: str = OK
    """Name of the gRPC status."""
    region: str = ""
    """That answered, as it says itself; empty when nobody did or it does not say."""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.code == OK

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that arrived."""

    at: float
    offset: int
    """In the answer, in code points, as the platform says."""
    text: str


@dataclass(frozen=True, slots=True)
class Break:
    """The stream broke off, and the caller came back with what it had."""

    at: float
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Takeover:
    """The platform says that another model or gateway goes on."""

    at: float
    offset: int
    region: str


@dataclass(slots=True)
class Answer:
    """One stream."""

    started: float
    words: int
    """That were asked for."""
    regions: list[tuple[float, str]] = field(default_factory=list)
    """Who accepted it, and when."""
    pieces: list[Piece] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    finished: float | None = None
    error: str = ""
    """Why it was given up."""

    @property
    def text(self) -> str:
        """All that arrived."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(slots=True)
class Records:
    """All of a run."""

    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
