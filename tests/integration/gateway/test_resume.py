"""Streams that break between real servers: the model's, and the client's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from support.gate import Gate

from causeway.gateway.v1 import chat_pb2
from causeway.gateway.v1.chat_service_pb2 import (
    RESUME_REASON_MODEL_LOST,
    RESUME_REASON_STREAM_LOST,
    ChatRequest,
    ChatResponse,
    CompleteRequest,
    ResumePoint,
)
from cli.stream import Patience, read_async
from fakes.gateway_peers import Peers, Stage, stage
from fakes.tokens import Issuer
from services.gateway.settings import ChatSettings

QUESTION = "What does the with statement do?"
CONVERSATION = "6d3f0a1c-8a52-4a35-9b5c-0f3c2a3f7a01"
QUICK = ChatSettings(retry_pause=timedelta(milliseconds=5), resume_timeout=timedelta(seconds=1))
WHOLE = "The with statement wraps the execution of a block with methods defined by a context manager ."


@dataclass
class Front:
    """What people are given: the gateways of two regions, tried in turn, the first behind a gate."""

    first: Stage
    second: Stage
    gate: Gate
    channel: grpc.aio.Channel
    calls: int = 0

    def call(self, request: ChatRequest, timeout: float) -> Any:
        """One attempt."""
        self.calls += 1
        metadata = self.first.issuer.metadata(roles=("reader",))
        if self.calls == 1:
            method = self.channel.unary_stream(
                "/causeway.gateway.v1.ChatService/Chat",
                request_serializer=ChatRequest.SerializeToString,
                response_deserializer=ChatResponse.FromString,
            )
            return method(request, timeout=timeout, metadata=metadata)
        return self.second.stub.Chat(request, timeout=timeout, metadata=metadata)


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    """Two gateways that share a key, a token issuer and their peers."""
    issuer = Issuer()
    async with AsyncExitStack() as stack:
        peers = Peers(token_pause=0.004)
        first = await stack.enter_async_context(stage(peers, QUICK, issuer=issuer, region="us-west-2"))
        second = await stack.enter_async_context(stage(peers, QUICK, issuer=issuer, region="us-east-1"))
        gate = await stack.enter_async_context(Gate(int(first.address.rpartition(":")[2])))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{gate.port}"))
        yield Front(first, second, gate, channel)


def text_of(events: list[ChatResponse]) -> str:
    """The text; fails when an offset does not follow."""
    text = ""
    for event in events:
        if event.HasField("text_delta"):
            assert event.text_delta.offset == len(text)
            text += event.text_delta.text
        if event.HasField("resumed"):
            assert event.resumed.offset == len(text)
    return text


async def read(
    front: Front, request: ChatRequest, lose: Callable[[list[ChatResponse]], bool]
) -> list[ChatResponse]:
    """The events of an answer, whose first gateway is lost once ``lose`` says so."""
    events: list[ChatResponse] = []
    async for event in read_async(front.call, request, 20, Patience(first_pause=0.01)):
        events.append(event)
        if front.calls == 1 and lose(events):
            await front.gate.shut()
    return events


@pytest.mark.parametrize("count", [1, 2, 5, 9, 14])
async def test_an_answer_survives_the_loss_of_its_gateway(front: Front, count: int) -> None:
    request = ChatRequest(text=QUESTION, conversation_id=CONVERSATION)
    events = await read(front, request, lambda seen: len(seen) >= count)
    assert text_of(events) == WHOLE
    assert front.calls == 2
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.count("accepted") == kinds.count("citation") == kinds.count("resumed") == 1
    resumed = next(event.resumed for event in events if event.HasField("resumed"))
    assert (resumed.region, resumed.reason) == ("us-east-1", RESUME_REASON_STREAM_LOST)
    usage = next(event.usage for event in events if event.HasField("usage"))
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, len(front.first.peers.tokens))
    peers = front.first.peers
    await front.first.eventually(lambda: not peers.reserved)
    whole = [message for message in peers.messages if not message.partial]
    assert {message.text for message in whole} == {QUESTION, WHOLE}


@pytest.mark.parametrize("token", [1, 3, 8, 15])
async def test_an_answer_survives_the_loss_of_its_model(token: int) -> None:
    peers = Peers(breaks=[token], model_region="us-east-1")
    async with stage(peers, QUICK) as built:
        call = built.stub.Chat(ChatRequest(text=QUESTION), metadata=built.issuer.metadata())
        events = [event async for event in call]
    assert text_of(events) == WHOLE
    (resumed,) = [event.resumed for event in events if event.HasField("resumed")]
    assert (resumed.region, resumed.reason) == ("us-east-1", RESUME_REASON_MODEL_LOST)
    assert peers.prompts[1][:-1] == peers.prompts[0]
    assert peers.prompts[1][-1] == {"role": "assistant", "content": "".join(peers.tokens[:token]).rstrip()}
    assert peers.params[1] == {**peers.params[0], "continue_from": token}


async def test_an_answer_survives_the_loss_of_its_model_and_then_of_its_gateway(front: Front) -> None:
    front.first.peers.breaks = [4, 99, 13]
    events = await read(front, ChatRequest(text=QUESTION), lambda seen: len(seen) >= 8)
    assert text_of(events) == WHOLE
    reasons = [event.resumed.reason for event in events if event.HasField("resumed")]
    assert reasons == [RESUME_REASON_MODEL_LOST, RESUME_REASON_STREAM_LOST, RESUME_REASON_MODEL_LOST]


async def test_every_delta_says_how_many_tokens_it_took(front: Front) -> None:
    events = await read(front, ChatRequest(text=QUESTION), lambda seen: len(seen) >= 6)
    counts = [event.text_delta.tokens for event in events if event.HasField("text_delta")]
    assert counts == sorted(counts)
    assert counts[-1] == len(front.first.peers.tokens)


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a failed call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [event async for event in call]
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(caught.value)
    assert any(item.Unpack(info) for item in status.details)
    return caught.value.code(), str(info.reason)


async def test_a_made_up_token_is_refused(front: Front) -> None:
    request = ChatRequest(text=QUESTION, resume=ResumePoint(token=b"x" * 105, text="The with"))
    call = front.second.stub.Chat(request, metadata=front.first.issuer.metadata())
    refused = (grpc.StatusCode.FAILED_PRECONDITION, "ERROR_REASON_NOT_RESUMABLE")
    assert await reason_of(call) == refused


@pytest.mark.parametrize(
    "point",
    [
        ResumePoint(),
        ResumePoint(token=b"x" * 513),
        ResumePoint(token=b"x", text="x" * 262_145),
        ResumePoint(token=b"x", tokens=-1),
    ],
    ids=["no token", "long token", "long text", "tokens"],
)
async def test_a_resume_point_has_limits(front: Front, point: ResumePoint) -> None:
    request = ChatRequest(text=QUESTION, resume=point)
    call = front.second.stub.Chat(request, metadata=front.first.issuer.metadata())
    assert await reason_of(call) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_REQUEST")


async def test_an_answer_that_is_given_at_once_cannot_be_resumed(front: Front) -> None:
    chat = ChatRequest(text=QUESTION, resume=ResumePoint(token=b"x"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await front.second.stub.Complete(CompleteRequest(chat=chat), metadata=front.first.issuer.metadata())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_twenty_streams_survive_the_loss_of_their_gateway(front: Front) -> None:
    async def one(index: int) -> str:
        calls = 0

        def call(request: ChatRequest, timeout: float) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                return front.second.stub.Chat(
                    request, timeout=timeout, metadata=front.first.issuer.metadata()
                )
            front.calls = 0
            return front.call(request, timeout)

        request = ChatRequest(text=QUESTION, grounding=chat_pb2.Grounding(disabled=True))
        request.parameters.max_tokens = 50 + index
        return text_of([event async for event in read_async(call, request, 20)])

    answers = [asyncio.create_task(one(index)) for index in range(20)]
    await front.first.eventually(lambda: front.first.peers.sent > 60)
    await front.gate.shut()
    assert set(await asyncio.gather(*answers)) == {WHOLE}
