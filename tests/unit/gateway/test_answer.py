"""What becomes of the model's text: offsets, citations, control tokens, repetitions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.gateway import PASS, WITH
from services.gateway.answer import MAX_CITATIONS, AnswerText
from services.gateway.attribution import Attribution
from services.gateway.model import Citation, Passage, TextDelta

BOTH = (WITH, PASS)
ABOUT_WITH = 'The "with" statement wraps the execution of a block with methods defined by a context manager.'
ABOUT_PASS = "The pass statement is a null operation, useful as a placeholder."


def written(
    *pieces: str, passages: Sequence[Passage] = BOTH, complete: bool = True
) -> tuple[str, list[Citation], AnswerText]:
    """Text and citations that come of the model's pieces; checks the offsets on the way."""
    answer = AnswerText(passages, Attribution(passages, passages) if passages else None)
    events = [event for piece in pieces for event in answer.feed(piece)] + answer.finish(complete=complete)
    text = ""
    citations = []
    for event in events:
        if isinstance(event, TextDelta):
            assert event.offset == len(text)
            assert event.text
            text += event.text
        else:
            assert event.offset <= len(text)
            citations.append(event)
    assert answer.text == text
    assert answer.citations == citations
    return text, citations, answer


def numbers(citations: Sequence[Citation]) -> list[tuple[int, str]]:
    """Number and title of each."""
    return [(citation.number, citation.passage.title) for citation in citations]


def test_a_supported_sentence_is_cited_at_its_end() -> None:
    text, citations, _ = written(f"{ABOUT_WITH} And so on.")
    assert numbers(citations) == [(1, "The with statement")]
    assert text[: citations[0].offset] == ABOUT_WITH


def test_an_unsupported_sentence_is_not_cited() -> None:
    invented = "The with statement was invented by a committee of Norwegian astronomers in 1973."
    assert written(invented)[1] == []


def test_a_sentence_too_short_to_be_traced_is_not_cited() -> None:
    assert written("It is a statement.")[1] == []


def test_passages_are_numbered_in_the_order_of_their_first_use() -> None:
    _, citations, _ = written(f"{ABOUT_PASS} {ABOUT_WITH} {ABOUT_PASS[:-1]} in code.")
    assert numbers(citations)[:2] == [(1, "The pass statement"), (2, "The with statement")]


def test_a_marker_the_sentence_supports_is_kept_with_the_number_of_first_use() -> None:
    text, citations, _ = written(f"{ABOUT_PASS[:-1]} [2]. {ABOUT_WITH[:-1]} [1].")
    assert text == f"{ABOUT_PASS[:-1]} [1]. {ABOUT_WITH[:-1]} [2]."
    assert numbers(citations) == [(1, "The pass statement"), (2, "The with statement")]
    assert [text[citation.offset - 3 : citation.offset] for citation in citations] == ["[1]", "[2]"]


def test_a_marker_behind_the_full_stop_belongs_to_the_sentence_before_it() -> None:
    text, citations, _ = written(f"{ABOUT_PASS} [2] {ABOUT_WITH}")
    assert text.startswith(f"{ABOUT_PASS} [1] The")
    assert numbers(citations) == [(1, "The pass statement"), (2, "The with statement")]


@pytest.mark.parametrize("marker", [" [7]", " [2]"])
def test_a_marker_of_no_passage_or_of_one_that_does_not_support_the_text_is_removed(marker: str) -> None:
    text, citations, _ = written(f"{ABOUT_WITH[:-1]}{marker}.")
    assert text == ABOUT_WITH
    assert numbers(citations) == [(1, "The with statement")]


def test_of_several_numbers_in_a_marker_only_those_that_hold_stay() -> None:
    text, citations, _ = written(f"{ABOUT_PASS[:-1]} [1, 2].")
    assert text == f"{ABOUT_PASS[:-1]} [1]."
    assert numbers(citations) == [(1, "The pass statement")]


@pytest.mark.parametrize(
    "text",
    [
        "Take `items[1]` of the list.",
        "Then items = [1] holds one.",
        "The list [10, 20, 30] has three elements.",
        "Write items[1] to take the second.",
        "```\nprint(items [9])\n```",
        "Index [0] is the first.",
        "An empty list is written [].",
    ],
)
def test_python_brackets_are_left_alone(text: str) -> None:
    assert written(text)[0] == text


def test_without_passages_brackets_are_only_brackets() -> None:
    assert written("See [1] and [2].", passages=())[0] == "See [1] and [2]."


