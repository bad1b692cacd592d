"""Drives the generator: watches its time, and takes up again what broke off.

Rules:

1. A generation that fails before its first text has had no effect, so it is tried once more; one that was
   refused for overload is not: that is for the caller to decide.
2. One that breaks off later is taken up by another model, which is told what was already said. This is done
   so many times for one answer, and tried so long each time: another model may be busy, or not known yet.
3. No text is lost or repeated: what comes from the next model follows what came from the one before. Blanks
   at the end of what was said are kept from the model, for with them it would not find the beginning of a
   word; when it writes them again, they are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.common.errors import DomainError, ModelUnavailable, Overloaded, PromptTooLong
from services.gateway.ports import Generator, Piece, Prompt
from services.gateway.settings import ChatSettings

_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class TakenUp:
    """The answer had broken off, and another model goes on with it."""

    region: str
    """Where that model is, if the mesh tells."""


async def pieces(
    generator: Generator, prompt: Prompt, settings: ChatSettings
) -> AsyncGenerator[Piece | TakenUp, None]:
    """What the model writes, or several models one after the other. Closing this stops the model.

    Raises:
        ModelUnavailable, Overloaded: no answer, or it broke off and could not be taken up.
        DomainError: the model refused.
    """
    said, patience = _Said(prompt), _Patience(settings)
    while True:
        begun, told = False, not said.here
        try:
            async with aclosing(generator.generate(said.prompt())) as stream:
                limit = settings.stall_timeout if said.here else settings.first_text_timeout
                while (piece := await _next(stream, limit.total_seconds(), begun=said.here)) is not None:
                    if not told:
                        told = True
                        yield TakenUp(piece.region)
                    text = said.add(piece.text)
                    begun = begun or bool(text)
                    limit = settings.stall_timeout if said.here else limit
                    yield replace(piece, text=text)
                return
        except PromptTooLong:
            if not said.here:
                raise
            # What was said has filled the model's context.
            yield Piece("", "length")
            return
        except (ModelUnavailable, Overloaded) as error:
            pause = patience.after(error, begun=begun, said=said.here)
        await asyncio.sleep(pause)


class _Said:
    """What was said so far, and how a model is asked to go on behind it."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._text = prompt.said
        self._tokens = prompt.said_tokens
        self._blanks = 0
        self.here = False
        """Whether some of it was said in this call: text that the caller brought has lost no model."""

    def prompt(self) -> Prompt:
        """For the next model."""
        bare = self._text.rstrip(" ")
        self._blanks = len(self._text) - len(bare)
        return replace(self._prompt, said=bare, said_tokens=self._tokens)

    def add(self, text: str) -> str:
        """What is new in the model's next text."""
        if self._blanks and text:
            rest = text.lstrip(" ")
            repeated = min(self._blanks, len(text) - len(rest))
            text = text[repeated:]
            # Once there is anything else, what follows is new.
            self._blanks = 0 if text else self._blanks - repeated
        self._text += text
        self._tokens += bool(text)
        self.here = self.here or bool(text)
        return text


class _Patience:
    """How often, and how soon, a model is asked again."""

    def __init__(self, settings: ChatSettings) -> None:
        self._settings = settings
        self._tried = False
        self._breaks = 0
        self._until = 0.0
        self._pause = 0.0

    def after(self, error: DomainError, *, begun: bool, said: bool) -> float:
        """Seconds to wait; raises ``error`` when it is enough. ``begun``: it broke in the middle."""
        first = self._settings.retry_pause.total_seconds()
        if not said:
            if self._tried or isinstance(error, Overloaded):
                raise error
            self._tried = True
            return first
        now = time.monotonic()
        if begun:
            self._breaks += 1
            if self._breaks > self._settings.resumes:
                raise error
            # There may be another model at hand: it is asked at once.
            self._until, self._pause = now + self._settings.resume_timeout.total_seconds(), 0.0
            return 0.0
        self._pause = min(max(first, 2 * self._pause), _LONGEST_PAUSE)
        wait = max(self._pause, error.retry_after.total_seconds() if error.retry_after else 0.0)
        if now + wait > self._until:
            raise error
        return wait


async def _next(stream: AsyncGenerator[Piece, None], limit: float, *, begun: bool) -> Piece | None:
    try:
        async with asyncio.timeout(limit):
            return await anext(stream, None)
    except TimeoutError as error:
        what = "stopped in the middle of its answer" if begun else "did not begin to answer"
        raise ModelUnavailable(f"the model {what} within {limit:g} s") from error
