"""When a question is answered, and when it is said that the documents cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.gateway import PASS, WITH
from services.gateway.answerability import THRESHOLD, Evidence, answerable, weigh
from services.gateway.refusal import NOT_IN_DOCUMENTS, says_not_in_documents

FOUND = (WITH, PASS)


def test_a_question_the_passages_speak_of_is_answered() -> None:
    assert answerable("What does the with statement do?", FOUND)


def test_nothing_found_is_nothing_to_answer_from() -> None:
    assert not answerable("What does the with statement do?", ())


def test_a_far_passage_is_no_evidence() -> None:
    assert not answerable("Who painted this ceiling?", [replace(WITH, cosine=0.2)])


def test_a_name_that_no_passage_has_speaks_against_a_near_one() -> None:
    near = [replace(WITH, cosine=0.52)]
    assert answerable("How does the with statement wrap a block?", near)
    assert not answerable("How does the Fortran statement wrap a block?", near)
    assert weigh("How does the Fortran statement wrap a block?", near).unknown_name


def test_the_first_word_of_a_question_is_no_name() -> None:
    assert not weigh("Wrapping a block?", FOUND).unknown_name


def test_without_cosines_the_words_decide() -> None:
    lexical = [replace(WITH, cosine=None)]
    assert answerable("How is a block wrapped by a context manager?", lexical)
    assert not answerable("How is a sourdough bread baked?", lexical)


def test_a_threshold_of_zero_answers_always() -> None:
    assert answerable("Who painted this ceiling?", [replace(WITH, cosine=-0.2)], threshold=0)


def test_the_thresholds_hold_on_the_questions_they_were_chosen_on() -> None:
    """The evidence in the file was measured with the real embedder over the Python language reference."""
    data = json.loads((Path(__file__).parent / "answerability_questions.json").read_text())
    wrong = {"answerable": 0, "unanswerable": 0}
    for kind, expected in (("answerable", True), ("unanswerable", False)):
        for item in data[kind]:
            evidence = Evidence(item["cosine"], item["coverage"], item["unknown_name"])
            wrong[kind] += (evidence.total >= THRESHOLD) is not expected
    assert len(data["answerable"]) >= 60
    assert len(data["unanswerable"]) >= 40
    assert wrong["answerable"] <= 1
    assert wrong["unanswerable"] <= 1


@pytest.mark.parametrize(
    "sentence",
    [
        NOT_IN_DOCUMENTS,
        "The documents do not contain the answer.",
        "The passage does not mention bread.",
        "The provided passages don't provide any information about it.",
        "This is not mentioned in the given passages.",
        "There is no information about cups in the documents.",
        "I'm sorry, but the text doesn't say.",
    ],
)
def test_a_model_that_says_so_is_understood(sentence: str) -> None:
    assert says_not_in_documents(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The pass statement does not do anything.",
        "A set does not contain duplicates.",
        "The return value is not used.",
        "The documents describe the with statement.",
        "An exception that is not handled is raised again.",
    ],
)
def test_an_answer_with_a_not_in_it_is_not_taken_for_a_refusal(sentence: str) -> None:
    assert not says_not_in_documents(sentence)
