"""Answers that are cut off: cancelled, failed, out of time. What is owed is done in every ending."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.gateway import ANSWER, CALLER, FakePeers, ask, gateway
from services.common.context import CallContext, current_call, set_current_call
from services.common.errors import (
    Code,
    DomainError,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    PeerUnavailable,
    Reason,
)
from services.common.identity import acting_as
from services.gateway.model import (
    Accepted,
    Finished,
    Grounding,
    Role,
    TextDelta,
)
from services.gateway.ports import Outcome
from services.gateway.settings import ChatSettings

STAGES = (
    "check",
    "reserve",
    "history",
    "search",
    "append question",
    "generate",
    "token 0",
    "token 5",
    "append answer",
)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_cancelled_call_stops_the_model_and_settles(peers: FakePeers, stage: str) -> None:
    reached = peers.hang(stage)
    chat = gateway(peers)

    async def read() -> None:
        async for _ in chat.engine.chat(ask(conversation=True)):
            pass

    reading = asyncio.create_task(read())
    async with asyncio.timeout(1):
        await reached.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert peers.generating == 0
    peers.release(stage)
    await chat.background.drain()
    assert peers.open_reservations == {}
    assert len(peers.audited) == 1
    stored = [message for message in peers.messages if message.role is Role.ASSISTANT]
    if stage == "token 5":
        assert [(message.partial, ANSWER.startswith(message.text)) for message in stored] == [(True, True)]
        assert next(iter(peers.settled.values())) > 5
    elif stage == "append answer":
        assert [(message.partial, message.text) for message in stored] == [(False, ANSWER)]
    else:
        assert stored == []


async def test_closing_the_stream_stops_the_model(peers: FakePeers) -> None:
    peers.token_pause = 0.01
    chat = gateway(peers)
    async with aclosing(chat.engine.chat(ask(conversation=True))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert peers.generating == 0
    assert peers.generated < len(peers.tokens)
    await chat.background.drain()
    assert peers.messages[-1].partial
    assert peers.audited[0].attributes["ending"] == "cancelled"


@settings(max_examples=60, deadline=None)
@given(
    stage=st.sampled_from([*STAGES, "token 9", "settle", "audit", "nothing"]),
    error=st.sampled_from(
        [
            PeerUnavailable("gone"),
            ModelUnavailable("gone"),
            Overloaded("full"),
            InvalidRequest("no"),
            RuntimeError("a bug"),
        ]
    ),
    times=st.integers(1, 2),
    conversation=st.booleans(),
    grounded=st.booleans(),
    finish_reason=st.sampled_from(["stop", "length"]),
)
def test_in_every_ending_the_quota_is_settled_once_and_the_entry_written_once(
    stage: str, error: Exception, times: int, conversation: bool, grounded: bool, finish_reason: str
) -> None:
    async def scenario() -> None:
        peers = FakePeers(finish_reason=finish_reason)
        peers.fail(stage, error, times)
        chat = gateway(peers)
        question = ask(conversation=conversation, grounding=Grounding(disabled=not grounded))
        ended = False
        try:
            async for event in chat.engine.chat(question):
                ended = isinstance(event, Finished)
        except (DomainError, RuntimeError):
            assert not ended
        await chat.background.drain()
        refused_for_good = isinstance(error, InvalidRequest | Overloaded | RuntimeError)
        if not (stage == "settle" and refused_for_good):
            assert peers.open_reservations == {}
        if not (stage == "audit" and refused_for_good):
            assert len(peers.audited) == 1
        assert peers.generating == 0
        answers = [message for message in peers.messages if message.role is Role.ASSISTANT]
        assert len(answers) <= 1
        if conversation and ended:
            assert [answer.partial for answer in answers] == [False]
        for answer in answers:
            assert ANSWER.startswith(answer.text)

    with acting_as(CALLER):
        asyncio.run(scenario())


async def test_a_failure_before_the_first_token_is_tried_once_more(peers: FakePeers) -> None:
    peers.fail("generate", ModelUnavailable("the stub died"))
    events = await gateway(peers).events()
    assert isinstance(events[-1], Finished)
    assert len(peers.prompts) == 2


async def test_a_second_failure_is_told(peers: FakePeers) -> None:
    peers.fail("generate", ModelUnavailable("the stub died"), times=2)
    error = await gateway(peers).failure()
    assert error.status == (Code.UNAVAILABLE, Reason.MODEL_UNAVAILABLE)
    assert list(peers.settled.values()) == [0]


async def test_a_failure_after_the_first_token_is_never_replayed(peers: FakePeers) -> None:
    peers.fail("token 3", ModelUnavailable("the stub died"))
    chat = gateway(peers, ChatSettings(resumes=0))
    got = ""
    with pytest.raises(ModelUnavailable):
        async for event in chat.engine.chat(ask(conversation=True)):
            got += event.text if isinstance(event, TextDelta) else ""
    await chat.background.drain()
    assert len(peers.prompts) == 1
    assert ANSWER.startswith(got)
    assert got
    assert peers.messages[-1].partial
    assert peers.messages[-1].text.startswith(got)


async def test_an_overloaded_model_is_not_asked_again(peers: FakePeers) -> None:
    peers.fail("generate", Overloaded("full", retry_after=timedelta(seconds=1)))
    error = await gateway(peers).failure()
    assert error.status == (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED)
    assert error.retry_after == timedelta(seconds=1)
    assert len(peers.prompts) == 1


async def test_a_model_that_does_not_begin_is_given_up(peers: FakePeers) -> None:
    peers.hang("generate")
    chat = gateway(
        peers,
        ChatSettings(
            first_text_timeout=timedelta(milliseconds=20),
            retry_pause=timedelta(milliseconds=1),
            finish_timeout=timedelta(milliseconds=500),
        ),
    )
    error = await chat.failure()
    assert error.status[1] is Reason.MODEL_UNAVAILABLE
    assert peers.generating == 0


async def test_a_model_that_stops_in_the_middle_is_given_up(peers: FakePeers) -> None:
    peers.hang("token 4")
    soon = timedelta(milliseconds=20)
    chat = gateway(peers, ChatSettings(stall_timeout=soon, resume_timeout=soon, retry_pause=soon))
    error = await chat.failure()
    assert error.status[1] is Reason.MODEL_UNAVAILABLE
    assert next(iter(peers.settled.values())) > 4


async def test_the_deadline_ends_the_answer_with_an_error_of_ours_and_settles(peers: FakePeers) -> None:
    peers.hang("token 6")
    set_current_call(CallContext("r-1", time.monotonic() + 0.2))
    error = await gateway(peers).failure(ask(conversation=True))
    assert error.status == (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
    assert peers.open_reservations == {}
    assert peers.messages[-1].partial
    assert peers.audited[0].attributes["ending"] == "deadline_exceeded"


async def test_what_is_owed_has_time_of_its_own_and_the_callers_name(peers: FakePeers) -> None:
    set_current_call(CallContext("r-7", time.monotonic() + 0.1))
    seen: list[CallContext] = []
    settle = peers.settle

    class Watching(FakePeers):
        async def settle(self, reservation_id: str, used: int) -> None:
            seen.append(current_call())
            await settle(reservation_id, used)

    watching = Watching()
    watching.hang("token 2")
    await gateway(watching).failure()
    (call,) = seen
    assert call.request_id == "r-7"
    assert call.deadline is not None
    assert call.deadline > time.monotonic()


async def test_a_policy_that_comes_back_gets_what_is_owed(peers: FakePeers) -> None:
    peers.fail("settle", PeerUnavailable("restarting"))
    peers.fail("audit", PeerUnavailable("restarting"))
    await gateway(peers).events()
    assert list(peers.settled.values()) == [100 + len(peers.tokens)]
    assert len(peers.audited) == 1


async def test_an_answer_that_cannot_be_stored_is_not_reported_as_finished(peers: FakePeers) -> None:
    peers.fail("append answer", InvalidRequest("no"))
    error = await gateway(peers).failure(ask(conversation=True))
    assert error.status[0] is Code.INVALID_ARGUMENT
    assert peers.audited[0].outcome is Outcome.FAILED


async def test_a_hanging_settlement_does_not_keep_the_answer_from_finishing(peers: FakePeers) -> None:
    peers.hang("settle")
    chat = gateway(peers, ChatSettings(finish_timeout=timedelta(milliseconds=100)))
    async with asyncio.timeout(2):
        assert (await chat.engine.complete(ask())).text == ANSWER


async def test_the_audit_entry_names_the_answer_and_holds_no_text(peers: FakePeers) -> None:
    events = await gateway(peers).events()
    (record,) = peers.audited
    accepted = events[0]
    assert isinstance(accepted, Accepted)
    assert record.resource == f"answers/{accepted.answer_id}"
    assert (record.action, record.outcome) == ("chat.complete", Outcome.SUCCEEDED)
    assert dict(record.attributes) == {
        "ending": "stop",
        "model": "generator",
        "region": "eu-test-1",
        "passages": "2",
        "prompt_tokens": "100",
        "completion_tokens": str(len(peers.tokens)),
        "citations": "1",
    }


async def test_closing_the_background_waits_for_the_audit_entry(peers: FakePeers) -> None:
    peers.hang("audit")
    chat = gateway(peers)
    async with chat.background:
        await chat.engine.complete(ask())
        assert peers.audited == []
        asyncio.get_running_loop().call_later(0.05, peers.release, "audit")
    assert len(peers.audited) == 1
