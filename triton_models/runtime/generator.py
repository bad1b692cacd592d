"""Admits, pins and runs requests on the engine: everything about the generator except Triton.

One worker thread per engine slot takes requests from a bounded line. A caller that goes away is noticed in
every phase: while waiting (a watch thread asks), while the prompt is processed and while text is generated
(the engine's callbacks ask). A killed process cannot tell its callers anything, and Triton leaves their
streams open; so a request without text yet sends a sign of life every second, and silence means death.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from triton_models.errors import CancelledByClientError
from triton_models.runtime.admission import WaitingLine
from triton_models.runtime.engine import Completion, EngineState
from triton_models.runtime.messages import ControlTokenGuard, remembered_text
from triton_models.runtime.params import Message, Params, check_continuation, parse_messages, parse_params
from triton_models.runtime.settings import GeneratorSettings
from triton_models.runtime.slots import SlotTable

_WATCH_INTERVAL = 0.04
"""Seconds between looks at waiting requests: well inside the 100 ms a departed caller may cost."""


class Reply(Protocol):
    """Where one request's answer goes. Exactly one of ``finish``, ``state`` and ``fail`` ends it."""

    def text(self, piece: str) -> None:
        """A piece of the answer."""
        ...

    def alive(self) -> None:
        """There is no text yet, but the request is not forgotten; called often."""
        ...

    def finish(self, completion: Completion) -> None:
        """The answer is complete."""
        ...

    def state(self, engine: EngineState, waiting: int) -> None:
        """The answer to a probe."""
        ...

    def fail(self, error: Exception) -> None:
        """There will be no (further) answer."""
        ...

    def is_cancelled(self) -> bool:
        """Whether the caller went away."""
        ...


class AnswersChats(Protocol):
    """What the generator needs of an engine; ``triton_models.runtime.engine.Engine`` is it."""

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
        """One answer; blocks until it is complete."""
        ...

    def state(self) -> EngineState:
        """The engine's own count of its work."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    messages: tuple[Message, ...]
    params: Params
    reply: Reply
    submitted: float = field(default_factory=time.monotonic)

    def is_cancelled(self) -> bool:
        return self.reply.is_cancelled()


class Generator:
    """The generator. ``open`` starts its threads, ``close`` ends them."""

    def __init__(self, engine: AnswersChats, settings: GeneratorSettings) -> None:
        self._engine = engine
        self._guard = ControlTokenGuard(settings.control_tokens)
        self._line: WaitingLine[_Job] = WaitingLine(settings.slots, settings.queue)
        self._slots = SlotTable(settings.slots)
        self._slots_lock = threading.Lock()
        self._workers = settings.slots
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        """Starts the workers and the watch over waiting requests."""
        targets: list[Callable[[], None]] = [self._work] * self._workers + [self._watch]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def submit(self, messages: bytes | None, params: bytes | None, reply: Reply) -> None:
        """Checks a request and queues it; the answer comes through ``reply``, from another thread.

        Raises ``InvalidInputError`` and ``OverloadedError`` at once.
        """
        checked = parse_params(params)
        if checked.probe:
            # On a thread of its own: it must be answered when every worker is busy.
            threading.Thread(target=self._probe, args=(reply,), daemon=True).start()
            return
        parsed = parse_messages(messages)
        check_continuation(parsed, checked)
        self._line.put(_Job(self._guard.clean(parsed), checked, reply))

    def close(self) -> None:
        """Fails what waits and lets what runs go; returns when the workers have ended."""
        self._stopping.set()
        for job in self._line.close():
            job.reply.fail(CancelledByClientError())
        for thread in self._threads:
            thread.join()

    def _probe(self, reply: Reply) -> None:
        try:
            reply.state(self._engine.state(), self._line.waiting)
        except Exception as error:
            reply.fail(error)

    def _work(self) -> None:
        while (job := self._line.take()) is not None:
            try:
                self._run(job)
            except Exception as error:
                job.reply.fail(error)
            finally:
                self._line.done()

    def _run(self, job: _Job) -> None:
        if job.is_cancelled():
            raise CancelledByClientError
        queued = time.monotonic() - job.submitted
        continued = job.params.continue_from is not None
        prompt = remembered_text(job.messages, continued=continued)
        with self._slots_lock:
            lease = self._slots.acquire(job.params.cache_key, prompt)
        if lease is None:
            raise RuntimeError("a worker without a slot: there are as many of one as of the other")
        pieces: list[str] = []

        def on_text(piece: str) -> None:
            pieces.append(piece)
            job.reply.text(piece)

        try:
            completion = self._engine.generate(
                job.messages,
                job.params,
                on_text,
                lambda: self._step(job),
                slot=lease.slot,
                reuse=lease.reuse,
            )
        finally:
            remembered = remembered_text(job.messages, "".join(pieces), continued=continued)
            with self._slots_lock:
                self._slots.release(lease, job.params.cache_key, remembered)
        timings = completion.usage.timings | {"queue_ms": round(queued * 1000, 3)}
        job.reply.finish(replace(completion, usage=replace(completion.usage, timings=timings)))

    def _step(self, job: _Job) -> bool:
        """Between two steps of the engine: whether to stop."""
        job.reply.alive()
        return job.is_cancelled() or self._stopping.is_set()

    def _watch(self) -> None:
        while self._line.wait_until_occupied():
            for job in self._line.snapshot():
                if not job.is_cancelled():
                    job.reply.alive()
                elif self._line.remove(job):
                    job.reply.fail(CancelledByClientError())
            time.sleep(_WATCH_INTERVAL)
