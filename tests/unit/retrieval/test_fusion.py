"""Reciprocal rank fusion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.fusion import K, fuse, spread

rankings = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), max_size=4)


def test_scores_are_those_of_the_paper() -> None:
    fused = dict(fuse([["a", "b"], ["b"]]))
    assert fused["a"] == pytest.approx(1 / (K + 1))
    assert fused["b"] == pytest.approx(1 / (K + 2) + 1 / (K + 1))


def test_what_both_rankings_hold_comes_before_what_one_holds_at_the_same_rank() -> None:
    assert fuse([["a", "both"], ["b", "both"]])[0][0] == "both"


def test_equal_scores_keep_the_order_of_the_rankings() -> None:
    assert [item for item, _ in fuse([["a"], ["b"]])] == ["a", "b"]


def test_a_repeated_item_counts_once() -> None:
    assert fuse([["a", "a", "a"]]) == [("a", 1 / (K + 1))]


@given(rankings)
def test_every_item_is_there_once_and_scores_fall(lists: list[list[int]]) -> None:
    fused = fuse(lists)
    items = [item for item, _ in fused]
    assert sorted(items) == sorted({item for ranking in lists for item in ranking})
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)


@given(st.lists(st.integers(), unique=True))
def test_one_ranking_alone_keeps_its_order(ranking: list[int]) -> None:
    assert [item for item, _ in fuse([ranking])] == ranking


@given(rankings)
def test_the_order_of_the_rankings_does_not_change_scores(lists: list[list[int]]) -> None:
    assert dict(fuse(lists)) == pytest.approx(dict(fuse(lists[::-1])))


def test_a_document_does_not_fill_the_result() -> None:
    ranked = [("a1", 1.0), ("a2", 0.9), ("a3", 0.8), ("b1", 0.5), ("c1", 0.3)]
    spread_out = [item for item, _ in spread(ranked, lambda item: item[0], 0.5)]
    assert spread_out == ["a1", "b1", "a2", "c1", "a3"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers()), unique=True), st.floats(0.1, 1.0))
def test_spreading_keeps_every_item_and_the_order_within_a_group(
    items: list[tuple[int, int]], share: float
) -> None:
    ranked = [(item, 1.0 / (place + 1)) for place, item in enumerate(items)]
    after = [item for item, _ in spread(ranked, lambda item: item[0], share)]
    assert sorted(after) == sorted(items)
    for group in {item[0] for item in items}:
        assert [i for i in after if i[0] == group] == [i for i in items if i[0] == group]


def test_a_share_of_one_changes_nothing() -> None:
    ranked = [("a1", 1.0), ("a2", 0.9), ("b1", 0.5)]
    assert spread(ranked, lambda item: item[0], 1.0) == ranked
