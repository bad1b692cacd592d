"""A decoupled model with the generator's tensors and no model behind it, for benchmarks and drills.

PARAMS: ``{"tokens": how many pieces, "interval_ms": time between them, "first_ms": time before the first}``;
without an interval, the one of the model's configuration.

Its text is always the same: ``word0 word1 word2 …``. Asked to go on with a beginning of it
(``continue_from``), it writes the rest from there, at the same pace, and refuses any other beginning: a break
that lost or repeated text does not go unnoticed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from triton_models.errors import CancelledByClientError, InvalidInputError
from triton_models.runtime.backend import Backend, Request, load_backend, one_value
from triton_models.runtime.engine import Completion, Usage
from triton_models.runtime.params import Params, check_continuation, parse_messages
from triton_models.runtime.reply import TritonReply

_MOST_TOKENS = 100_000
_LONGEST_MS = 60_000.0
_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the synthetic model is asked for."""

    tokens: int = _TOKENS
    interval_ms: float
    first_ms: float = 0
    continues: bool = False
    """Whether the last message is the beginning of the answer."""


def parse_pace(raw: bytes | None, interval_ms: float) -> Pace:
    """The pace in PARAMS, with ``interval_ms`` where they do not say; raises ``InvalidInputError``.

    Keys the generator knows are accepted and ignored.
    """
    try:
        value = json.loads(raw or b"{}")
    except ValueError as error:
        raise InvalidInputError("PARAMS", f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInputError("PARAMS", "must be a JSON object")
    tokens: Any = value.get("tokens", value.get("max_tokens", _TOKENS))
    if type(tokens) is not int or not 1 <= tokens <= _MOST_TOKENS:
        raise InvalidInputError("PARAMS.tokens", f"must be an integer from 1 to {_MOST_TOKENS}")
    return Pace(
        tokens=tokens,
        interval_ms=_milliseconds(value, "interval_ms", interval_ms),
        first_ms=_milliseconds(value, "first_ms", 0.0),
        continues=value.get("continue_from") is not None,
    )


def _milliseconds(value: dict[str, Any], name: str, default: float) -> float:
    milliseconds = value.get(name, default)
    if type(milliseconds) not in (int, float) or not 0 <= milliseconds <= _LONGEST_MS:
        raise InvalidInputError(f"PARAMS.{name}", f"must be a number from 0 to {_LONGEST_MS:g}")
    return float(milliseconds)


def word(index: int) -> str:
    """A piece of the text."""
    return f"word{index} "


def begun(raw: bytes | None) -> str:
    """The beginning of the answer, which the last of MESSAGES holds; raises ``InvalidInputError``."""
    messages = parse_messages(raw)
    check_continuation(messages, Params(continue_from=0))
    return messages[-1].content


def pieces(beginning: str, tokens: int) -> tuple[int, Iterator[str]]:
    """How many pieces a beginning has begun, and the pieces that come behind it, up to ``tokens`` in all.

    What is left of a piece that was cut comes with the next one: it was counted when it was begun.

    Raises:
        InvalidInputError: the text does not begin so.
    """
    count, length = 0, 0
    while length < len(beginning):
        piece = word(count)
        if not beginning.startswith(piece[: len(beginning) - length], length):
            raise InvalidInputError("MESSAGES", f"the answer does not begin so: see character {length}")
        count, length = count + 1, length + len(piece)
    rest = word(count - 1)[len(word(count - 1)) - (length - len(beginning)) :] if count else ""
    return count, _joined(rest, range(count, tokens))


def _joined(rest: str, indices: Iterable[int]) -> Iterator[str]:
    for index in indices:
        yield rest + word(index)
        rest = ""
    if rest:
        yield rest


class SyntheticModel:
    """One thread per request; the pace is kept against the clock, so that sending does not slow it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads its pace from the model's configuration."""
        self._backend: Backend = load_backend()
        parameters = json.loads(args["model_config"])["parameters"]
        self._interval_ms = float(parameters["interval_ms"]["string_value"])

    def execute(self, requests: Sequence[Request]) -> None:
        """Starts one stream per request."""
        for request in requests:
            reply = TritonReply(self._backend, request.get_response_sender(), lambda how, tokens: None)
            try:
                pace = parse_pace(one_value(self._backend, request, "PARAMS"), self._interval_ms)
                beginning = begun(one_value(self._backend, request, "MESSAGES")) if pace.continues else ""
                continued, text = pieces(beginning, pace.tokens)
            except InvalidInputError as error:
                reply.fail(error)
                continue
            threading.Thread(target=_stream, args=(reply, pace, continued, text), daemon=True).start()


def _stream(reply: TritonReply, pace: Pace, continued: int, text: Iterator[str]) -> None:
    start = time.monotonic()
    for sent, piece in enumerate(text):
        due = start + (pace.first_ms + sent * pace.interval_ms) / 1000
        if (pause := due - time.monotonic()) > 0:
            time.sleep(pause)
        if reply.is_cancelled():
            reply.fail(CancelledByClientError())
            return
        reply.text(piece)
    taken = (time.monotonic() - start) * 1000
    usage = Usage(
        prompt_tokens=continued,
        completion_tokens=max(0, pace.tokens - continued),
        cached_tokens=0,
        timings={"prompt_ms": pace.first_ms, "generation_ms": round(taken, 3), "queue_ms": 0.0},
        continued_tokens=continued,
    )
    reply.finish(Completion(finish_reason="length", usage=usage))
