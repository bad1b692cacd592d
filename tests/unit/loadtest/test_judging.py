"""How answers and their citations are judged."""

from __future__ import annotations

import pytest

from causeway.gateway.v1 import chat_pb2, chat_service_pb2
from loadtest.bench.answers import Outcome, sentence_before, supports
from loadtest.bench.texts import Question

PASSAGE = (
    "The with statement is used to wrap the execution of a block with methods defined by a context manager."
)


def test_a_passage_supports_a_sentence_in_its_own_words() -> None:
    assert supports(PASSAGE, "It wraps the execution of a block with a context manager's methods.")
    assert not supports(PASSAGE, "Dictionaries preserve insertion order since Python 3.7.")


def test_inflection_does_not_matter() -> None:
    assert supports("statements executing blocks", "The statement executes a block.")


def test_a_sentence_without_longer_words_needs_no_support() -> None:
    assert supports(PASSAGE, "So it is.")


@pytest.mark.parametrize(
    "text, offset, sentence",
    [
        ("First one. Second one.", 22, "Second one"),
        ("First one [1]. Second one [2].", 30, "Second one [2]"),
        ("First one. [1]", 14, "First one"),
        ("First one [1]", 13, "First one"),
        ("Only 3.14 here", 14, "Only 3.14 here"),
        ("First.\n- a list item", 20, "- a list item"),
        ("", 0, ""),
    ],
)
def test_a_citation_belongs_to_the_sentence_that_ends_before_it(
    text: str, offset: int, sentence: str
) -> None:
    assert sentence_before(text, offset) == sentence


def outcome(reason: chat_pb2.FinishReason.ValueType, *titles: str) -> Outcome:
    """An answer that cites documents with these titles."""
    citations = [chat_pb2.Citation(number=1, title=title) for title in titles]
    answer = chat_service_pb2.CompleteResponse(reason=reason, citations=citations)
    return Outcome(Question("What does the with statement do?", ("with", "compound")), answer, 1.0)


def test_one_right_topic_among_the_citations_is_enough() -> None:
    assert outcome(chat_pb2.FINISH_REASON_STOP, "yield", "compound").cites_right_topic
    assert not outcome(chat_pb2.FINISH_REASON_STOP, "yield").cites_right_topic
    assert not outcome(chat_pb2.FINISH_REASON_STOP).cites_right_topic


def test_only_the_platforms_own_word_counts_as_a_refusal() -> None:
    assert outcome(chat_pb2.FINISH_REASON_NOT_IN_DOCUMENTS).refused
    assert not outcome(chat_pb2.FINISH_REASON_LENGTH).refused
