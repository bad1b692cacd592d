"""What the gateway speaks of: questions, passages, and the events of an answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Role(enum.Enum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(enum.Enum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended it, or a stop string was reached, or it began to repeat itself."""
    LENGTH = "length"
    """max_tokens, or the model's context, was used up."""
    NOT_IN_DOCUMENTS = "not_in_documents"
    """The tenant's documents do not contain the answer, and the answer says so."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A message that the session service keeps."""

    sequence: int
    """Its place in the conversation, from 1."""
    turn: Turn
    partial: bool = False
    """Whether its text was cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document that may answer the question."""

    document_id: str
    title: str
    """The document's title."""
    text: str
    score: float = 0.0
    """How well it matched; comparable within one search only."""
    cosine: float | None = None
    """Cosine with the question, comparable between searches; None after a lexical search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How to generate; None takes the default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """Which documents an answer may draw on."""

    disabled: bool = False
    """Answer from the model alone."""
    passages: int | None = None
    """Most passages to put before the model; None takes the default."""
    document_ids: tuple[str, ...] = ()
    """Only these documents; all when empty."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only documents with all of these labels."""


@dataclass(frozen=True, slots=True)
class CitationMark:
    """A citation that has reached the client."""

    number: int
    place: int
    """Of its passage among those before the model, from 1."""
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """How much of an answer has reached the client, whose stream then broke off."""

    token: bytes
    """What the answer's Accepted brought."""
    text: str = ""
    """All text, from the beginning."""
    tokens: int = 0
    """Tokens that were generated for it."""
    citations: tuple[CitationMark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request for an answer."""

    text: str
    conversation_id: str = ""
    """Empty: nothing is stored."""
    history: Sequence[Turn] = ()
    """Earlier turns, from callers that keep them; oldest first."""
    model: str = ""
    """Empty: the default model."""
    parameters: Parameters = field(default_factory=Parameters)
    grounding: Grounding = field(default_factory=Grounding)
    request_id: str = ""
    """Names the request when it is retried; empty when it is not."""
    resume: ResumePoint | None = None
    """Where to go on with the answer; None begins one."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that a sentence of the answer used."""

    number: int
    """By which the answer refers to the passage: 1 for the passage that was used first."""
    passage: Passage
    offset: int
    """In code points, just after the text that the passage supports."""
    place: int = field(default=0, compare=False)
    """Of the passage among those before the model, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Every check was passed; generation begins. Always the first event."""

    answer_id: str
    model: str
    region: str
    passages: int
    """How many are before the model."""
    resume_token: bytes = b""
    """With which the client can go on at another gateway; empty when none is issued."""


class ResumeReason(enum.Enum):
    """What had broken."""

    MODEL_LOST = "model_lost"
    """The model's stream."""
    STREAM_LOST = "stream_lost"
    """The client's stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The answer had broken off, and goes on."""

    offset: int
    """Where the next text begins."""
    region: str
    """Which goes on: the model's when it is known, else the gateway's."""
    reason: ResumeReason


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next text."""

    offset: int
    """Where it begins, in code points of the answer."""
    text: str
    """Never empty."""
    tokens: int = field(default=0, compare=False)
    """Generated for the answer up to the end of this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer, however often it was taken up again: its prompt and its text, each once."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        """What counts against the quota."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds since the request came in."""

    retrieval: float = 0.0
    first_text: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. Always the last event."""

    reason: FinishReason
    timing: Timing


Event = Accepted | Resumed | TextDelta | Citation | Usage | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    accepted: Accepted
    text: str
    citations: tuple[Citation, ...]
    usage: Usage
    finished: Finished


class ModelKind(enum.Enum):
    """What a model does."""

    GENERATOR = "generator"
    EMBEDDER = "embedder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model that is served."""

    name: str
    kind: ModelKind
    ready: bool
    context_tokens: int = 0
    """Of context (generators) or of input (embedders)."""
    dimensions: int = 0
    """Of a vector (embedders)."""
