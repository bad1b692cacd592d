"""The synthetic model's parameters, the replies' form, and the wire format of requests."""

from __future__ import annotations

import json
import struct
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triton_models.client import chat_request, embed_request, raw_chat_request
from triton_models.errors import EngineError, InvalidInputError, OverloadedError
from triton_models.runtime import reply as reply_module
from triton_models.runtime.backend import one_value
from triton_models.runtime.engine import Completion, EngineState, Usage
from triton_models.runtime.reply import TritonReply
from triton_models.runtime.synthetic_model import Pace, parse_pace


def test_a_pace_is_read_and_the_generators_parameters_are_tolerated() -> None:
    assert parse_pace(b'{"tokens": 3, "interval_ms": 0.5, "first_ms": 7}', 10.0) == Pace(
        tokens=3, interval_ms=0.5, first_ms=7.0
    )
    assert parse_pace(b'{"max_tokens": 9, "temperature": 1}', 10.0).tokens == 9
    assert parse_pace(None, 25.0) == Pace(interval_ms=25.0)


@pytest.mark.parametrize(
    "raw", [b"[]", b"x", b'{"tokens": 0}', b'{"tokens": "1"}', b'{"interval_ms": -1}', b'{"first_ms": 1e9}']
)
def test_a_wrong_pace_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInputError, match="PARAMS"):
        parse_pace(raw, 10.0)


def test_byte_tensors_carry_each_elements_length_first() -> None:
    request = embed_request(["a", "öl"])
    assert request.raw_input_contents[0] == struct.pack("<I", 1) + b"a" + struct.pack("<I", 3) + "öl".encode()
    assert list(request.inputs[0].shape) == [2, 1]


def test_an_input_can_be_left_out_or_be_any_bytes() -> None:
    assert [tensor.name for tensor in raw_chat_request(b"\xff", None).inputs] == ["MESSAGES"]
    assert [tensor.name for tensor in chat_request([]).inputs] == ["MESSAGES", "PARAMS"]


class FakeError:
    """Triton's error, as data."""

    INVALID_ARG = "invalid"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    INTERNAL = "internal"

    def __init__(self, text: str, code: str) -> None:
        self.text, self.code = text, code


class FakeBackend:
    """Triton's module, as data."""

    TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.tensor: Any = None
        self.TritonError: Any = FakeError
        self.MetricFamily: Any = None
        self.Logger: Any = SimpleNamespace(log_error=self.logged.append)
        self.Tensor: Any = lambda name, values: (name, values.reshape(-1)[0])

    def InferenceResponse(self, output_tensors: Any = (), error: Any = None) -> Any:
        return error or dict(output_tensors)

    def get_input_tensor_by_name(self, request: Any, name: str) -> Any:
        return self.tensor


class FakeSender:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, int]] = []

    def send(self, response: Any = None, flags: int = 0) -> None:
        self.sent.append((response, flags))

    def is_cancelled(self) -> bool:
        return True


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def ends() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def reply(backend: FakeBackend, sender: FakeSender, ends: list[tuple[str, int]]) -> TritonReply:
    return TritonReply(backend, sender, lambda how, tokens: ends.append((how, tokens)))


def test_a_stream_is_pieces_and_one_final_response(
    reply: TritonReply, sender: FakeSender, ends: list[tuple[str, int]]
) -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=0, timings={})
    reply.text("a")
    reply.finish(Completion(finish_reason="stop", usage=usage))
    assert [flags for _, flags in sender.sent] == [0, 1]
    assert sender.sent[0][0] == {"TEXT": b"a"}, "an output that says nothing is left out"
    assert json.loads(sender.sent[1][0]["USAGE"])["completion_tokens"] == 2
    assert ends == [("stop", 2)]


def test_nothing_is_sent_after_the_end(reply: TritonReply, sender: FakeSender) -> None:
    reply.fail(InvalidInputError("F", "wrong"))
    reply.text("late")
    reply.fail(OverloadedError(1, 1))
    assert len(sender.sent) == 1
    assert not reply.is_cancelled()  # the sender must not be asked any more


@pytest.mark.parametrize(
    "error, code, text",
    [
        (InvalidInputError("F", "wrong"), "invalid", "invalid_argument: F: wrong"),
        (OverloadedError(3, 3), "unavailable", "overloaded: 3 requests already wait for the model (limit 3)"),
        (EngineError("secret path"), "internal", "internal: the model failed; its log has the cause"),
        (KeyError("secret"), "internal", "internal: the model failed; its log has the cause"),
    ],
)
def test_errors_keep_their_kind_and_only_ours_keep_their_text(
    reply: TritonReply, sender: FakeSender, backend: FakeBackend, error: Exception, code: str, text: str
) -> None:
    reply.fail(error)
    sent = sender.sent[0][0]
    assert (sent.code, sent.text) == (code, text)
    assert bool(backend.logged) == (code == "internal")


def test_a_silent_stream_sends_a_sign_of_life_once_a_second(
    reply: TritonReply, sender: FakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_module, "SIGN_OF_LIFE_SECONDS", 0.05)
    reply.alive()
    assert sender.sent == []
    time.sleep(0.06)
    reply.alive()
    reply.alive()
    assert [response["TEXT"] for response, _ in sender.sent] == [b""]


def test_a_probe_is_answered_with_the_engines_counts(reply: TritonReply, sender: FakeSender) -> None:
    reply.state(EngineState(processing=1, deferred=0, tokens=5, steps=7), 4)
    response, flags = sender.sent[0]
    counts = {"processing": 1, "deferred": 0, "tokens": 5, "steps": 7, "waiting": 4}
    assert json.loads(response["USAGE"]) == counts
    assert (response["FINISH_REASON"], flags) == (b"probe", 1)


@pytest.mark.parametrize("count", [0, 2])
def test_an_input_with_more_or_less_than_one_value_is_refused(backend: FakeBackend, count: int) -> None:
    class Values:
        def as_numpy(self) -> Any:
            return np.array([b"x"] * count, dtype=np.object_)

    backend.tensor = Values()
    with pytest.raises(InvalidInputError, match=f"one value, got {count}"):
        one_value(backend, None, "TEXT")  # type: ignore[arg-type]
