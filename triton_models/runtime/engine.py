"""The language model engine: llama.cpp's server, in this process, through ``xllamacpp``.

The engine batches continuously: one thread of its own decodes one step for all busy slots at a time. A call
here blocks its thread for the length of one answer; callbacks come on that same thread.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from triton_models.errors import CancelledByClientError, EngineError, InvalidInputError, PromptTooLongError
from triton_models.runtime.openmp import SPIN_COUNT, SPIN_VARIABLE
from triton_models.runtime.params import Message, Params
from triton_models.runtime.settings import GeneratorSettings

_LONGEST_SOCKET_PATH = 100
"""Linux allows 107 bytes; the engine appends nothing, but other platforms allow less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one answer cost."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens whose work was reused from the slot."""
    timings: dict[str, float]
    """Milliseconds: ``prompt_ms``, ``generation_ms``; whoever queues adds ``queue_ms``."""
    continued_tokens: int = 0
    """Prompt tokens that are the beginning of the answer, when the request went on with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How an answer ended: ``stop`` (the model was done, or a stop string came) or ``length``."""

    finish_reason: str
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The engine's own count of its work."""

    processing: int
    """Requests in slots right now."""
    deferred: int
    """Requests the engine itself holds back; ours never should be, they come with a free slot."""
    tokens: int
    """Tokens generated since the start, of the answers that have ended."""
    steps: int
    """Steps since the start. A busy engine whose count stands still hangs."""


class Engine:
    """One loaded model. ``generate`` and ``state`` may be called from any number of threads."""

    def __init__(self, settings: GeneratorSettings) -> None:
        """Loads the model, which takes a second or more. Raises ``EngineError`` when it cannot be loaded."""
        os.environ.setdefault(SPIN_VARIABLE, SPIN_COUNT)
        import xllamacpp

        try:
            self._server = xllamacpp.Server(_engine_params(xllamacpp, settings))
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"the engine did not load {settings.model.name}: {error}") from error

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
        """Generates one answer, handing its text on piece by piece; a piece is always whole UTF-8 characters.

        ``slot`` pins the engine's slot (-1: any); ``reuse`` lets it keep the prompt that slot remembers.
        ``is_cancelled`` is asked between steps, of the prompt too. Raises ``InvalidInputError`` for what the
        engine refuses, ``CancelledByClientError``, ``EngineError``.
        """
        if params.tokens_left < 1:
            return _used_up(params)
        collector = EventReader(on_text, is_cancelled)
        request = _engine_request(messages, params) | {"id_slot": slot, "cache_prompt": reuse}
        try:
            self._server.handle_chat_completions(request, collector.take)
        except ValueError as error:
            raise _refused(str(error)) from None
        except (TypeError, OverflowError) as error:
            # Everything else is checked before: only a schema may hold numbers of any size.
            raise InvalidInputError("PARAMS.response_format", str(error)) from None
        except RuntimeError as error:
            raise EngineError(f"the engine failed: {error}") from error
        return _with_continued(collector.completion(), params)

    def state(self) -> EngineState:
        """Answered at once, also amid a step; not between two steps if the loop hangs there."""
        metrics = dict(re.findall(r"^llamacpp:(\w+) (\S+)$", self._server.handle_metrics(), re.MULTILINE))
        return EngineState(
            processing=int(float(metrics["requests_processing"])),
            deferred=int(float(metrics["requests_deferred"])),
            tokens=int(float(metrics["tokens_predicted_total"])),
            steps=int(float(metrics["n_decode_total"])),
        )


