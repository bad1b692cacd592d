"""Answers one request of a decoupled Triton model with the tensors TEXT, FINISH_REASON and USAGE."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from triton_models.errors import CancelledByClientError, InvalidInputError, OverloadedError
from triton_models.runtime.backend import Backend, ResponseSender, text_tensor
from triton_models.runtime.engine import Completion, EngineState

SIGN_OF_LIFE_SECONDS = 1.0
"""A stream sends something at least this often, if only an empty TEXT, as long as its model lives."""


class TritonReply:
    """A ``Reply`` over Triton's response sender; ``on_end`` hears the finish reason or the error's class.

    Two threads may use it at once: the one that runs the request and the one that watches those who wait.
    """

    def __init__(self, backend: Backend, sender: ResponseSender, on_end: Callable[[str, int], None]) -> None:
        self._backend = backend
        self._sender = sender
        self._on_end = on_end
        self._lock = threading.Lock()
        self._sent = time.monotonic()
        self._ended = False

    def text(self, piece: str) -> None:
        """One response with a piece of the answer."""
        self._send(self._response(piece, "", ""))

    def alive(self) -> None:
        """One empty piece, unless something was sent within the last second."""
        if time.monotonic() - self._sent >= SIGN_OF_LIFE_SECONDS:
            self.text("")

    def finish(self, completion: Completion) -> None:
        """The last response: how it ended, and what it cost."""
        usage = completion.usage
        self._send(self._response("", completion.finish_reason, json.dumps(asdict(usage))), last=True)
        self._on_end(completion.finish_reason, usage.completion_tokens)

    def state(self, engine: EngineState, waiting: int) -> None:
        """The only response to a probe."""
        self._send(self._response("", "probe", json.dumps({**asdict(engine), "waiting": waiting})), last=True)

    def fail(self, error: Exception) -> None:
        """The last response is an error; its text is safe to show unless it is none of ours."""
        self._send(self._backend.InferenceResponse([], self._error(error)), last=True)
        self._on_end(type(error).__name__, 0)

    def is_cancelled(self) -> bool:
        """Whether Triton knows that the caller went away."""
        with self._lock:
            return not self._ended and self._sender.is_cancelled()

    def _send(self, response: Any, *, last: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = last
            self._sent = time.monotonic()
            self._sender.send(
                response, flags=self._backend.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
            )

    def _response(self, text: str, finish_reason: str, usage: str) -> Any:
        # Each tensor is copied through shared memory, so an output that says nothing is left out.
        ending = {"FINISH_REASON": finish_reason, "USAGE": usage}
        values = {"TEXT": text} | {name: value for name, value in ending.items() if value}
        return self._backend.InferenceResponse(
            [text_tensor(self._backend, name, value) for name, value in values.items()]
        )

    def _error(self, error: Exception) -> Any:
        kinds = self._backend.TritonError
        if isinstance(error, InvalidInputError):
            return kinds(str(error), kinds.INVALID_ARG)
        if isinstance(error, OverloadedError):
            return kinds(str(error), kinds.UNAVAILABLE)
        if isinstance(error, CancelledByClientError):
            return kinds(str(error), kinds.CANCELLED)
        self._backend.Logger.log_error(f"generator: {error!r}")
        return kinds("internal: the model failed; its log has the cause", kinds.INTERNAL)
