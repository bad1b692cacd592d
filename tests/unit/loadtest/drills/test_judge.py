"""What the records of a drill mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.drills import judge
from loadtest.drills.judge import TextFaults
from loadtest.drills.records import Answer, Call, Piece

WEST, EAST = "us-west-2", "us-east-1"


def answer(*words: str, asked: int = 0, offsets: tuple[int, ...] | None = None) -> Answer:
    """A finished answer whose pieces are these words."""
    made = Answer(0.0, asked or len(words), finished=1.0)
    end = 0
    for place, word in enumerate(words):
        offset = end if offsets is None else offsets[place]
        made.pieces.append(Piece(float(place), offset, f"{word} "))
        end += len(word) + 1
    return made


def test_traffic_has_moved_with_the_first_answer_of_another_region_after_the_last_local_one() -> None:
    calls = [
        Call(0.0, 0.10, "OK", WEST),
        Call(0.0, 0.15, "OK", EAST),
        Call(0.0, 0.20, "OK", WEST),
        Call(0.1, 0.22, "UNAVAILABLE"),
        Call(0.1, 0.26, "OK", EAST),
    ]
    assert judge.moved(calls, WEST) == pytest.approx(0.06)


def test_nothing_is_said_of_a_move_that_nobody_saw() -> None:
    assert judge.moved([Call(0, 1, "OK", WEST)], WEST) is None
    assert judge.moved([Call(0, 1, "OK", "")], WEST) is None


def test_a_region_that_failed_over_within_itself_has_not_moved() -> None:
    assert judge.moved([Call(0, 1, "OK", WEST), Call(0, 2, "OK", WEST)], WEST) is None


def test_calls_are_disturbed_until_the_last_slow_or_failed_one_was_due() -> None:
    before = [Call(t / 100, t / 100 + 0.005, "OK", WEST) for t in range(100)]
    after = [Call(1.1, 2.1, "OK", EAST), Call(1.4, 1.41, "UNAVAILABLE"), Call(1.9, 1.905, "OK", EAST)]
    assert judge.settled([*before, *after], 1.0) == pytest.approx(0.4)
    assert judge.settled(before, 1.0) == 0


def test_what_counts_as_slow_follows_the_undisturbed_calls() -> None:
    assert judge.slow_after([Call(0, 0.005)], 1.0) == judge.SLOW_SECONDS
    assert judge.slow_after([Call(0, 0.1)], 1.0) == pytest.approx(1.0)
    assert judge.slow_after([], 1.0) == judge.SLOW_SECONDS


def test_silence_is_the_longest_time_without_an_answer() -> None:
    calls = [Call(0, 1.1), Call(0, 1.2), Call(0, 1.5, "UNAVAILABLE"), Call(0, 1.9)]
    assert judge.silence(calls, 1.0, 2.0) == pytest.approx(0.7)
    assert judge.silence([], 1.0, 2.0) == pytest.approx(1.0)


def test_failures_are_counted_by_status() -> None:
    calls = [Call(0, 1, "UNAVAILABLE"), Call(0, 1, "UNAVAILABLE"), Call(0, 1, "INTERNAL"), Call(0, 1)]
    assert len(judge.failed(calls)) == 3
    assert judge.codes(calls) == "UNAVAILABLE 2, INTERNAL 1"


def test_a_stream_is_open_where_it_was_accepted_last() -> None:
    moved = Answer(0.0, 9, regions=[(1.0, WEST), (2.0, EAST)], finished=4.0)
    assert judge.open_in([moved], WEST, 1.5) == [moved]
    assert judge.open_in([moved], WEST, 3.0) == []
    assert judge.open_in([moved], EAST, 3.0) == [moved]
    assert judge.open_in([moved], EAST, 5.0) == [], "it has ended"
    assert judge.open_in([Answer(0.0, 9)], WEST, 1.0) == [], "nobody has accepted it"


@pytest.mark.parametrize(
    "words, asked, faults",
    [
        (("word0", "word1", "word2"), 3, TextFaults()),
        (("word0", "word2"), 3, TextFaults(lost=1)),
        (("word0", "word1"), 3, TextFaults(lost=1)),
        (("word0", "word1", "word1", "word2"), 3, TextFaults(repeated=1)),
        (("word0", "word1", "word0", "word1", "word2"), 3, TextFaults(repeated=2)),
        (("word0", "wo", "word1"), 2, TextFaults(garbled=1)),
    ],
)
def test_lost_and_repeated_words_are_told_apart(
    words: tuple[str, ...], asked: int, faults: TextFaults
) -> None:
    assert judge.text_faults(answer(*words, asked=asked)) == faults


def test_an_answer_that_is_not_over_has_lost_nothing_yet() -> None:
    cut = answer("word0", "word1", asked=9)
    cut.finished = None
    assert judge.text_faults(cut) == TextFaults()


def test_offsets_are_checked_whatever_the_model_says() -> None:
    wrong = answer("some", "text", offsets=(0, 9))
    assert judge.text_faults(wrong, synthetic=False) == TextFaults(gaps=1)


def test_offsets_count_code_points() -> None:
    assert judge.text_faults(answer("größe", "word"), synthetic=False) == TextFaults()


@given(st.integers(1, 30), st.integers(0, 29), st.integers(1, 5))
def test_what_was_cut_out_is_what_is_missed(words: int, start: int, length: int) -> None:
    kept = [f"word{n}" for n in range(words) if not start <= n < start + length]
    cut = words - len(kept)
    assert judge.text_faults(answer(*kept, asked=words)) == TextFaults(lost=cut)


def test_pauses_are_those_of_streams_that_were_open() -> None:
    one = Answer(0.0, 3)
    one.pieces = [Piece(0.0, 0, "a"), Piece(0.1, 1, "b"), Piece(2.0, 2, "c"), Piece(2.1, 3, "d")]
    assert judge.pauses([one], 1.0, 3.0) == [pytest.approx(1.9)]
    assert judge.pauses([one], 5.0, 6.0) == []
