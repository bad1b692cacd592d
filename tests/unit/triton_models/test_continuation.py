"""Going on with an answer that was begun elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.errors import InvalidInputError
from triton_models.runtime.engine import Completion, Engine, Usage
from triton_models.runtime.messages import remembered_text
from triton_models.runtime.params import (
    MAX_TOKENS_LIMIT,
    Message,
    Params,
    check_continuation,
    parse_params,
)
from triton_models.runtime.synthetic_model import begun, parse_pace, pieces, word

QUESTION = Message(role="user", content="Why?")
BEGUN = Message(role="assistant", content="Because the sky")


def test_where_to_go_on_is_read() -> None:
    params = parse_params(b'{"max_tokens": 20, "continue_from": 7}')
    assert params.continue_from == 7
    assert params.tokens_left == 13
    assert parse_params(b'{"max_tokens": 20}').tokens_left == 20


@pytest.mark.parametrize("value", [-1, MAX_TOKENS_LIMIT + 1, True, "3", 1.0])
def test_a_wrong_place_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="continue_from"):
        parse_params(json.dumps({"continue_from": value}).encode())


@pytest.mark.parametrize(
    "messages", [[QUESTION], [BEGUN, QUESTION], [QUESTION, Message(role="assistant", content="")]]
)
def test_there_must_be_a_beginning_to_go_on_with(messages: list[Message]) -> None:
    with pytest.raises(InvalidInputError, match="continue_from"):
        check_continuation(messages, Params(continue_from=1))
    check_continuation(messages, Params())


def test_a_beginning_and_what_follows_are_remembered_as_one_answer() -> None:
    whole = remembered_text([QUESTION], "Because the sky is blue.")
    assert remembered_text([QUESTION, BEGUN], " is blue.", continued=True) == whole
    assert whole.startswith(remembered_text([QUESTION, BEGUN], continued=True))


class FakeServer:
    """The engine's server: keeps the request and ends at once."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def handle_chat_completions(self, request: dict[str, Any], take: Any) -> None:
        self.requests.append(request)
        take({"choices": [{"delta": {"content": " is"}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 30, "completion_tokens": 1}
        take({"choices": [], "usage": usage, "timings": {"cache_n": 0, "prompt_ms": 1, "predicted_ms": 1}})


def generate(params: Params) -> tuple[FakeServer, Completion, list[str]]:
    """Asks an engine over a fake server."""
    server, texts = FakeServer(), list[str]()
    engine = Engine.__new__(Engine)
    engine._server = server
    return server, engine.generate([QUESTION, BEGUN], params, texts.append, lambda: False), texts


def test_the_engine_is_asked_to_leave_the_last_message_open() -> None:
    server, completion, texts = generate(Params(max_tokens=20, continue_from=7))
    (request,) = server.requests
    assert request["continue_final_message"] is True
    assert request["add_generation_prompt"] is False
    assert request["max_tokens"] == 13
    assert texts == [" is"]
    assert completion.usage.continued_tokens == 7
    assert "continue_final_message" not in generate(Params())[0].requests[0]


def test_more_than_the_prompt_holds_is_not_believed() -> None:
    _, completion, _ = generate(Params(max_tokens=20_000, continue_from=900))
    assert completion.usage.continued_tokens == 30


@pytest.mark.parametrize("said", [20, 25])
def test_an_answer_that_has_all_its_tokens_has_ended(said: int) -> None:
    server, completion, texts = generate(Params(max_tokens=20, continue_from=said))
    assert server.requests == []
    assert texts == []
    assert completion.finish_reason == "length"
    assert completion.usage == Usage(
        prompt_tokens=said,
        completion_tokens=0,
        cached_tokens=0,
        timings={"prompt_ms": 0.0, "generation_ms": 0.0},
        continued_tokens=said,
    )


TOKENS = 12
WHOLE = "".join(map(word, range(TOKENS)))


@given(st.integers(0, len(WHOLE)))
def test_the_synthetic_text_is_the_same_wherever_it_was_cut(cut: int) -> None:
    continued, rest = pieces(WHOLE[:cut], TOKENS)
    assert WHOLE[:cut] + "".join(rest) == WHOLE
    assert continued == len(WHOLE[:cut].split())


@given(st.integers(1, len(WHOLE)), st.integers(0, len(WHOLE) - 1), st.characters())
def test_lost_or_repeated_text_does_not_go_unnoticed(cut: int, at: int, other: str) -> None:
    said = WHOLE[:cut]
    for wrong in (said[: at % cut] + said[at % cut + 1 :], said[: at % cut] + other + said[at % cut :]):
        if WHOLE.startswith(wrong):
            continue
        with pytest.raises(InvalidInputError, match="does not begin so"):
            pieces(wrong, TOKENS)


def test_the_synthetic_model_reads_the_beginning_of_its_answer() -> None:
    assert parse_pace(b'{"continue_from": 0}', 10.0).continues
    assert not parse_pace(b"{}", 10.0).continues
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "word0 wo"}]
    assert begun(json.dumps(messages).encode()) == "word0 wo"
    with pytest.raises(InvalidInputError):
        begun(json.dumps(messages[:1]).encode())
    with pytest.raises(InvalidInputError):
        begun(None)
