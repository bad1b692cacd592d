"""Reading the engine's stream of events."""

from __future__ import annotations

from typing import Any

import pytest

from triton_models.errors import CancelledByClientError, EngineError, InvalidInputError, PromptTooLongError
from triton_models.runtime.engine import Completion, EventReader, Usage

END: dict[str, Any] = {
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    "timings": {"cache_n": 4, "prompt_ms": 1.5, "predicted_ms": 2.5},
}


def delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def read(events: list[dict[str, Any]], *, cancelled_after: int = 1000) -> tuple[str, Completion]:
    pieces: list[str] = []
    seen = 0

    def is_cancelled() -> bool:
        return seen > cancelled_after

    reader = EventReader(pieces.append, is_cancelled)
    for event in events:
        seen += 1
        if reader.take(event):
            break
    return "".join(pieces), reader.completion()


def test_text_end_and_usage_are_read() -> None:
    text, completion = read([delta(None), delta("Hello"), delta(" there"), delta(None, "stop"), END])
    assert text == "Hello there"
    assert completion == Completion(
        finish_reason="stop",
        usage=Usage(
            prompt_tokens=9,
            completion_tokens=2,
            cached_tokens=4,
            timings={"prompt_ms": 1.5, "generation_ms": 2.5},
        ),
    )


def test_a_caller_that_goes_away_stops_the_engine_at_the_next_event() -> None:
    with pytest.raises(CancelledByClientError):
        read([delta("a"), delta("b"), delta("c")], cancelled_after=1)


def test_a_failing_receiver_stops_the_engine_and_is_heard() -> None:
    def fail(piece: str) -> None:
        raise ConnectionError(piece)

    reader = EventReader(fail, lambda: False)
    assert reader.take(delta("a"))
    with pytest.raises(ConnectionError):
        reader.completion()


def test_a_stream_that_ends_without_a_reason_is_an_error() -> None:
    with pytest.raises(EngineError, match="without saying why"):
        read([delta("a")])


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers() -> None:
    error = {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 6031, "n_ctx": 3072}
    with pytest.raises(PromptTooLongError) as caught:
        read([{"error": error}])
    assert str(caught.value) == "prompt_too_long: MESSAGES: 6031 tokens are more than the limit of 3072"


@pytest.mark.parametrize(
    "message, field",
    [
        ("failed to parse grammar", "PARAMS.grammar"),
        ("JSON schema error at #: unrecognized type", "PARAMS.response_format"),
        ("something about the conversation", "MESSAGES"),
    ],
)
def test_what_the_engine_refuses_is_the_callers_error_with_a_field(message: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read([{"error": {"type": "invalid_request_error", "message": message}}])
    assert caught.value.field == field


def test_any_other_error_of_the_engine_is_not_the_callers() -> None:
    with pytest.raises(EngineError, match="internal: out of memory"):
        read([{"error": {"type": "server_error", "message": "out of memory"}}])
