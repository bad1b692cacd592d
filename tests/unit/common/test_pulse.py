"""A model that is dead is told from one that is busy, at the price of one inference in a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.common.context import CallContext, current_call, set_current_call
from services.common.errors import DeadlineExceeded, ModelFailed, ModelUnavailable, Overloaded
from services.common.pulse import FRESH, SILENCES, Pulse

SOON = timedelta(milliseconds=20)


class Model:
    """Answers, fails or is silent; ``now`` is the time, ``answered`` when anybody last got an answer."""

    def __init__(self) -> None:
        self.now = 100.0
        self.answered = float("-inf")
        self.asked = 0
        self.failure: Exception | None = None
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.deadlines: list[float | None] = []

    async def infer(self) -> None:
        self.asked += 1
        self.deadlines.append(current_call().deadline)
        await self.speaks.wait()
        if self.failure is not None:
            raise self.failure

    def later(self) -> None:
        """Findings of now are old."""
        self.now += FRESH.total_seconds()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def pulse(model: Model) -> AsyncIterator[Pulse]:
    async with Pulse(
        model.infer, lambda: model.answered, limit=SOON, wait=timedelta(seconds=5), clock=lambda: model.now
    ) as made:
        yield made


@pytest.fixture
async def hasty(model: Model) -> AsyncIterator[Pulse]:
    """One whose callers do not wait, and whose model may take all the time it wants."""
    async with Pulse(model.infer, wait=SOON, clock=lambda: model.now) as made:
        yield made


async def test_however_many_ask_the_model_is_asked_once_in_a_while(model: Model, pulse: Pulse) -> None:
    await asyncio.gather(*(pulse.check() for _ in range(20)))
    await pulse.check()
    assert model.asked == 1
    model.later()
    await asyncio.gather(*(pulse.check() for _ in range(20)))
    assert model.asked == 2


@pytest.mark.parametrize(
    "failure",
    [ModelUnavailable("is not healthy"), ModelFailed("it failed"), RuntimeError("no such output")],
    ids=repr,
)
async def test_a_model_that_fails_is_dead_at_once_and_alive_as_soon_as_it_answers(
    model: Model, pulse: Pulse, failure: Exception
) -> None:
    await pulse.check()
    model.failure = failure
    model.later()
    with pytest.raises(ModelUnavailable) as caught:
        await pulse.check()
    assert caught.value.__cause__ is failure
    assert not await pulse.works()
    model.failure = None
    model.later()
    assert await pulse.works()


async def test_a_model_that_refuses_because_it_is_busy_is_alive(model: Model, pulse: Pulse) -> None:
    model.failure = Overloaded("every slot is taken")
    await pulse.check()


async def test_a_model_that_was_never_heard_of_is_not_called_alive(model: Model, hasty: Pulse) -> None:
    model.speaks.clear()
    with pytest.raises(ModelUnavailable):
        await hasty.check()


async def test_nobody_waits_for_a_slow_model_and_what_was_known_holds_meanwhile(
    model: Model, hasty: Pulse
) -> None:
    await hasty.check()
    model.speaks.clear()
    model.later()
    for _ in range(3):
        await hasty.check()
        model.later()
    assert model.asked == 2, "one inference at a time, however long it takes"
    model.failure = ModelUnavailable("is not healthy")
    model.speaks.set()
    async with asyncio.timeout(5):
        while await hasty.works():
            await asyncio.sleep(0)


@pytest.mark.parametrize("failure", [None, DeadlineExceeded("did not answer in time")])
async def test_a_model_that_stays_silent_is_dead_in_the_end(
    model: Model, pulse: Pulse, failure: Exception | None
) -> None:
    await pulse.check()
    model.failure = failure
    if failure is None:
        model.speaks.clear()
    for _ in range(SILENCES - 1):
        model.later()
        await pulse.check()
    model.later()
    with pytest.raises(ModelUnavailable):
        await pulse.check()
    model.failure = None
    model.speaks.set()
    model.later()
    await pulse.check()


async def test_a_model_that_answers_others_is_alive_however_long_it_lets_one_wait(
    model: Model, pulse: Pulse
) -> None:
    await pulse.check()
    model.speaks.clear()
    for _ in range(SILENCES * 2):
        model.later()
        model.answered = model.now
        await pulse.check()


async def test_the_model_is_not_asked_within_the_deadline_of_the_one_who_happens_to_ask(
    model: Model, pulse: Pulse
) -> None:
    set_current_call(CallContext("r-1", deadline=0.0))
    await pulse.check()
    assert model.deadlines == [None]


async def test_closing_it_ends_what_it_asks(model: Model) -> None:
    model.speaks.clear()
    async with Pulse(model.infer, wait=SOON) as pulse:
        assert not await pulse.works()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 1
    assert all(task.cancelled() for task in others)
