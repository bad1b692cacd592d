"""The gateway before a real Triton whose connections break: the answer is the same as if nothing had been."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import pytest
from integration.triton.harness import Triton
from support.gate import Gate

from causeway.gateway.v1 import chat_pb2
from causeway.gateway.v1.chat_service_pb2 import RESUME_REASON_MODEL_LOST, ChatRequest, ChatResponse
from fakes.gateway_peers import Stage, stage
from services.gateway.settings import ChatSettings, ModelSettings

TOKENS = 24
WHOLE = " ".join(f"word{index}" for index in range(TOKENS))
SETTINGS = ChatSettings(retry_pause=timedelta(milliseconds=20))


@dataclass
class Behind:
    """A gateway whose way to Triton can be broken."""

    stage: Stage
    gate: Gate

    async def ask(self, question: str, breaks: tuple[int, ...] = ()) -> list[ChatResponse]:
        """The events of an answer; the way to the model breaks after so many pieces of text."""
        request = ChatRequest(text=question, grounding=chat_pb2.Grounding(disabled=True))
        request.parameters.max_tokens = TOKENS
        events: list[ChatResponse] = []
        seen = 0
        async for event in self.stage.stub.Chat(request, metadata=self.stage.issuer.metadata(), timeout=60):
            events.append(event)
            seen += event.HasField("text_delta")
            if seen in breaks and event.HasField("text_delta"):
                await self.gate.shut()
                await self.gate.open()
        return events


def text_of(events: list[ChatResponse]) -> str:
    """The text; fails when an offset does not follow."""
    text = ""
    for event in events:
        if event.HasField("text_delta"):
            assert event.text_delta.offset == len(text)
            text += event.text_delta.text
    return text


@pytest.fixture(params=["synthetic", "generator"])
async def behind(request: pytest.FixtureRequest, triton: Triton) -> AsyncIterator[Behind]:
    """A gateway that answers with one of the models."""
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(Gate(triton.ports.grpc))
        models = ModelSettings(generator=request.param, context_tokens=1024)
        built = await stack.enter_async_context(
            stage(chat=SETTINGS, triton=f"127.0.0.1:{gate.port}", models=models)
        )
        yield Behind(built, gate)


async def test_an_answer_that_breaks_anywhere_is_the_same_to_the_byte(behind: Behind) -> None:
    # Greedy, so the generator, too, writes the same text twice.
    question = "Name the days of the week, and say something about each of them."
    whole = await behind.ask(question)
    pieces = sum(event.HasField("text_delta") for event in whole)
    tries = taken_up = 0
    for breaks in (*((piece,) for piece in range(1, pieces, 3)), (2, 7, 11)):
        events = await behind.ask(question, breaks)
        assert text_of(events) == text_of(whole)
        resumed = [event.resumed for event in events if event.HasField("resumed")]
        assert {one.reason for one in resumed} <= {RESUME_REASON_MODEL_LOST}
        assert _cost(events) == _cost(whole)
        tries, taken_up = tries + len(breaks), taken_up + len(resumed)
    # A break near the end may come when the model has written everything.
    assert tries // 2 < taken_up <= tries


@pytest.mark.parametrize("behind", ["synthetic"], indirect=True)
async def test_the_synthetic_answer_is_all_there(behind: Behind) -> None:
    assert text_of(await behind.ask("?", (3, 9))) == WHOLE


def _cost(events: list[ChatResponse]) -> tuple[int, int]:
    (usage,) = [event.usage for event in events if event.HasField("usage")]
    return usage.prompt_tokens, usage.completion_tokens
