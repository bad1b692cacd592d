"""The load of a drill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.drill_platform import FakePlatform
from loadtest.drills import judge
from loadtest.drills.caller import Accepted, CallFailedError, Event, Held, Text
from loadtest.drills.clock import Clock
from loadtest.drills.load import RETURNS, Load, Shape


class Caller:
    """Unary calls hang for a while; streams fail as they are told."""

    def __init__(self, hang: float = 0.0, failures: int = 0, token: bytes = b"t") -> None:
        self.hang, self.failures, self.token = hang, failures, token
        self.held: list[Held | None] = []

    async def unary(self, timeout: float) -> str:
        """After a while."""
        await asyncio.sleep(self.hang)
        return "here"

    async def stream(self, words: int, held: Held | None) -> AsyncIterator[Event]:
        """Breaks off after the first word while there are failures left."""
        self.held.append(held)
        number = len(held.text.split()) if held else 0
        offset = len(held.text) if held else 0
        yield Accepted("here", self.token)
        while number < words:
            text = f"word{number} "
            yield Text(offset, text)
            number, offset = number + 1, offset + len(text)
            if self.failures:
                self.failures -= 1
                raise CallFailedError("UNAVAILABLE", "reset")
            await asyncio.sleep(0.001)


async def test_calls_are_sent_when_they_are_due_although_none_is_answered() -> None:
    async with Load(Caller(hang=0.3), Shape(rate=100, streams=0), Clock()) as load:
        await asyncio.sleep(0.25)
        assert not load.records.calls
    assert 20 <= len(load.records.calls) <= 32
    assert all(call.seconds >= 0.29 for call in load.records.calls)


async def test_the_rate_is_kept() -> None:
    async with Load(Caller(), Shape(rate=200, streams=0), Clock()) as load:
        await asyncio.sleep(0.5)
    due = [call.started for call in load.records.calls]
    steps = [later - earlier for earlier, later in zip(sorted(due), sorted(due)[1:], strict=False)]
    assert all(step == pytest.approx(0.005, abs=1e-4) for step in steps)


async def test_streams_are_always_open_and_end_whole() -> None:
    async with Load(Caller(), Shape(rate=1, streams=3, words=20), Clock()) as load:
        await asyncio.sleep(0.6)
    assert len(load.records.answers) > 3
    assert not judge.broken(load.records.answers)
    assert judge.all_text_faults(load.records.answers) == judge.TextFaults()


async def test_a_caller_comes_back_with_what_it_has() -> None:
    caller = Caller(failures=2)
    async with Load(caller, Shape(rate=1, streams=1, words=10), Clock()) as load:
        await asyncio.sleep(0.01)
    first = load.records.answers[0]
    assert len(first.breaks) == 2
    assert first.finished is not None
    assert judge.text_faults(first) == judge.TextFaults()
    assert caller.held[:3] == [None, Held(b"t", "word0 "), Held(b"t", "word0 word1 ")]


async def test_an_answer_that_cannot_be_taken_up_is_broken() -> None:
    async with Load(Caller(failures=1, token=b""), Shape(rate=1, streams=1, words=10), Clock()) as load:
        await asyncio.sleep(0.01)
    assert load.records.answers[0].error == "UNAVAILABLE: reset"


async def test_a_caller_does_not_come_back_for_ever() -> None:
    shape = Shape(rate=1, streams=1, words=50, pause=0.001)
    async with Load(Caller(failures=RETURNS + 1), shape, Clock()) as load:
        await asyncio.sleep(0.01)
    assert judge.broken(load.records.answers)


async def test_failed_calls_are_recorded_with_their_status() -> None:
    clock = Clock()
    platform = FakePlatform(clock, outage=10.0)
    await platform.kill("us-west-2")
    async with Load(platform.caller(), Shape(rate=100, streams=0), clock) as load:
        await asyncio.sleep(0.1)
    assert {call.code for call in load.records.calls} == {"UNAVAILABLE"}
