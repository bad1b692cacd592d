"""Answers that come to their end: order of events, what is asked of whom, what is stored, what is said."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fakes.gateway import ANSWER, WITH, FakePeers, ask, gateway
from services.common.errors import (
    Code,
    ModelUnavailable,
    PeerUnavailable,
    Reason,
    StoreUnavailable,
)
from services.gateway.model import (
    Accepted,
    Citation,
    Finished,
    FinishReason,
    Grounding,
    Passage,
    Role,
    StoredTurn,
    TextDelta,
    Turn,
    Usage,
)
from services.gateway.ports import Outcome
from services.gateway.refusal import NOT_IN_DOCUMENTS
from services.gateway.settings import ChatSettings

FAR = replace(WITH, cosine=0.1)
"""A passage that has little to do with the question."""
UNKNOWN = "Who painted this ceiling?"


async def test_events_come_in_order_with_contiguous_offsets(peers: FakePeers) -> None:
    events = await gateway(peers).events()
    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Finished)
    assert isinstance(events[-2], Usage)
    text = ""
    for event in events[1:-2]:
        if isinstance(event, TextDelta):
            assert event.offset == len(text)
            assert event.text
            text += event.text
        else:
            assert isinstance(event, Citation)
            assert event.offset <= len(text)
    assert text == ANSWER


async def test_a_finished_answer_says_what_it_cost_and_how_long_it_took(peers: FakePeers) -> None:
    events = await gateway(peers).events()
    assert events[-2] == Usage(prompt_tokens=100, completion_tokens=len(peers.tokens), cached_tokens=7)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.STOP
    assert 0 < finished.timing.retrieval <= finished.timing.first_text <= finished.timing.total


async def test_the_answer_cites_the_passage_it_rests_on_and_no_other(peers: FakePeers) -> None:
    citations = [event for event in await gateway(peers).events() if isinstance(event, Citation)]
    assert citations == [Citation(1, WITH, len(ANSWER))]


async def test_complete_gives_what_chat_streams(peers: FakePeers) -> None:
    answer = await gateway(peers).engine.complete(ask())
    assert answer.text == ANSWER
    assert [citation.passage for citation in answer.citations] == [WITH]
    assert answer.accepted.passages == 2
    assert answer.finished.reason is FinishReason.STOP


async def test_check_reservation_history_and_search_run_beside_one_another(peers: FakePeers) -> None:
    names = ("check", "reserve", "history", "search")
    reached = [peers.hang(name) for name in names]
    events = asyncio.create_task(gateway(peers).events(ask(conversation=True)))
    async with asyncio.timeout(1):
        await asyncio.gather(*(event.wait() for event in reached))
    for name in names:
        peers.release(name)
    assert isinstance((await events)[-1], Finished)


async def test_a_denied_caller_hears_only_that_it_is_denied(peers: FakePeers) -> None:
    peers.denied.add("chat.complete")
    peers.fail("history", StoreUnavailable("no such conversation, perhaps"))
    peers.fail("search", PeerUnavailable("retrieval is gone"))
    error = await gateway(peers).failure(ask(conversation=True))
    assert error.status == (Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED)
    assert peers.prompts == []
    assert peers.messages == []
    assert list(peers.settled.values()) == [0]
    assert [record.outcome for record in peers.audited] == [Outcome.DENIED]


async def test_a_denial_does_not_wait_for_a_search_that_hangs(peers: FakePeers) -> None:
    peers.denied.add("chat.complete")
    peers.hang("search")
    async with asyncio.timeout(1):
        error = await gateway(peers).failure()
    assert error.status[0] is Code.PERMISSION_DENIED


async def test_a_reservation_still_under_way_at_a_denial_is_settled_once_it_is_there(
    peers: FakePeers,
) -> None:
    peers.denied.add("chat.complete")
    peers.hang("reserve")
    chat = gateway(peers)
    waiting = asyncio.create_task(chat.failure())
    await asyncio.sleep(0.05)
    assert peers.settled == {}
    peers.release("reserve")
    await waiting
    assert list(peers.settled.values()) == [0]
    assert peers.open_reservations == {}


async def test_an_exhausted_quota_refuses_before_anything_is_stored(peers: FakePeers) -> None:
    peers.quota = 10
    error = await gateway(peers).failure(ask(conversation=True))
    assert error.status == (Code.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED)
    assert peers.messages == []
    assert "settle" not in peers.calls


async def test_the_reservation_covers_the_prompt_and_the_longest_answer(peers: FakePeers) -> None:
    reached = peers.hang("generate")
    chat = gateway(peers)
    events = asyncio.create_task(chat.events())
    await reached.wait()
    (reserved,) = peers.open_reservations.values()
    prompt = sum(len(message["content"]) for message in peers.prompts[0].messages) / 4
    assert reserved >= prompt + 200
    peers.release("generate")
    await events
    assert list(peers.settled.values()) == [100 + len(peers.tokens)]


async def test_a_conversation_holds_question_and_answer_before_finished_is_sent(peers: FakePeers) -> None:
    async for event in gateway(peers).engine.chat(ask(conversation=True)):
        if isinstance(event, Accepted):
            assert [message.role for message in peers.messages] == [Role.USER]
        if isinstance(event, Finished):
            assert [message.role for message in peers.messages] == [Role.USER, Role.ASSISTANT]
    question, answer = peers.messages
    assert question.text == "What does the with statement do?"
    assert (answer.text, answer.partial) == (ANSWER, False)
    assert [citation.number for citation in answer.citations] == [1]


async def test_without_a_conversation_nothing_is_stored(peers: FakePeers) -> None:
    await gateway(peers).events()
    assert peers.messages == []
    assert "history" not in peers.calls


async def test_a_retried_request_stores_its_messages_once(peers: FakePeers) -> None:
    request_id = str(uuid.uuid4())
    for _ in range(2):
        await gateway(peers).events(ask(conversation=True, request_id=request_id))
    assert [message.role for message in peers.messages] == [Role.USER, Role.ASSISTANT]
    # The question itself must not come twice in the retry's prompt.
    contents = [message["content"] for message in peers.prompts[1].messages]
    assert sum("What does the with statement do?" in content for content in contents) == 1


async def test_a_retry_with_another_answer_keeps_the_first(peers: FakePeers) -> None:
    request_id = str(uuid.uuid4())
    await gateway(peers).events(ask(conversation=True, request_id=request_id))
    peers.tokens = ("A context manager wraps the execution of a block.",)
    events = await gateway(peers).events(ask(conversation=True, request_id=request_id))
    assert isinstance(events[-1], Finished)
    assert peers.messages[1].text == ANSWER


async def test_a_retry_after_a_cut_answer_stores_the_whole_one(peers: FakePeers) -> None:
    request_id = str(uuid.uuid4())
    peers.fail("token 5", ModelUnavailable("gone"))
    await gateway(peers, ChatSettings(resumes=0)).failure(ask(conversation=True, request_id=request_id))
    await gateway(peers).events(ask(conversation=True, request_id=request_id))
    assert [message.partial for message in peers.messages] == [False, True, False]
    await gateway(peers).events(ask("And what does the with statement wrap?", conversation=True))
    roles = [message["role"] for message in peers.prompts[-1].messages]
    # The rules, then the question with its whole answer only, then the new question.
    assert roles == ["system", "user", "assistant", "user"]


async def test_a_request_id_used_for_another_question_is_refused(peers: FakePeers) -> None:
    request_id = str(uuid.uuid4())
    await gateway(peers).events(ask(conversation=True, request_id=request_id))
    error = await gateway(peers).failure(
        ask("What does the pass statement do?", conversation=True, request_id=request_id)
    )
    assert error.status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


async def test_history_is_part_of_the_prompt(peers: FakePeers) -> None:
    peers.history = [
        StoredTurn(1, Turn(Role.USER, "Hello, I am Ada.")),
        StoredTurn(2, Turn(Role.ASSISTANT, "Hello Ada.")),
    ]
    peers.messages = []
    chat = gateway(peers)
    await chat.engine.complete(ask(history=[stored.turn for stored in peers.history]))
    contents = [message["content"] for message in peers.prompts[0].messages]
    assert contents[1:3] == ["Hello, I am Ada.", "(Answered.)"]


async def test_the_cache_key_is_the_tenant(peers: FakePeers) -> None:
    await gateway(peers).events()
    assert peers.prompts[0].cache_key == "acme"


async def test_an_unanswerable_question_is_answered_without_the_model(peers: FakePeers) -> None:
    peers.passages = (FAR,)
    answer = await gateway(peers).engine.complete(ask(UNKNOWN))
    assert answer.text == NOT_IN_DOCUMENTS
    assert answer.finished.reason is FinishReason.NOT_IN_DOCUMENTS
    assert answer.citations == ()
    assert answer.usage == Usage()
    assert answer.accepted.passages == 0
    assert peers.prompts == []


async def test_a_tenant_without_documents_hears_that_they_do_not_hold_the_answer(peers: FakePeers) -> None:
    peers.passages = ()
    answer = await gateway(peers).engine.complete(ask(conversation=True))
    assert answer.finished.reason is FinishReason.NOT_IN_DOCUMENTS
    assert peers.messages[-1].text == NOT_IN_DOCUMENTS
    assert list(peers.settled.values()) == [0]


async def test_a_model_that_says_so_itself_ends_the_same_way(peers: FakePeers) -> None:
    peers.tokens = ("The passages do not ", "contain the answer to this.")
    answer = await gateway(peers).engine.complete(ask())
    assert answer.finished.reason is FinishReason.NOT_IN_DOCUMENTS
    assert answer.citations == ()


async def test_a_follow_up_is_searched_again_with_the_question_before_it(peers: FakePeers) -> None:
    class Following(FakePeers):
        async def search(self, query: str, limit: int, grounding: Grounding) -> Sequence[Passage]:
            self.queries.append(query)
            return tuple(self.passages) if "with statement" in query else (FAR,)

    following = Following()
    history = [Turn(Role.USER, "What does the with statement do?"), Turn(Role.ASSISTANT, ANSWER)]
    answer = await gateway(following).engine.complete(ask("And why would anybody?", history=history))
    assert following.queries == [
        "And why would anybody?",
        "What does the with statement do?\nAnd why would anybody?",
    ]
    assert answer.finished.reason is FinishReason.STOP


async def test_without_grounding_nothing_is_searched_or_cited(peers: FakePeers) -> None:
    peers.tokens = ("A list such as [1] ", "or [9] has one element.")
    answer = await gateway(peers).engine.complete(ask("Hello!", grounding=Grounding(disabled=True)))
    assert "search" not in peers.calls
    assert answer.text == "A list such as [1] or [9] has one element."
    assert answer.citations == ()


async def test_a_model_in_circles_is_stopped_in_front_of_the_repetition(peers: FakePeers) -> None:
    peers.tokens = tuple(f"{ANSWER}\n\n" for _ in range(50))
    answer = await gateway(peers).engine.complete(ask())
    assert answer.text == ANSWER
    assert answer.finished.reason is FinishReason.STOP
    assert peers.generated < 5
    assert peers.generating == 0


async def test_running_out_of_tokens_is_told(peers: FakePeers) -> None:
    peers.finish_reason = "length"
    answer = await gateway(peers).engine.complete(ask())
    assert answer.finished.reason is FinishReason.LENGTH


async def test_an_unknown_model_is_not_found_before_anything_is_asked(peers: FakePeers) -> None:
    error = await gateway(peers).failure(ask(model="gpt-99"))
    assert error.status == (Code.NOT_FOUND, Reason.MODEL_NOT_FOUND)
    assert peers.calls == []


@pytest.mark.parametrize("text", [" ", "\n\t "])
async def test_a_blank_question_is_refused(peers: FakePeers, text: str) -> None:
    error = await gateway(peers).failure(ask(text))
    assert error.status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert peers.calls == []


async def test_a_question_longer_than_the_context_is_refused_before_anything_is_reserved(
    peers: FakePeers,
) -> None:
    error = await gateway(peers).failure(ask("statement " * 1600 + "a1" * 200))
    assert error.status == (Code.INVALID_ARGUMENT, Reason.PROMPT_TOO_LONG)
    assert peers.calls == []


async def test_a_slow_reader_gets_fewer_and_longer_deltas(peers: FakePeers) -> None:
    deltas: list[TextDelta] = []
    async for event in gateway(peers).engine.chat(ask()):
        if isinstance(event, TextDelta):
            deltas.append(event)
            await asyncio.sleep(0.05)
    assert len(deltas) <= 3
    assert "".join(delta.text for delta in deltas) == ANSWER
