"""Envoy's arithmetic, with the figures of its own documentation.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.simulate.balance import Level, locality_shares, retried, spread


def levels(healthy: Sequence[int], of: int = 100) -> list[Level]:
    """Priorities with so many healthy hosts."""
    return [Level(of, up, 0, of, up) for up in healthy]


@pytest.mark.parametrize(
    "healthy, loads",
    [
        ((100, 100), (100, 0)),
        ((72, 72), (100, 0)),
        ((71, 71), (99, 1)),
        ((50, 50), (70, 30)),
        ((25, 100), (35, 65)),
        ((0, 100), (0, 100)),
        ((100, 100, 100), (100, 0, 0)),
        ((72, 71, 71), (100, 0, 0)),
        ((71, 71, 71), (99, 1, 0)),
        ((25, 25, 100), (35, 35, 30)),
    ],
)
def test_a_priority_keeps_the_traffic_until_less_than_five_sevenths_of_it_are_healthy(
    healthy: tuple[int, ...], loads: tuple[int, ...]
) -> None:
    assert spread(levels(healthy), panic_threshold=0).healthy == loads


def test_what_is_missing_is_scaled_up() -> None:
    assert spread(levels((25, 25)), panic_threshold=0).healthy == (50, 50)


def test_no_panic_while_the_priorities_together_carry_the_traffic() -> None:
    found = spread(levels((1, 100)))
    assert found.panic == (False, False)
    assert found.healthy == (1, 99)


def test_a_priority_below_the_threshold_panics_when_the_traffic_cannot_be_carried() -> None:
    assert spread(levels((25, 50)), panic_threshold=30).panic == (False, False)
    found = spread(levels((20, 40)), panic_threshold=30)
    assert found.panic == (True, False)
    assert found.healthy == (34, 66)


def test_when_all_panic_the_load_goes_by_the_number_of_hosts() -> None:
    found = spread([Level(1, 0, 0, 1, 0), Level(3, 0, 0, 3, 0)])
    assert found.panic == (True, True)
    assert found.healthy == (25, 75)


def test_without_panic_and_without_health_the_first_priority_gets_what_nobody_can_take() -> None:
    found = spread(levels((0, 0)), panic_threshold=0)
    assert found.healthy == (100, 0)
    assert found.panic == (False, False)


def test_degraded_hosts_take_only_what_the_healthy_ones_cannot() -> None:
    found = spread([Level(100, 10, 20, 100, 30), Level(100, 20, 10, 100, 30)], panic_threshold=0)
    assert found.healthy == (18, 33)
    assert found.degraded == (33, 16)


def test_a_retry_leaves_out_the_priorities_that_were_tried() -> None:
    whole = levels((100, 100))
    before = spread(whole)
    assert retried(whole, {0}, before).healthy == (0, 100)
    assert retried(whole, {0, 1}, before).healthy == (100, 0)


def test_a_retry_goes_where_the_first_went_when_nothing_is_healthy() -> None:
    none = levels((0, 0))
    before = spread(none)
    assert retried(none, {0}, before) == before


def test_localities_share_by_weight_and_health() -> None:
    assert locality_shares((1, 2), (100, 100), (100, 100), 140) == pytest.approx((1 / 3, 2 / 3))
    assert locality_shares((1, 2), (100, 50), (100, 100), 140) == pytest.approx((0.4167, 0.5833), abs=1e-3)
    assert locality_shares((1, 1), (0, 1), (1, 1), 140) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4),
    st.sampled_from([0.0, 50.0]),
)
def test_the_loads_always_add_up_to_the_whole(hosts: list[tuple[int, int, int]], threshold: float) -> None:
    made = [Level(sum(item), item[0], item[1], sum(item), item[0] + item[1]) for item in hosts]
    found = spread(made, panic_threshold=threshold)
    assert sum(found.healthy) + sum(found.degraded) == 100
    again = retried(made, {0}, found)
    assert sum(again.healthy) + sum(again.degraded) == 100