class EventReader:
    """Reads the engine's stream of events; ``take`` returns True to stop it."""

    def __init__(self, on_text: Callable[[str], None], is_cancelled: Callable[[], bool]) -> None:
        self._on_text = on_text
        self._is_cancelled = is_cancelled
        self._problem: Exception | None = None
        self._finish_reason = ""
        self._last: Mapping[str, Any] = {}

    def take(self, event: Mapping[str, Any]) -> bool:
        """One event: prompt progress, a piece of text, the end, or an error."""
        try:
            if self._is_cancelled():
                raise CancelledByClientError
            self._read(event)
        except Exception as error:
            self._problem = error
            return True
        return False

    def _read(self, event: Mapping[str, Any]) -> None:
        if "error" in event:
            raise _engine_error(event["error"])
        for choice in event.get("choices", ()):
            text = choice["delta"].get("content")
            if text:
                self._on_text(text)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if event.get("usage"):
            self._last = event

    def completion(self) -> Completion:
        """The end of the answer, or the exception that took its place."""
        if self._problem is not None:
            raise self._problem
        if not self._last or not self._finish_reason:
            raise EngineError("the engine ended the answer without saying why")
        usage, timings = self._last["usage"], self._last["timings"]
        return Completion(
            finish_reason=self._finish_reason,
            usage=Usage(
                prompt_tokens=usage["prompt_tokens"],
                completion_tokens=usage["completion_tokens"],
                cached_tokens=timings["cache_n"],
                timings={
                    "prompt_ms": round(timings["prompt_ms"], 3),
                    "generation_ms": round(timings["predicted_ms"], 3),
                },
            ),
        )


def _engine_params(xllamacpp: Any, settings: GeneratorSettings) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(settings.model)
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context
    params.n_batch = params.n_ubatch = settings.batch
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings.threads
    # Nothing of a prompt may outlive its slot: slots.py decides what is reused, and by whom.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.kv_unified = False
    # A full context ends the answer ("length") instead of silently forgetting its beginning.
    params.ctx_shift = False
    # The engine insists on an HTTP server: nobody else can open the socket, and it asks for a key nobody has.
    params.hostnames = [_listen_address(settings)]
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(32)]
    params.n_threads_http = 1
    params.endpoint_slots = params.endpoint_props = params.ui = False
    params.endpoint_metrics = True
    params.verbosity = 0
    return params


def _listen_address(settings: GeneratorSettings) -> str:
    if len(os.fsencode(settings.socket)) > _LONGEST_SOCKET_PATH:
        return "127.0.0.1"
    settings.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.socket.unlink(missing_ok=True)
    return str(settings.socket)


def _used_up(params: Params) -> Completion:
    """The end of an answer whose beginning has all the tokens that it may have: nothing is left to do."""
    continued = params.continue_from or 0
    usage = Usage(
        prompt_tokens=continued,
        completion_tokens=0,
        cached_tokens=0,
        timings={"prompt_ms": 0.0, "generation_ms": 0.0},
        continued_tokens=continued,
    )
    return Completion(finish_reason="length", usage=usage)


def _with_continued(completion: Completion, params: Params) -> Completion:
    usage = completion.usage
    # The caller's count of the beginning may be rough, but no more of the prompt than all of it was answer.
    continued = min(params.continue_from or 0, usage.prompt_tokens)
    return replace(completion, usage=replace(usage, continued_tokens=continued))


def _engine_request(messages: Sequence[Message], params: Params) -> dict[str, Any]:
    request: dict[str, Any] = {
        "messages": [asdict(message) for message in messages],
        "max_tokens": params.tokens_left,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "ignore_eos": params.ignore_eos,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Events while the prompt is processed are the only moments a cancelled prompt can be noticed.
        "return_progress": True,
    }
    if params.continue_from is not None:
        # The last message is left open: no token ends its turn, and none begins another.
        request |= {"continue_final_message": True, "add_generation_prompt": False}
    if params.seed is not None:
        request["seed"] = params.seed
    if params.stop:
        request["stop"] = list(params.stop)
    if params.grammar is not None:
        request["grammar"] = params.grammar
    if params.response_format is not None:
        request["response_format"] = params.response_format
    return request


def _engine_error(error: Mapping[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return PromptTooLongError(error.get("n_prompt_tokens"), error.get("n_ctx"))
    message = str(error.get("message", "unknown"))
    if error.get("type") == "invalid_request_error":
        return _refused(message)
    return EngineError(message)


def _refused(message: str) -> InvalidInputError:
    """The engine's complaint, under the field it is most likely about."""
    lowered = message.lower()
    if "schema" in lowered or "response_format" in lowered:
        return InvalidInputError("PARAMS.response_format", message[:500])
    if "grammar" in lowered:
        return InvalidInputError("PARAMS.grammar", message[:500])
    return InvalidInputError("MESSAGES", message[:500])
