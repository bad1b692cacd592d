"""The whole gateway over real gRPC, with peers that are real gRPC servers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from causeway.gateway.v1 import chat_pb2
from causeway.gateway.v1.chat_service_pb2 import (
    ChatRequest,
    ChatResponse,
    CompleteRequest,
    EmbedRequest,
    ListModelsRequest,
)
from causeway.session.v1 import message_pb2
from fakes.gateway import ANSWER, PASS, WITH
from fakes.gateway_peers import Peers, Stage, stage
from services.gateway.settings import ChatSettings

CONVERSATION = "6d3f0a1c-8a52-4a35-9b5c-0f3c2a3f7a01"
QUESTION = "What does the with statement do?"


@pytest.fixture
async def ready() -> AsyncIterator[Stage]:
    """A gateway whose peers do their work."""
    async with stage() as built:
        yield built


def chat(built: Stage, request: ChatRequest | None = None, **options: Any) -> Any:
    """A call of Chat by a reader of acme."""
    options.setdefault("metadata", built.issuer.metadata(roles=("reader",)))
    return built.stub.Chat(request or ChatRequest(text=QUESTION), **options)


async def read(call: Any) -> list[ChatResponse]:
    """All events."""
    return [event async for event in call]


async def refused(call: Any) -> tuple[grpc.StatusCode, str, list[ChatResponse]]:
    """Code, reason, and what came before, of a call that fails."""
    events: list[ChatResponse] = []
    try:
        async for event in call:
            events.append(event)
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error), events
    raise AssertionError("the call did not fail")


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo's reason."""
    return str(details_of(error, error_details_pb2.ErrorInfo()).reason).removeprefix("ERROR_REASON_")