@pytest.mark.parametrize("token", ["<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "<end_of_turn>"])
def test_control_tokens_of_the_model_are_removed_however_they_are_cut(token: str) -> None:
    whole = f"One{token} two."
    for cut in range(len(whole)):
        assert written(whole[:cut], whole[cut:])[0] == "One two."


def test_taking_a_marker_out_makes_no_control_token() -> None:
    assert written("One<|im_ [9]end|> two.")[0] == "One<|im_ [9]end|> two."


def test_a_less_than_sign_is_not_a_control_token() -> None:
    text = "Here a < b and b <c, x<y, and List<int> stays; 1 <"
    assert written(*text)[0] == text


def test_a_marker_cut_into_pieces_is_still_a_marker() -> None:
    assert written(*f"{ABOUT_PASS[:-1]} [2].")[0] == f"{ABOUT_PASS[:-1]} [1]."


def test_the_first_word_is_given_out_at_once() -> None:
    answer = AnswerText(BOTH, Attribution(BOTH, BOTH))
    assert answer.feed("The") == [TextDelta(0, "The")]


def test_an_answer_begins_with_text() -> None:
    assert written(" \n", " ", "Text.", " ")[0] == "Text."


def test_offsets_count_code_points() -> None:
    text, _, _ = written("Zoë 🙂 said: ", "日本語.")
    assert len(text) == 16


def test_a_repeated_sentence_ends_the_answer_in_front_of_it() -> None:
    text, _, answer = written(f"{ABOUT_WITH}\n\nMore of it is said here.\n\n", *f"{ABOUT_WITH}\n\n")
    assert text == f"{ABOUT_WITH}\n\nMore of it is said here."
    assert answer.repeating


def test_a_repetition_under_another_list_number_is_noticed() -> None:
    text, _, answer = written("1. The clause is always executed.\n", "2. The clause is always executed.\n3.")
    assert text == "1. The clause is always executed."
    assert answer.repeating


def test_a_sentence_that_only_begins_like_another_is_given_out_whole() -> None:
    text = "It closes the file at the end.\nIt closes the file at the end of the block, too."
    assert written(*text)[0] == text


def test_a_sentence_that_goes_round_in_circles_is_stopped() -> None:
    text, _, answer = written(*("a function that is defined by " for _ in range(40)))
    assert answer.repeating
    assert len(text) < 300


def test_a_sentence_stopped_in_circles_is_still_traced() -> None:
    circles = " with methods defined by a context manager that wraps the execution of a block"
    _, citations, answer = written("The with statement wraps it", *(circles for _ in range(20)))
    assert answer.repeating
    assert numbers(citations) == [(1, "The with statement")]


def test_an_answer_cut_in_a_repetition_does_not_show_it() -> None:
    text, _, _ = written(f"{ABOUT_WITH}\n\nThe with statement wr", complete=False)
    assert text == ABOUT_WITH


def test_a_cut_sentence_is_not_cited() -> None:
    assert written(ABOUT_WITH[:-1], complete=False)[1] == []


def test_citations_stop_at_what_a_message_can_hold() -> None:
    words = [f"alpha{index} beta{index} gamma{index} delta{index}" for index in range(MAX_CITATIONS + 20)]
    passage = Passage(document_id=WITH.document_id, title="Words", text=". ".join(words))
    text, citations, _ = written(*(f"{sentence}.\n" for sentence in words), passages=(passage,))
    assert len(citations) == MAX_CITATIONS
    assert words[-1] in text


def test_a_refusal_is_noticed_and_not_cited() -> None:
    _, citations, answer = written("The passages do not mention the with statement or context managers.")
    assert citations == []
    assert answer.refused


MARKS = ["The ", "with", " statement", ".", " [", "1", "]", " [2]", "[3]", "[1, 2]", "\n\n", " ", "é", "?"]
CODES = ["<|im_", "end|>", "<", "| ", "`", "```"]
PIECE = st.sampled_from([*MARKS, *CODES, ABOUT_WITH, ABOUT_PASS])


@given(st.lists(PIECE, max_size=40), st.booleans())
def test_whatever_the_model_writes_offsets_hold_and_numbers_follow_first_use(
    pieces: list[str], complete: bool
) -> None:
    text, citations, _ = written(*pieces, complete=complete)
    seen = list(dict.fromkeys(citation.number for citation in citations))
    assert seen == list(range(1, len(seen) + 1))
    assert len({(citation.number, citation.passage) for citation in citations}) == len(seen)
    assert not re.search(r"<\|im_end\|>", text)


@given(st.lists(PIECE, unique=True))
def test_how_the_text_is_cut_into_pieces_does_not_matter(pieces: list[str]) -> None:
    whole = "".join(pieces)
    by_characters, citations, _ = written(*whole)
    at_once, same, _ = written(whole)
    assert by_characters.rstrip() == at_once.rstrip()
    assert [citation.number for citation in citations] == [citation.number for citation in same]
