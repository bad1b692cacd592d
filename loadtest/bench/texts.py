"""The inputs of every benchmark: Python's language reference, and questions about it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEVERAL_CHUNKS = 3_000
"""Characters."""
CORPORA = Path(__file__).resolve().parents[1] / "corpora"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the topics that answer it; none when the corpus does not."""

    text: str
    topics: tuple[str, ...]


def topics() -> dict[str, str]:
    """Title → text."""
    from pydoc_data.topics import topics as found

    return dict(found)


def small_topics(count: int) -> dict[str, str]:
    """The `count` shortest topics of those that answer a question and make several chunks."""
    every = topics()
    named = {topic for question in answerable() for topic in question.topics}
    long_enough = [name for name in named if len(every[name]) >= SEVERAL_CHUNKS]
    return {name: every[name] for name in sorted(long_enough, key=lambda name: len(every[name]))[:count]}


def passages(count: int, words: int = 90) -> list[str]:
    """`count` different pieces of the reference, about `words` words long, in a fixed random order.

    The order makes any stretch of the list as hard as any other.
    """
    pieces: list[str] = []
    for _, text in sorted(topics().items()):
        running = re.split(r"\s+", text.strip())
        pieces += [
            " ".join(running[start : start + words]) for start in range(0, len(running) - words + 1, words)
        ]
    random.Random(7).shuffle(pieces)
    if len(pieces) < count:
        raise ValueError(f"the corpus has {len(pieces)} pieces of {words} words, not {count}")
    return pieces[:count]


def answerable(among: Collection[str] | None = None, *, held_out: bool = False) -> list[Question]:
    """Questions with the topics that answer them; with `among`, those that one of these topics answers.

    Those held out were not there when the search's settings were chosen.
    """
    name = "python_topics_held_out.json" if held_out else "python_topics.json"
    every = [Question(item["question"], tuple(item["topics"])) for item in _read(name)]
    return [question for question in every if among is None or set(question.topics) & set(among)]


def unanswerable() -> list[Question]:
    """Questions that the reference does not answer."""
    return [Question(item["question"], ()) for item in _read("unanswerable.json")]


def spread(questions: Sequence[Question], count: int) -> list[Question]:
    """At most `count` of them, evenly spread over the list."""
    if count >= len(questions):
        return list(questions)
    return [questions[index * len(questions) // count] for index in range(count)]


def _read(name: str) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads((CORPORA / name).read_text("utf-8"))
    return document
