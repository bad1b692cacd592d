"""Prompt work is reused within a cache key, and never across two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.runtime.slots import Lease, SlotTable, common_prefix


def use(table: SlotTable, key: str, text: str) -> Lease:
    lease = table.acquire(key, text)
    assert lease is not None
    table.release(lease, key, text)
    return lease


def test_the_same_key_gets_its_slot_back_and_may_reuse_it() -> None:
    table = SlotTable(4)
    first = use(table, "a", "once upon a time")
    again = use(table, "a", "once upon a time there was")
    assert (first.reuse, again.reuse) == (False, True)
    assert again.slot == first.slot


def test_another_key_never_reuses_a_slot() -> None:
    table = SlotTable(1)
    use(table, "a", "the same prompt")
    assert not use(table, "b", "the same prompt").reuse


def test_a_key_does_not_find_its_own_work_after_another_key_had_the_slot() -> None:
    table = SlotTable(1)
    use(table, "a", "prompt")
    use(table, "b", "prompt")
    assert not use(table, "a", "prompt").reuse


def test_an_empty_key_never_reuses_even_its_own_work() -> None:
    table = SlotTable(1)
    use(table, "", "prompt")
    assert not use(table, "", "prompt").reuse


def test_of_several_slots_with_the_key_the_longest_common_beginning_wins() -> None:
    table = SlotTable(3)
    leases = [table.acquire("a", text) for text in ("abc", "abcdef", "x")]
    for lease, text in zip(leases, ("abc", "abcdef", "x"), strict=True):
        assert lease is not None
        table.release(lease, "a", text)
    lease = table.acquire("a", "abcdefgh")
    assert lease == Lease(1, reuse=True)


def test_a_new_key_takes_the_slot_unused_for_longest() -> None:
    table = SlotTable(3)
    for key in ("a", "b", "c"):
        use(table, key, key)
    use(table, "a", "a")
    assert use(table, "d", "d").slot == 1  # b's


def test_a_busy_slot_is_not_given_out_and_when_all_are_busy_there_is_none() -> None:
    table = SlotTable(2)
    one, two = table.acquire("a", "x"), table.acquire("a", "x")
    assert one is not None
    assert two is not None
    assert one.slot != two.slot
    assert table.busy == 2
    assert table.acquire("a", "x") is None


def test_a_slot_cannot_be_released_twice() -> None:
    table = SlotTable(1)
    lease = use(table, "a", "x")
    with pytest.raises(ValueError, match="not leased"):
        table.release(lease, "a", "x")


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 5)), max_size=60),
    st.integers(1, 4),
)
def test_whatever_happens_reuse_means_the_slot_last_served_that_key(
    requests: list[tuple[str, int]], slots: int
) -> None:
    table = SlotTable(slots)
    last: dict[int, str] = {}
    held: list[tuple[Lease, str]] = []
    for key, hold in requests:
        lease = table.acquire(key, "text")
        if lease is not None:
            assert not lease.reuse or (key and last.get(lease.slot) == key)
            held.append((lease, key))
            last[lease.slot] = key
        while len(held) > hold:
            done, owner = held.pop(0)
            table.release(done, owner, "text")


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_common_prefix_is_the_longest_there_is(start: str, first: str, second: str) -> None:
    first, second = start + first, start + second
    length = common_prefix(first, second)
    assert length >= len(start)
    assert first[:length] == second[:length]
    assert first[length : length + 1] != second[length : length + 1] or length == min(len(first), len(second))
