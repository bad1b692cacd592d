"""One question from its arrival to its end.

1. Check, reservation, history and search run beside one another (admission).
2. The question is stored.
3. Accepted is sent; the model answers, or the platform says that the documents cannot. An answer that was
   begun elsewhere goes on where the client's text ends, if the prompt is the same as it was there.
4. Usage is sent. The quota is settled, the answer stored; only then comes Finished: whoever has seen it can
   rely on the conversation holding the answer.

Cut off anywhere, ``end`` sees to what is owed: the quota, what there is of the answer, the audit entry.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import zip_longest

from services.common.errors import Code, DomainError, InvalidRequest
from services.common.identity import current_caller
from services.gateway.admission import Reservation, admitted
from services.gateway.answer import AnswerText
from services.gateway.answerability import answerable
from services.gateway.attribution import Attribution
from services.gateway.beginning import Beginning
from services.gateway.delivery import Delivery
from services.gateway.ending import Endings
from services.gateway.generation import TakenUp, pieces
from services.gateway.model import (
    Accepted,
    Citation,
    Finished,
    FinishReason,
    Passage,
    Question,
    Resumed,
    ResumeReason,
    Role,
    StoredTurn,
    TextDelta,
    Timing,
    Turn,
    Usage,
)
from services.gateway.ports import (
    AuditRecord,
    Conversations,
    Generator,
    NewMessage,
    Outcome,
    Passages,
    Policy,
    Prompt,
)
from services.gateway.prompt import STOP_AT_REQUEST, Draft, PromptWriter
from services.gateway.refusal import NOT_IN_DOCUMENTS
from services.gateway.relevance import by_relevance
from services.gateway.resumption import Tickets
from services.gateway.settings import ChatSettings

ACTION = "chat.complete"
MOST_STOPS = 8
LONGEST_QUERY = 16_384
_SETTLE_WAIT = timedelta(seconds=1)
"""How long the last event waits for the quota to be settled; settling goes on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run works with."""

    policy: Policy
    conversations: Conversations
    passages: Passages
    generator: Generator
    endings: Endings
    writer: PromptWriter
    settings: ChatSettings
    tickets: Tickets
    model: str
    region: str
    clock: Callable[[], float] = time.monotonic


class ChatRun:
    """Answers one question, once."""

    def __init__(self, parts: Parts, question: Question) -> None:
        """Raises InvalidRequest or PromptTooLong when there is nothing to answer, or too much to read, and
        NotResumable when the question's token does not hold."""
        if not question.text.strip():
            raise InvalidRequest.field("text", "must hold more than blanks")
        self._parts = parts
        self._question = question
        self._begun = parts.clock()
        self._timing = Timing()
        self._beginning = Beginning(question, parts.tickets)
        self.id = self._beginning.answer_id
        self._max_tokens = question.parameters.max_tokens or parts.settings.max_tokens
        self._worst_case = parts.writer.worst_case(
            question.text, max_tokens=self._max_tokens, grounded=not question.grounding.disabled
        )
        self._reservation: Reservation | None = None
        self._draft: Draft | None = None
        self._answer = AnswerText()
        self._usage: Usage | None = None
        self._generating = False
        self._pieces = 0
        self._breaks = 0
        self._question_stored = False
        self._answer_stored = False
        self._settled = False
        self._audited = False

    async def answer(self, out: Delivery) -> None:
        """Puts the events of the answer into ``out``.

        Raises:
            DomainError: no answer, or no whole one.
        """
        history, found = await self._prepare()
        self._timing = replace(self._timing, retrieval=self._elapsed())
        history = await self._store_question(history)
        turns = _turns(history) if self._question.conversation_id else self._question.history
        found, known = await self._judge(turns, found)
        draft = self._draft = self._written(turns, found if known else ())
        self._answer = AnswerText(
            draft.passages, Attribution(draft.passages, found) if draft.passages else None
        )
        await out.put(
            Accepted(
                answer_id=self.id,
                model=self._parts.model,
                region=self._parts.region,
                passages=len(draft.passages),
                resume_token=self._beginning.token(draft, answered=known),
            )
        )
        await self._take_up(out, None if known else NOT_IN_DOCUMENTS)
        reason = await (self._generate(draft, out) if known else self._decline(out))
        await out.put(self.usage)
        await self._conclude(reason)
        await out.put(Finished(reason, replace(self._timing, total=self._elapsed())))

    @property
    def usage(self) -> Usage:
        """What was used so far: as the model counted, or estimated where it was stopped."""
        if self._usage is not None:
            return self._usage
        if not self._generating or self._draft is None:
            return Usage()
        return Usage(prompt_tokens=self._draft.tokens, completion_tokens=self._tokens)

    @property
    def _tokens(self) -> int:
        """Tokens of the text so far, what was said elsewhere included."""
        return self._beginning.tokens + self._pieces

    def end(self, error: BaseException | None) -> None:
        """Begins whatever is still owed. Call it once ``answer`` is over, however it ended."""
        if self._reservation is not None and not self._settled:
            self._settle(self._reservation)
        message = self._message(partial=True)
        if message is not None and not self._answer_stored:
            self._parts.endings.store(message)
        if not self._audited:
            self._audit(*_ending(error))

    async def _prepare(self) -> tuple[Sequence[StoredTurn], Sequence[Passage]]:
        parts, question = self._parts, self._question
        self._reservation = Reservation(
            parts.policy, self._beginning.work_id, self._worst_case, parts.settings.lease
        )
        history, found = await admitted(
            parts.policy, ACTION, self._reservation, [self._history(), self._search(question.text)]
        )
        return history, found

    async def _history(self) -> Sequence[StoredTurn]:
        if not self._question.conversation_id:
            return ()
        return await self._parts.conversations.recent(
            self._question.conversation_id, self._parts.settings.history_messages + self._beginning.messages
        )

    async def _search(self, query: str) -> Sequence[Passage]:
        grounding = self._question.grounding
        if grounding.disabled:
            return ()
        limit = max(self._parts.settings.candidates, self._most_passages)
        return await self._parts.passages.search(query, limit, grounding)

    @property
    def _most_passages(self) -> int:
        return self._question.grounding.passages or self._parts.settings.passages

    async def _store_question(self, history: Sequence[StoredTurn]) -> Sequence[StoredTurn]:
        """Stores the question; gives the history without it, for it is there when a request is retried."""
        if not self._question.conversation_id:
            return history
        sequence = await self._parts.conversations.append(
            NewMessage(
                conversation_id=self._question.conversation_id,
                role=Role.USER,
                text=self._question.text,
                request_id=self._beginning.question_message,
            )
        )
        self._question_stored = True
        before = [stored for stored in history if stored.sequence < sequence]
        return before[-self._parts.settings.history_messages :]

    async def _judge(self, turns: Sequence[Turn], found: Sequence[Passage]) -> tuple[Sequence[Passage], bool]:
        """The passages to answer from, and whether they can hold the answer.

        A question such as "And when does it fail?" finds nothing by itself; before it is refused, it is
        looked for again together with the question before it.
        """
        question, settings = self._question, self._parts.settings
        if question.grounding.disabled or answerable(question.text, found, settings.evidence):
            return found, True
        before = next((turn.text for turn in reversed(turns) if turn.role is Role.USER), None)
        if before is None:
            return found, False
        query = f"{before}\n{question.text}"[-LONGEST_QUERY:]
        again = await self._search(query)
        return again, answerable(query, again, settings.evidence)

    def _written(self, turns: Sequence[Turn], found: Sequence[Passage]) -> Draft:
        writer, text = self._parts.writer, self._question.text
        if self._question.grounding.disabled:
            return writer.plain(text, turns, max_tokens=self._max_tokens)
        found = by_relevance(text, found)
        return writer.grounded(text, turns, found, most=self._most_passages, max_tokens=self._max_tokens)

    async def _take_up(self, out: Delivery, refusal: str | None) -> None:
        """Goes on where the client's text ends, if it has any."""
        lost = self._beginning.take_up(self._answer, refusal)
        if self._beginning.point is None:
            return
        reason = ResumeReason.STREAM_LOST
        await out.put(Resumed(offset=self._beginning.offset, region=self._parts.region, reason=reason))
        await self._put(lost, out)

    async def _decline(self, out: Delivery) -> FinishReason:
        text = NOT_IN_DOCUMENTS[self._beginning.offset :]
        await self._put(self._answer.feed(text) + self._answer.finish(), out)
        return FinishReason.NOT_IN_DOCUMENTS

    async def _generate(self, draft: Draft, out: Delivery) -> FinishReason:
        answer, finish_reason = self._answer, ""
        self._generating = True
        try:
            async with aclosing(
                pieces(self._parts.generator, self._prompt(draft), self._parts.settings)
            ) as stream:
                async for piece in stream:
                    if isinstance(piece, TakenUp):
                        await out.put(self._continued(piece))
                        continue
                    self._pieces += bool(piece.text)
                    self._usage = piece.usage or self._usage
                    finish_reason = piece.finish_reason or finish_reason
                    await self._put(answer.feed(piece.text), out)
                    if answer.repeating:
                        break
        except DomainError:
            # A model that failed before it wrote anything costs nothing.
            self._generating = self._pieces > 0
            raise
        await self._put(answer.finish(complete=finish_reason != "length"), out)
        if answer.refused and not answer.citations:
            return FinishReason.NOT_IN_DOCUMENTS
        return FinishReason.LENGTH if finish_reason == "length" else FinishReason.STOP

    def _continued(self, taken_up: TakenUp) -> Resumed:
        self._breaks += 1
        return Resumed(
            offset=self._answer.length,
            region=taken_up.region or self._parts.region,
            reason=ResumeReason.MODEL_LOST,
        )

    async def _put(self, events: Sequence[TextDelta | Citation], out: Delivery) -> None:
        if events and not self._timing.first_text:
            self._timing = replace(self._timing, first_text=self._elapsed())
        for event in events:
            await out.put(replace(event, tokens=self._tokens) if isinstance(event, TextDelta) else event)

    def _prompt(self, draft: Draft) -> Prompt:
        given, settings = self._question.parameters, self._parts.settings
        stop = given.stop if self._question.grounding.disabled else (*given.stop, STOP_AT_REQUEST)
        return Prompt(
            messages=draft.messages,
            max_tokens=draft.max_tokens,
            temperature=settings.temperature if given.temperature is None else given.temperature,
            top_p=given.top_p,
            seed=given.seed,
            stop=stop[:MOST_STOPS],
            cache_key=current_caller().tenant,
            said=self._beginning.said,
            said_tokens=self._beginning.tokens,
        )

    async def _conclude(self, reason: FinishReason) -> None:
        settling = self._settle(self._reservation) if self._reservation is not None else None
        message = self._message(partial=False)
        if message is not None:
            self._answer_stored = True
            await asyncio.shield(self._parts.endings.store(message))
        if settling is not None:
            await asyncio.wait({settling}, timeout=_SETTLE_WAIT.total_seconds())
        self._audit(Outcome.SUCCEEDED, reason.value)

    def _settle(self, reservation: Reservation) -> asyncio.Task[None]:
        self._settled = True
        used = self.usage.total
        return self._parts.endings.begin(lambda: reservation.settle(used), "settle")

    def _message(self, *, partial: bool) -> NewMessage | None:
        """The answer as it is to be stored; None when there is nothing, or nowhere, to store."""
        text = self._answer.text
        if not self._question_stored or not text.strip():
            return None
        return NewMessage(
            conversation_id=self._question.conversation_id,
            role=Role.ASSISTANT,
            text=text,
            # A retry may still bring the whole answer: the cut one must not stand in its place.
            request_id=self._beginning.partial_message if partial else self._beginning.answer_message,
            citations=tuple(self._answer.citations),
            partial=partial,
        )

    def _audit(self, outcome: Outcome, ending: str) -> None:
        self._audited = True
        usage = self.usage
        self._parts.endings.audit(
            AuditRecord(
                request_id=str(uuid.uuid5(uuid.UUID(self._beginning.work_id), "audit")),
                action=ACTION,
                resource=f"answers/{self.id}",
                outcome=outcome,
                attributes={
                    "ending": ending,
                    "model": self._parts.model,
                    "region": self._parts.region,
                    "passages": str(len(self._draft.passages) if self._draft else 0),
                    "prompt_tokens": str(usage.prompt_tokens),
                    "completion_tokens": str(usage.completion_tokens),
                    "citations": str(len(self._answer.citations)),
                    **({"taken_up": str(self._breaks)} if self._breaks else {}),
                    **self._beginning.attributes,
                },
            )
        )

    def _elapsed(self) -> float:
        return self._parts.clock() - self._begun


def _turns(history: Sequence[StoredTurn]) -> list[Turn]:
    """Stored turns for a prompt: a cut answer that was given again in whole is left out."""
    return [
        stored.turn
        for stored, following in zip_longest(history, history[1:])
        if not (stored.partial and following is not None and following.turn.role is Role.ASSISTANT)
    ]


def _ending(error: BaseException | None) -> tuple[Outcome, str]:
    """How the audit log names what cut an answer off."""
    if isinstance(error, DomainError):
        code, reason = error.status
        outcome = Outcome.DENIED if code is Code.PERMISSION_DENIED else Outcome.FAILED
        return outcome, reason.name.lower()
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return Outcome.FAILED, "cancelled"
    return Outcome.FAILED, "internal"
