"""Admission, pinning and cancellation around the engine, with an engine made of Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.wait import until

from triton_models.errors import CancelledByClientError, InvalidInputError, OverloadedError
from triton_models.runtime.engine import Completion, EngineState, Usage
from triton_models.runtime.generator import Generator
from triton_models.runtime.params import Message, Params
from triton_models.runtime.settings import GeneratorSettings

SETTINGS = GeneratorSettings(
    model=Path("none"),
    threads=1,
    slots=2,
    context=64,
    queue=1,
    batch=32,
    socket=Path("none"),
    control_tokens=("<|im_end|>",),
)


class FakeEngine:
    """Answers when told to; records what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Message, ...], int, bool]] = []
        self.go = threading.Event()
        self.fails: Exception | None = None
        self.running = 0

    def generate(
        self,
        messages: Sequence[Message],
        params: Params,
        on_text: Callable[[str], None],
        is_cancelled: Callable[[], bool],
        *,
        slot: int = -1,
        reuse: bool = False,
    ) -> Completion:
        self.calls.append((tuple(messages), slot, reuse))
        self.running += 1
        try:
            while not self.go.wait(0.005):
                if is_cancelled():
                    raise CancelledByClientError
            if self.fails:
                raise self.fails
            on_text("yes")
            usage = Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0, timings={"prompt_ms": 1.0})
            return Completion(finish_reason="stop", usage=usage)
        finally:
            self.running -= 1

    def state(self) -> EngineState:
        return EngineState(processing=self.running, deferred=0, tokens=0, steps=0)


class Answer:
    """A reply that records what it is told."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.ended = threading.Event()
        self.completion: Completion | None = None
        self.error: Exception | None = None
        self.probe: tuple[EngineState, int] | None = None
        self.signs = 0
        self.gone = False

    def text(self, piece: str) -> None:
        self.pieces.append(piece)

    def alive(self) -> None:
        self.signs += 1

    def finish(self, completion: Completion) -> None:
        self.completion = completion
        self.ended.set()

    def state(self, engine: EngineState, waiting: int) -> None:
        self.probe = (engine, waiting)
        self.ended.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended.set()

    def is_cancelled(self) -> bool:
        return self.gone


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def generator(engine: FakeEngine) -> Iterator[Generator]:
    generator = Generator(engine, SETTINGS)
    generator.open()
    yield generator
    generator.close()


def ask(generator: Generator, text: str = "hi", **params: object) -> Answer:
    answer = Answer()
    messages = json.dumps([{"role": "user", "content": text}]).encode()
    generator.submit(messages, json.dumps(params).encode(), answer)
    return answer


def test_an_answer_comes_with_its_usage_and_the_time_it_waited(
    generator: Generator, engine: FakeEngine
) -> None:
    engine.go.set()
    answer = ask(generator)
    assert answer.ended.wait(5)
    assert answer.pieces == ["yes"]
    assert answer.completion is not None
    assert set(answer.completion.usage.timings) == {"prompt_ms", "queue_ms"}


def test_requests_beyond_slots_and_queue_are_refused_and_the_others_answered(
    generator: Generator, engine: FakeEngine
) -> None:
    running = [ask(generator), ask(generator)]
    until(lambda: engine.running == 2)
    waiting = ask(generator)
    with pytest.raises(OverloadedError):
        ask(generator)
    engine.go.set()
    assert all(answer.ended.wait(5) and answer.completion for answer in (*running, waiting))


def test_a_caller_that_leaves_the_line_is_noticed_without_any_slot_coming_free(
    generator: Generator, engine: FakeEngine
) -> None:
    running = [ask(generator), ask(generator)]
    until(lambda: engine.running == 2)
    waiting = ask(generator)
    until(lambda: waiting.signs > 0)
    waiting.gone = True
    assert waiting.ended.wait(5)
    assert isinstance(waiting.error, CancelledByClientError)
    assert not any(answer.ended.is_set() for answer in running)
    assert len(engine.calls) == 2
    ask(generator)  # there is room in the line again


def test_a_caller_that_leaves_while_its_prompt_is_processed_is_noticed(
    generator: Generator, engine: FakeEngine
) -> None:
    answer = ask(generator)
    until(lambda: engine.running == 1)
    answer.gone = True
    assert answer.ended.wait(5)
    assert isinstance(answer.error, CancelledByClientError)
    assert engine.running == 0


def test_two_keys_never_reuse_one_anothers_slot_and_one_key_does(
    generator: Generator, engine: FakeEngine
) -> None:
    engine.go.set()
    for key in ("a", "b", "a", "b", "", "", "a"):
        assert ask(generator, cache_key=key).ended.wait(5)
    reused = [reuse for _, _, reuse in engine.calls]
    # With two slots the keyless requests take the oldest one, which was a's.
    assert reused == [False, False, True, True, False, False, False]


def test_a_failing_request_is_reported_and_its_worker_lives_on(
    generator: Generator, engine: FakeEngine
) -> None:
    engine.go.set()
    engine.fails = RuntimeError("broken")
    for _ in range(4):
        answer = ask(generator)
        assert answer.ended.wait(5)
        assert answer.error is engine.fails
    engine.fails = None
    answer = ask(generator)
    assert answer.ended.wait(5)
    assert answer.completion is not None


def test_control_tokens_never_reach_the_engine(generator: Generator, engine: FakeEngine) -> None:
    engine.go.set()
    assert ask(generator, "a<|im_end|>b").ended.wait(5)
    assert engine.calls[0][0][0].content == "a< |im_end|>b"


def test_a_probe_is_answered_when_every_worker_is_busy(generator: Generator, engine: FakeEngine) -> None:
    for _ in range(3):
        ask(generator)
    until(lambda: engine.running == 2)
    probe = ask(generator, probe=True)
    assert probe.ended.wait(5)
    assert probe.probe == (EngineState(processing=2, deferred=0, tokens=0, steps=0), 1)


def test_wrong_input_is_refused_before_it_waits(generator: Generator, engine: FakeEngine) -> None:
    with pytest.raises(InvalidInputError):
        generator.submit(b"[]", b"{}", Answer())
    assert engine.calls == []


def test_closing_ends_what_runs_and_what_waits(engine: FakeEngine) -> None:
    generator = Generator(engine, SETTINGS)
    generator.open()
    answers = [ask(generator) for _ in range(3)]
    until(lambda: engine.running == 2)
    generator.close()
    assert all(isinstance(answer.error, CancelledByClientError) for answer in answers)
