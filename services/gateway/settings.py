"""How answers are made: the numbers, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.gateway.answerability import THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The models that Triton serves."""

    generator: str = "generator"
    """Name of the generator in requests and in Triton."""
    embedder: str = "embedder"
    """Name of the embedder in requests and in Triton."""
    context_tokens: int = 3072
    """Context of one slot of the generator, prompt and answer together."""
    embedder_tokens: int = 256
    """Longest input of the embedder; what is longer is cut off there."""
    embedder_dimensions: int = 384
    """Length of its vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """Defaults and limits of a chat. CAUSEWAY_CHAT_MAX_TOKENS and so on."""

    max_tokens: int = 200
    """Tokens of an answer when the request does not say."""
    temperature: float = 0.0
    """Greedy when the request does not say: a small model strays soon."""
    passages: int = 3
    """Passages before the model when the request does not say. On two cores the bundled model reads some 250
    tokens a second: 150 tokens more are half a second more until the first text."""
    candidates: int = 8
    """Passages that are searched for: more than the model reads, because they tell common words from rare
    ones and show whether the documents speak of the question at all."""
    passage_tokens: int = 400
    """Budget of all passages of a prompt together. The bundled model answers better from a few sentences that
    speak of the question than from whole passages, and begins sooner."""
    evidence: float = THRESHOLD
    """Evidence below which a question counts as one that the documents cannot answer; 0 answers always."""
    history_tokens: int = 512
    """Budget of the earlier turns of a prompt."""
    history_answers: bool = False
    """Whether earlier answers stand in the prompt of a question that is answered from documents. The bundled
    model repeats them instead of answering, so it is shown the earlier questions only; a larger one wants
    both."""
    history_messages: int = 20
    """Most messages of a conversation that are read for a prompt."""
    first_text_timeout: timedelta = timedelta(seconds=60)
    """How long the model may take to begin, waiting for a slot included."""
    stall_timeout: timedelta = timedelta(seconds=10)
    """How long it may stop in the middle. A generator that lives says so every second, even when it has no
    text."""
    resumes: int = 3
    """How often an answer that broke off is taken up again with another model."""
    resume_timeout: timedelta = timedelta(seconds=20)
    """How long that is tried each time, while no model can be reached or all are busy."""
    finish_timeout: timedelta = timedelta(seconds=10)
    """How long settling, storing and auditing may take after an answer ended in whatever way."""
    lease: timedelta = timedelta(minutes=10)
    """How long a quota reservation holds when the gateway dies before it settles."""
    retry_pause: timedelta = timedelta(milliseconds=200)
    """Before the one retry of a generation that failed without any text."""
    buffer_chars: int = 32_768
    """Text that waits for a slow reader before the model is made to wait."""