def details_of(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """A detail of the error's status."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(kind):
            return kind
    raise AssertionError(f"no {type(kind).__name__}")


async def test_an_answer_streams_in_order_and_cites_its_passage(ready: Stage) -> None:
    events = await read(chat(ready))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "accepted"
    assert kinds[-2:] == ["usage", "finished"]
    text = ""
    for event in events:
        if event.HasField("text_delta"):
            assert event.text_delta.offset == len(text)
            text += event.text_delta.text
    citations = [event.citation for event in events if event.HasField("citation")]
    assert text.startswith("The with statement wraps")
    assert [(citation.number, citation.title, citation.text) for citation in citations] == [
        (1, WITH.title, WITH.text)
    ]
    assert events[0].accepted.region == "eu-test-1"
    assert events[0].accepted.passages == 2
    assert events[-2].usage.prompt_tokens == 100
    assert events[-1].finished.reason == chat_pb2.FINISH_REASON_STOP
    assert events[-1].finished.timing.total_us >= events[-1].finished.timing.first_text_us > 0


async def test_complete_gives_the_same_at_once(ready: Stage) -> None:
    response = await ready.stub.Complete(
        CompleteRequest(chat=ChatRequest(text=QUESTION)), metadata=ready.issuer.metadata()
    )
    assert response.text.startswith("The with statement wraps")
    assert [citation.number for citation in response.citations] == [1]
    assert response.reason == chat_pb2.FINISH_REASON_STOP


async def test_the_callers_token_request_id_and_deadline_reach_every_peer(ready: Stage) -> None:
    metadata = (*ready.issuer.metadata(tenant="umbrella", roles=("reader",)), ("x-request-id", "r-42"))
    request = ChatRequest(text=QUESTION, conversation_id=CONVERSATION)
    await read(chat(ready, request, metadata=metadata, timeout=5))
    await ready.eventually(lambda: ready.peers.entries)
    assert {name for name, _, _ in ready.peers.callers} == {
        "check",
        "reserve",
        "history",
        "search",
        "append",
        "settle",
        "audit",
    }
    assert {(tenant, request_id) for _, tenant, request_id in ready.peers.callers} == {("umbrella", "r-42")}
    assert all(left < 10 for left in ready.peers.deadlines)
    assert ready.peers.params[0]["cache_key"] == "umbrella"


async def test_the_conversation_is_stored_with_its_citations(ready: Stage) -> None:
    await read(chat(ready, ChatRequest(text=QUESTION, conversation_id=CONVERSATION)))
    question, answer = ready.peers.messages
    assert (question.role, question.text) == (message_pb2.MESSAGE_ROLE_USER, QUESTION)
    assert (answer.role, answer.partial) == (message_pb2.MESSAGE_ROLE_ASSISTANT, False)
    assert answer.citations[0].document_id == WITH.document_id
    assert uuid.UUID(question.request_id) != uuid.UUID(answer.request_id)


async def test_filters_and_parameters_reach_search_and_model(ready: Stage) -> None:
    request = ChatRequest(
        text=QUESTION,
        parameters=chat_pb2.GenerationParameters(
            max_tokens=33, temperature=0.5, top_p=0.9, seed=2**32 - 1, stop=["END"]
        ),
        grounding=chat_pb2.Grounding(passages=1, document_ids=[PASS.document_id], labels={"team": "core"}),
    )
    events = await read(chat(ready, request))
    assert events[0].accepted.passages == 1
    (search,) = ready.peers.searches
    assert list(search.filter.document_ids) == [PASS.document_id]
    assert dict(search.filter.labels) == {"team": "core"}
    params = ready.peers.params[0]
    assert (params["max_tokens"], params["temperature"], params["seed"]) == (33, 0.5, 2**32 - 2)
    assert params["stop"][0] == "END"


async def test_a_client_that_goes_away_stops_the_model() -> None:
    peers = Peers(token_pause=0.02, tokens=[f"word{index} " for index in range(500)])
    async with stage(peers) as built:
        call = chat(built, ChatRequest(text=QUESTION, conversation_id=CONVERSATION))
        async for event in call:
            if event.HasField("text_delta"):
                break
        assert peers.streaming == 1
        call.cancel()
        await built.eventually(lambda: peers.streaming == 0, 10)
        assert peers.cancelled, "it was stopped, it did not come to its end"
        assert peers.sent < len(peers.tokens)
        await built.eventually(lambda: peers.settled and len(peers.messages) == 2 and peers.entries)
        assert peers.messages[1].partial
        assert next(iter(peers.settled.values())) >= 1
        assert peers.entries[0].attributes["ending"] == "cancelled"


async def test_a_client_that_goes_away_before_the_model_begins_settles_too() -> None:
    peers = Peers(pauses={"search": 5.0})
    async with stage(peers) as built:
        call = chat(built)
        reading = asyncio.create_task(refused(call))
        await built.eventually(lambda: peers.reserved)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await built.eventually(lambda: peers.settled and peers.entries)
        assert list(peers.settled.values()) == [0]
        assert peers.prompts == []


async def test_a_deadline_in_the_middle_ends_with_our_error_and_keeps_what_was_sent() -> None:
    peers = Peers(token_pause=0.05, tokens=[f"word{index} " for index in range(500)])
    async with stage(peers) as built:
        request = ChatRequest(text=QUESTION, conversation_id=CONVERSATION)
        code, reason, events = await refused(chat(built, request, timeout=0.6))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason == "DEADLINE_EXCEEDED"
        assert any(event.HasField("text_delta") for event in events)
        await built.eventually(lambda: peers.settled and len(peers.messages) == 2)
        assert peers.streaming == 0
        assert peers.messages[1].partial


async def test_a_slow_reader_gets_the_whole_text_in_fewer_deltas() -> None:
    # More than the two ends of the connection take in by themselves, the reader's window being fixed.
    tokens = ["".join(f"w{index}x{word} " for word in range(60)) for index in range(300)]
    peers = Peers(tokens=tokens)
    async with stage(peers) as built:
        text, deltas = "", 0
        async for event in chat(await built.reader(bdp_probe=0, lookahead_bytes=16_384)):
            if event.HasField("text_delta"):
                assert event.text_delta.offset == len(text)
                text += event.text_delta.text
                deltas += 1
                if deltas == 1:
                    await built.eventually(lambda: peers.sent == len(tokens), seconds=20)
        assert text == "".join(peers.tokens).rstrip()
        assert deltas < len(tokens)


async def test_a_model_error_after_text_leaves_the_text_and_ends_in_a_status() -> None:
    peers = Peers(tokens=[f"word{index} " for index in range(500)], token_pause=0.01)
    async with stage(peers) as built:
        call = chat(built)
        reading = asyncio.create_task(refused(call))
        await built.eventually(lambda: peers.sent > 5)
        await built.stop("triton")
        code, reason, events = await reading
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
        assert any(event.HasField("text_delta") for event in events)
        assert not any(event.HasField("finished") for event in events)
        await built.eventually(lambda: peers.settled)


async def test_overload_is_resource_exhausted_and_says_when_to_come_back(ready: Stage) -> None:
    ready.peers.model_error = "overloaded: 32 requests wait"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(chat(ready))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(caught.value) == "OVERLOADED"
    assert details_of(caught.value, error_details_pb2.RetryInfo()).retry_delay.seconds >= 1


async def test_a_dead_model_is_unavailable(ready: Stage) -> None:
    ready.peers.dead = True
    code, reason, _ = await refused(chat(ready))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
    await ready.eventually(lambda: ready.peers.settled)
    assert list(ready.peers.settled.values()) == [0]


@pytest.mark.parametrize("name", ["policy", "retrieval"])
async def test_a_lost_peer_is_unavailable_and_never_internal(ready: Stage, name: str) -> None:
    await ready.stop(name)
    code, reason, events = await refused(chat(ready))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE")
    assert events == []


async def test_the_loss_of_the_session_service_leaves_chats_without_a_conversation(ready: Stage) -> None:
    await ready.stop("session")
    code, reason, _ = await refused(chat(ready, ChatRequest(text=QUESTION, conversation_id=CONVERSATION)))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE")
    assert (await read(chat(ready)))[-1].HasField("finished")


async def test_a_policy_that_denies_is_obeyed_and_its_rule_kept_to_itself(ready: Stage) -> None:
    ready.peers.denied = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(chat(ready))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "rule 7" not in str(caught.value)
    assert ready.peers.prompts == []


async def test_a_caller_without_a_role_never_gets_past_the_gateway(ready: Stage) -> None:
    code, reason, _ = await refused(chat(ready, metadata=ready.issuer.metadata(roles=("guest",))))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert ready.peers.callers == []


async def test_an_exhausted_quota_is_passed_on(ready: Stage) -> None:
    ready.peers.quota = 1
    code, reason, _ = await refused(chat(ready))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")


@pytest.mark.parametrize(
    "request_, field",
    [
        (ChatRequest(), "text"),
        (ChatRequest(text=" \n"), "text"),
        (ChatRequest(text="x" * 16_385), "text"),
        (ChatRequest(text="x", conversation_id="no-uuid"), "conversation_id"),
        (
            ChatRequest(text="x", parameters=chat_pb2.GenerationParameters(temperature=9)),
            "parameters.temperature",
        ),
    ],
)
async def test_bad_requests_name_the_field(ready: Stage, request_: ChatRequest, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(chat(ready, request_))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = details_of(caught.value, error_details_pb2.BadRequest()).field_violations
    assert [violation.field for violation in violations] == [field]


async def test_models_are_listed_with_their_state(ready: Stage) -> None:
    listed = await ready.stub.ListModels(ListModelsRequest(), metadata=ready.issuer.metadata())
    assert [(model.id, model.kind, model.ready) for model in listed.models] == [
        ("generator", chat_pb2.MODEL_KIND_GENERATOR, True),
        ("embedder", chat_pb2.MODEL_KIND_EMBEDDER, True),
    ]
    ready.peers.dead = True
    # What was found out before holds for a moment.
    async with asyncio.timeout(30):
        while any(model.ready for model in listed.models):
            await asyncio.sleep(0.1)
            listed = await ready.stub.ListModels(ListModelsRequest(), metadata=ready.issuer.metadata())


async def test_a_dead_model_is_told_by_health_and_so_is_its_coming_back(ready: Stage) -> None:
    health = health_pb2_grpc.HealthStub(ready.channel)

    async def becomes(status: Any) -> None:
        # Without the generator nothing is answered, so the whole says so, too.
        for name in ("dependency:generator", "dependency:embedder", ""):
            async with asyncio.timeout(30):
                while (await health.Check(health_pb2.HealthCheckRequest(service=name))).status != status:
                    await asyncio.sleep(0.1)

    await becomes(health_pb2.HealthCheckResponse.SERVING)
    ready.peers.dead = True
    await becomes(health_pb2.HealthCheckResponse.NOT_SERVING)
    ready.peers.dead = False
    await becomes(health_pb2.HealthCheckResponse.SERVING)


async def test_an_overloaded_model_is_not_called_dead(ready: Stage) -> None:
    ready.peers.model_error = "overloaded: 32 requests wait"
    probes = ready.peers.probes
    await ready.eventually(lambda: ready.peers.probes >= probes + 2, 30)
    listed = await ready.stub.ListModels(ListModelsRequest(), metadata=ready.issuer.metadata())
    assert all(model.ready for model in listed.models)


async def test_an_unknown_model_is_not_found(ready: Stage) -> None:
    code, reason, _ = await refused(chat(ready, ChatRequest(text=QUESTION, model="gpt-99")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_texts_are_embedded_in_order_and_charged(ready: Stage) -> None:
    texts = [f"text {index}" for index in range(40)]
    response = await ready.stub.Embed(EmbedRequest(texts=texts), metadata=ready.issuer.metadata())
    assert len(response.embeddings) == 40
    assert list(response.embeddings[0].values) == [1.0, 0.0]
    assert response.model == "embedder"
    await ready.eventually(lambda: ready.peers.settled)
    assert next(iter(ready.peers.settled.values())) >= 80


async def test_embedding_is_refused_as_chat_is(ready: Stage) -> None:
    ready.peers.denied = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ready.stub.Embed(EmbedRequest(texts=["x"]), metadata=ready.issuer.metadata())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ready.stub.Embed(EmbedRequest(texts=["x", " "]), metadata=ready.issuer.metadata())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(caught.value, error_details_pb2.BadRequest()).field_violations[0].field == "texts[1]"


async def test_health_tells_which_peer_is_gone(ready: Stage) -> None:
    health = health_pb2_grpc.HealthStub(ready.channel)

    async def state(name: str) -> int:
        reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
        return int(reply.status)

    serving, not_serving = 1, 2
    assert [await state(name) for name in ("", "dependency:session", "dependency:generator")] == [serving] * 3
    await ready.stop("session")
    async with asyncio.timeout(10):
        while await state("dependency:session") == serving:
            await asyncio.sleep(0.05)
    assert await state("") == serving
    ready.peers.dead = True
    async with asyncio.timeout(10):
        while await state("dependency:generator") == serving:
            await asyncio.sleep(0.05)
    assert await state("") == not_serving


async def test_nothing_owed_is_lost_when_the_gateway_stops() -> None:
    peers = Peers(pauses={"audit": 0.3, "settle": 0.3})
    async with stage(peers, ChatSettings()) as built:
        await read(chat(built))
    assert len(peers.entries) == 1
    assert len(peers.settled) == 1


async def test_many_chats_at_once_each_get_their_own_answer(ready: Stage) -> None:
    async def one(index: int) -> str:
        request = ChatRequest(text=QUESTION, request_id=str(uuid.UUID(int=index)))
        return "".join(event.text_delta.text for event in await read(chat(ready, request)))

    answers = await asyncio.gather(*(one(index) for index in range(40)))
    assert len({answer.replace(" .", ".") for answer in answers}) == 1
    assert answers[0].replace(" .", ".") == ANSWER
    await ready.eventually(lambda: len(ready.peers.settled) == 40)
    assert ready.peers.reserved == {}
