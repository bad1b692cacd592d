"""The statistics of benchmarks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.stats import growth, percentile, ratios, summarise

figures = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@given(figures, st.floats(0, 1))
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float) -> None:
    assert percentile(values, share) in values


@given(figures)
def test_percentiles_grow_with_their_share_from_the_least_to_the_greatest(values: list[float]) -> None:
    found = [percentile(values, share / 10) for share in range(11)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (min(values), max(values))


def test_the_99th_percentile_of_a_hundred_is_the_second_greatest() -> None:
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile(list(range(1, 101)), 0.5) == 50


def test_no_values_have_no_percentile_and_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_ratios_pair_what_was_measured_in_the_same_round() -> None:
    # The machine was half as fast in the second round: the ratio does not see it.
    assert ratios([90, 45], [100, 50]) == [0.9, 0.9]
    with pytest.raises(ValueError, match="argument"):
        ratios([1, 2], [1])
    with pytest.raises(ValueError, match="positive"):
        ratios([1], [0])


def test_growth_is_the_exponent_of_time_over_size() -> None:
    sizes = [1000, 10_000, 50_000]
    assert growth(sizes, [3, 3, 3]) == pytest.approx(0)
    assert growth(sizes, [size / 500 for size in sizes]) == pytest.approx(1)
    with pytest.raises(ValueError, match="two points"):
        growth([1], [1])
