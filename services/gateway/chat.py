"""Answers questions: the core behind Chat and Complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.common.context import current_call, remaining
from services.common.errors import DeadlineExceeded
from services.gateway.delivery import Delivery
from services.gateway.errors import ModelNotFound
from services.gateway.model import Accepted, Answer, Citation, Event, Finished, Question, TextDelta, Usage
from services.gateway.run import ChatRun, Parts

_DEADLINE_SHARE = 0.1
_DEADLINE_MARGIN = 0.1
"""Seconds, or a tenth of what there is if that is less, kept for telling the caller before it stops
waiting."""


class ChatEngine:
    """Answers questions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def chat(self, question: Question) -> AsyncGenerator[Event, None]:
        """The events of an answer. Closing this, or being cancelled in it, stops the model at once.

        Raises:
            DomainError: no answer, or, after the first event, no whole one.
        """
        if question.model not in ("", self._parts.model):
            raise ModelNotFound("no such generator is served", metadata={"model": question.model})
        out = Delivery(self._parts.settings.buffer_chars)
        answering = asyncio.create_task(self._answer(ChatRun(self._parts, question), out))
        try:
            async with aclosing(out.events()) as events:
                async for event in events:
                    yield event
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def complete(self, question: Question) -> Answer:
        """The whole answer.

        Raises:
            DomainError: no whole answer.
        """
        accepted: Accepted | None = None
        finished: Finished | None = None
        usage = Usage()
        texts: list[str] = []
        citations: list[Citation] = []
        async with aclosing(self.chat(question)) as events:
            async for event in events:
                match event:
                    case Accepted():
                        accepted = event
                    case TextDelta():
                        texts.append(event.text)
                    case Citation():
                        citations.append(event)
                    case Usage():
                        usage = event
                    case Finished():
                        finished = event
        if accepted is None or finished is None:
            raise AssertionError("an answer that did not fail has a beginning and an end")
        return Answer(
            accepted=accepted,
            text="".join(texts),
            citations=tuple(citations),
            usage=usage,
            finished=finished,
        )

    async def _answer(self, run: ChatRun, out: Delivery) -> None:
        """Runs to the end; whatever the end is, what is owed is begun, and the reader hears of it."""
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(_time_left()):
                await run.answer(out)
        except TimeoutError as error:
            failure = DeadlineExceeded("the answer took longer than the caller waits")
            failure.__cause__ = error
        except BaseException as error:
            failure = error
            if not isinstance(error, Exception):
                raise
        finally:
            run.end(failure)
            out.close(failure if isinstance(failure, Exception) else None)


def _time_left() -> float | None:
    """Seconds an answer may take so that its error still reaches a caller with a deadline."""
    left = remaining(current_call())
    return None if left is None else left - min(_DEADLINE_MARGIN, left * _DEADLINE_SHARE)
