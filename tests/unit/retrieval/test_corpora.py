"""The question sets say what they claim, and the measures measure it."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import loadtest.corpora
from loadtest.corpora.metrics import hit_at, mean, reciprocal_rank

FOLDER = Path(loadtest.corpora.__file__).parent
QUESTIONS = json.loads((FOLDER / "python_topics.json").read_text())
HELD_OUT = json.loads((FOLDER / "python_topics_held_out.json").read_text())
UNANSWERABLE = json.loads((FOLDER / "unanswerable.json").read_text())


def test_there_are_enough_questions_and_none_twice() -> None:
    assert len(QUESTIONS) >= 60
    assert len(UNANSWERABLE) >= 20
    asked = [entry["question"] for entry in [*QUESTIONS, *HELD_OUT, *UNANSWERABLE]]
    assert len(asked) == len(set(asked))


def test_every_right_topic_exists_in_this_python() -> None:
    for entry in [*QUESTIONS, *HELD_OUT]:
        assert entry["topics"], entry
        assert set(entry["topics"]) <= set(topics), entry


@pytest.mark.parametrize(
    "ranked,right,expected",
    [(["a", "b"], {"a"}, 1.0), (["a", "b"], {"b"}, 0.5), (["a"], {"z"}, 0.0), ([], {"a"}, 0.0)],
)
def test_reciprocal_rank(ranked: list[str], right: set[str], expected: float) -> None:
    assert reciprocal_rank(ranked, right) == expected


def test_a_hit_counts_within_the_first_k() -> None:
    assert hit_at(["a", "b", "c"], {"c"}, 3) == 1.0
    assert hit_at(["a", "b", "c"], {"c"}, 2) == 0.0
    assert mean([1.0, 0.0]) == 0.5
    assert mean([]) == 0.0
