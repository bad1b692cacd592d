"""Collects the events of one streamed answer, and checks that none was lost on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from causeway.gateway.v1 import chat_pb2, chat_service_pb2
from cli.exits import CommandError


@dataclass(slots=True)
class Answer:
    """An answer as it grows."""

    text: str = ""
    citations: list[chat_pb2.Citation] = field(default_factory=list)
    usage: chat_pb2.Usage = field(default_factory=chat_pb2.Usage)
    finished: chat_service_pb2.Finished | None = None
    region: str = ""
    """Where it was finished."""
    moves: int = 0
    """How often it broke and was taken up again."""

    def add(self, event: chat_service_pb2.ChatResponse) -> str:
        """Take in one event; the new text it brought. Raises CommandError when text is missing or
        repeated."""
        match event.WhichOneof("event"):
            case "accepted":
                self.region = event.accepted.region
            case "resumed":
                self.region = event.resumed.region or self.region
                self.moves += 1
            case "text_delta":
                if event.text_delta.offset != len(self.text):
                    raise CommandError(
                        f"text was lost: expected offset {len(self.text)}, got {event.text_delta.offset}"
                    )
                self.text += event.text_delta.text
                return event.text_delta.text
            case "citation":
                if all(known.number != event.citation.number for known in self.citations):
                    self.citations.append(event.citation)
            case "usage":
                self.usage = event.usage
            case "finished":
                self.finished = event.finished
        return ""

    def require_finished(self) -> None:
        """Raise CommandError unless the end arrived."""
        if self.finished is None:
            raise CommandError("the answer was cut off")

    def to_json(self) -> dict[str, object]:
        """The document of `causeway ask --json`."""
        timing = self.finished.timing if self.finished else chat_pb2.Timing()
        return {
            "answer": self.text,
            "citations": [
                {
                    "number": citation.number,
                    "document": citation.document_id,
                    "title": citation.title,
                    "text": citation.text,
                    "score": citation.score,
                }
                for citation in self.sources()
            ],
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "cached_tokens": self.usage.cached_tokens,
            },
            "region": self.region,
            "timing": {
                "retrieval_ms": timing.retrieval_us / 1000,
                "first_text_ms": timing.first_text_us / 1000,
                "total_ms": timing.total_us / 1000,
            },
        }

    def sources(self) -> list[chat_pb2.Citation]:
        """The passages cited, by number."""
        return sorted(self.citations, key=lambda citation: citation.number)

    def source_lines(self) -> list[str]:
        """The list that follows an answer: number, title, the passage's first words."""
        return [f"[{source.number}] {source.title}: {excerpt(source.text)}" for source in self.sources()]

    def footer(self) -> str:
        """What the answer cost, in one line."""
        timing = self.finished.timing if self.finished else chat_pb2.Timing()
        return (
            f"{self.usage.completion_tokens} tokens, first text after {timing.first_text_us / 1e6:.2f} s, "
            f"{timing.total_us / 1e6:.2f} s in all, region {self.region}"
            + (f", broken and taken up again {self.moves} times" if self.moves else "")
        )


def excerpt(text: str, limit: int = 90) -> str:
    """The beginning of a passage on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
