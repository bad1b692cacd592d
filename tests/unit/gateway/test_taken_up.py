"""A model that breaks off in the middle of its answer: another goes on, and no text is lost or repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.gateway import ANSWER, CALLER, FakePeers, ask, gateway
from services.common.context import CallContext, set_current_call
from services.common.errors import (
    Code,
    DomainError,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    PromptTooLong,
    Reason,
)
from services.common.identity import acting_as
from services.gateway.generation import TakenUp, pieces
from services.gateway.model import (
    Citation,
    Event,
    Finished,
    FinishReason,
    Grounding,
    Resumed,
    ResumeReason,
    TextDelta,
    Usage,
)
from services.gateway.ports import Piece, Prompt
from services.gateway.settings import ChatSettings

GONE = ModelUnavailable("the way to the model broke")
QUICK = ChatSettings(
    retry_pause=timedelta(milliseconds=1),
    resume_timeout=timedelta(milliseconds=200),
    finish_timeout=timedelta(milliseconds=500),
)
TOKENS = len(FakePeers().tokens)


def text_of(events: Sequence[Event]) -> str:
    """The text; fails when an offset does not follow."""
    text = ""
    for event in events:
        if isinstance(event, TextDelta):
            assert event.offset == len(text)
            text += event.text
        if isinstance(event, Resumed):
            assert event.offset == len(text)
    return text


def breaks_of(events: Sequence[Event]) -> list[Resumed]:
    """Where the answer was taken up."""
    return [event for event in events if isinstance(event, Resumed)]


@pytest.mark.parametrize("token", range(1, TOKENS))
async def test_an_answer_broken_off_anywhere_is_the_same_as_a_whole_one(peers: FakePeers, token: int) -> None:
    whole = await gateway(FakePeers(), QUICK).events()
    peers.fail(f"token {token}", GONE)
    events = await gateway(peers, QUICK).events()
    assert text_of(events) == ANSWER
    assert [event for event in events if isinstance(event, Citation | Usage)] == [
        event for event in whole if isinstance(event, Citation | Usage)
    ]
    (resumed,) = breaks_of(events)
    assert (resumed.reason, resumed.region) == (ResumeReason.MODEL_LOST, "eu-test-1")
    assert list(peers.settled.values()) == [100 + TOKENS]


async def test_the_next_model_is_told_what_was_said_and_all_else_as_before(peers: FakePeers) -> None:
    peers.fail("token 3", GONE)
    await gateway(peers, QUICK).events()
    first, second = peers.prompts
    assert (first.said, first.said_tokens) == ("", 0)
    # Without the blank at its end: with it, the model would not find the beginning of a word.
    assert (second.said, second.said_tokens) == ("".join(peers.tokens[:3]).rstrip(), 3)
    assert replace(second, said="", said_tokens=0) == first


async def test_the_models_region_is_named_when_it_is_known(peers: FakePeers) -> None:
    peers.model_region = "us-east-1"
    peers.fail("token 3", GONE)
    assert [event.region for event in breaks_of(await gateway(peers, QUICK).events())] == ["us-east-1"]


async def test_an_answer_is_taken_up_several_times_but_not_for_ever(peers: FakePeers) -> None:
    for token in (2, 5, 9):
        peers.fail(f"token {token}", GONE)
    events = await gateway(peers, QUICK).events()
    assert text_of(events) == ANSWER
    assert len(breaks_of(events)) == 3
    assert peers.audited[0].attributes["taken_up"] == "3"

    broken = FakePeers()
    for token in (2, 5, 9, 11):
        broken.fail(f"token {token}", GONE)
    assert (await gateway(broken, QUICK).failure(ask(conversation=True))).status[
        1
    ] is Reason.MODEL_UNAVAILABLE
    assert broken.messages[-1].partial
    assert ANSWER.startswith(broken.messages[-1].text)


class Successors(FakePeers):
    """Models of which the first breaks off after four tokens, and the next ones refuse so."""

    def refuse(self, *errors: DomainError) -> None:
        """How the next ones refuse."""
        self.fail("token 4", GONE)
        self.later = list(errors)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        if self.prompts and self.later:
            self.prompts.append(prompt)
            raise self.later.pop(0)
        async with aclosing(super().generate(prompt)) as stream:
            async for piece in stream:
                yield piece


async def test_models_that_are_gone_or_busy_for_a_while_are_waited_for() -> None:
    peers = Successors()
    peers.refuse(GONE, GONE, Overloaded("full", retry_after=timedelta(milliseconds=5)))
    events = await gateway(peers, QUICK).events()
    assert text_of(events) == ANSWER
    assert len(breaks_of(events)) == 1
    assert len(peers.prompts) == 5


async def test_waiting_for_another_model_ends(peers: FakePeers) -> None:
    peers.fail("token 4", GONE, times=1000)
    begun = time.monotonic()
    error = await gateway(peers, QUICK).failure()
    assert error.status[1] is Reason.MODEL_UNAVAILABLE
    assert 0.1 < time.monotonic() - begun < 30


async def test_the_callers_deadline_ends_the_waiting_too(peers: FakePeers) -> None:
    peers.fail("token 4", GONE, times=1000)
    set_current_call(CallContext("r-1", time.monotonic() + 0.1))
    error = await gateway(peers, replace(QUICK, resume_timeout=timedelta(seconds=20))).failure()
    assert error.status[0] is Code.DEADLINE_EXCEEDED


async def test_a_refusal_in_the_middle_is_not_tried_again(peers: FakePeers) -> None:
    peers.fail("token 4", InvalidRequest("no"))
    assert (await gateway(peers, QUICK).failure()).status[1] is Reason.INVALID_REQUEST
    assert len(peers.prompts) == 1


async def test_a_silent_model_counts_as_gone(peers: FakePeers) -> None:
    reached = peers.hang("token 4")
    chat = gateway(peers, replace(QUICK, stall_timeout=timedelta(milliseconds=30)))
    events = asyncio.create_task(chat.events())
    await reached.wait()
    peers._gates.pop("token 4")
    assert text_of(await events) == ANSWER
    assert len(breaks_of(await events)) == 1
    assert peers.generating == 0


async def test_what_was_said_may_fill_the_context() -> None:
    peers = Successors()
    peers.refuse(PromptTooLong("full"))
    events = await gateway(peers, QUICK).events()
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.LENGTH
    assert ANSWER.startswith(text_of(events))


async def test_closing_a_taken_up_answer_stops_the_model(peers: FakePeers) -> None:
    peers.fail("token 4", GONE)
    chat = gateway(peers, QUICK)
    async with aclosing(chat.engine.chat(ask())) as events:
        async for event in events:
            if isinstance(event, Resumed):
                break
    assert peers.generating == 0
    await chat.background.drain()
    assert peers.open_reservations == {}


WORDS = st.text(alphabet=" ab.\n[1]", min_size=1, max_size=5)


@given(tokens=st.lists(WORDS, min_size=1, max_size=12), broken=st.lists(st.integers(0, 11), max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_text_is_lost_or_repeated_wherever_it_breaks(tokens: list[str], broken: list[int]) -> None:
    async def answer(breaks: Sequence[int]) -> str:
        peers = FakePeers(tokens=tokens)
        for token in breaks:
            peers.fail(f"token {token}", GONE)
        # Before the first text it is tried again once only.
        question = ask(grounding=Grounding(disabled=True))
        return (await gateway(peers, replace(QUICK, resumes=9)).engine.complete(question)).text

    async def scenario() -> None:
        assert await answer(sorted(set(broken) - {0})) == await answer([])

    with acting_as(CALLER):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    "said, then, new",
    [
        ("one ", [" two"], "two"),
        ("one ", ["two"], "two"),
        ("one  ", [" ", " two"], "two"),
        ("one ", ["   two"], "  two"),
        ("one", [" two"], " two"),
        ("one\n", ["\ntwo"], "\ntwo"),
        (" ", [" one"], "one"),
    ],
)
async def test_blanks_at_the_seam_come_once(said: str, then: list[str], new: str) -> None:
    peers = FakePeers(tokens=(said, "lost"))
    peers.fail("token 1", GONE)
    rest = FakePeers(tokens=then)

    class Successor:
        """Another model, which goes on as it likes."""

        def __init__(self) -> None:
            self.prompts: list[Prompt] = []

        def generate(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            self.prompts.append(prompt)
            first = len(self.prompts) == 1
            return (peers if first else rest).generate(replace(prompt, said="", said_tokens=0))

        async def ready(self) -> bool:
            return True

    model = Successor()
    prompt = Prompt(messages=[], max_tokens=9, temperature=0, cache_key="acme")
    got = [item async for item in pieces(model, prompt, QUICK)]
    texts = ["" if isinstance(item, TakenUp) else item.text for item in got]
    assert "".join(texts) == said + new
    assert model.prompts[1].said == said.rstrip(" ")
