"""The waiting line in front of the engine."""

from __future__ import annotations

import threading

import pytest

from triton_models.errors import OverloadedError
from triton_models.runtime.admission import WaitingLine


def test_jobs_are_taken_in_the_order_they_came() -> None:
    line: WaitingLine[int] = WaitingLine(workers=1, limit=5)
    for job in (1, 2, 3):
        line.put(job)
    assert [line.take(), line.take()] == [1, 2]
    assert line.snapshot() == [3]


def test_a_job_beyond_the_limit_is_refused_with_the_numbers() -> None:
    line: WaitingLine[int] = WaitingLine(workers=2, limit=1)
    for job in (1, 2, 3):  # two for the idle workers, one waits
        line.put(job)
    with pytest.raises(OverloadedError, match=r"1 requests already wait .* \(limit 1\)"):
        line.put(4)


def test_a_finished_job_makes_room_for_another() -> None:
    line: WaitingLine[int] = WaitingLine(workers=1, limit=0)
    line.put(1)
    with pytest.raises(OverloadedError):
        line.put(2)
    assert line.take() == 1
    with pytest.raises(OverloadedError):
        line.put(2)
    line.done()
    line.put(2)


def test_a_waiting_job_can_be_taken_out_once_and_a_taken_one_cannot() -> None:
    line: WaitingLine[int] = WaitingLine(workers=1, limit=5)
    line.put(1)
    line.put(2)
    assert line.take() == 1
    assert not line.remove(1)
    assert line.remove(2)
    assert not line.remove(2)
    assert line.waiting == 0


def test_closing_wakes_the_workers_and_returns_what_nobody_will_run() -> None:
    line: WaitingLine[int] = WaitingLine(workers=1, limit=5)
    results: list[int | None] = []
    occupied: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(line.take())),
        threading.Thread(target=lambda: occupied.append(line.wait_until_occupied())),
    ]
    for thread in threads:
        thread.start()
    assert line.close() == []
    for thread in threads:
        thread.join(timeout=5)
    assert (results, occupied) == ([None], [False])


def test_a_closed_line_returns_its_jobs_and_takes_no_more() -> None:
    line: WaitingLine[int] = WaitingLine(workers=0, limit=5)
    line.put(1)
    assert line.close() == [1]
    with pytest.raises(OverloadedError):
        line.put(2)
