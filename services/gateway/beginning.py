"""How a call begins: with a new answer, or where the text of one ends that was begun elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from services.common.identity import current_caller
from services.gateway.answer import AnswerText
from services.gateway.errors import NotResumable
from services.gateway.model import Citation, Question, TextDelta
from services.gateway.prompt import Draft
from services.gateway.resumption import (
    Ticket,
    Tickets,
    as_the_model_wrote,
    digest_of_prompt,
    digest_of_question,
)

_MOST_BEGUN = 8
"""Messages that the gateways before this one may have stored of the same question and answer."""


class Beginning:
    """Of one call. What the call itself does goes by ``work_id``, whoever began the answer."""

    def __init__(self, question: Question, tickets: Tickets) -> None:
        """Raises NotResumable when the question's token does not hold."""
        self._question = question
        self._tickets = tickets
        self.point = question.resume
        self._ticket = None if self.point is None else tickets.read(current_caller(), question, self.point)
        work = uuid.uuid4()
        self.work_id = str(work)
        """Names what this call reserves, settles and writes to the audit log."""
        self._answer = work if self._ticket is None else self._ticket.answer_id
        self._request = _request_of(question) if self._ticket is None else self._ticket.request_id
        self.answer_id = str(self._answer)
        """Names the answer; the same in every call that goes on with it."""

    @property
    def question_message(self) -> str:
        """Under which the question is stored, once."""
        return self._name("question")

    @property
    def answer_message(self) -> str:
        """Under which the whole answer is stored, once."""
        return self._name("answer")

    @property
    def partial_message(self) -> str:
        """Under which the answer is stored when this call is cut off: it holds more than the ones before."""
        return self._name(f"partial answer {self.offset}" if self.offset else "partial answer")

    @property
    def messages(self) -> int:
        """How many messages of this very question and answer the conversation may hold already."""
        return 0 if self.point is None else _MOST_BEGUN

    @property
    def offset(self) -> int:
        """Code points that were given out before."""
        return 0 if self.point is None else len(self.point.text)

    @property
    def tokens(self) -> int:
        """Tokens that were generated before."""
        return 0 if self.point is None else self.point.tokens

    @property
    def said(self) -> str:
        """What the model wrote before."""
        return "" if self.point is None else as_the_model_wrote(self.point.text, self.point.citations)

    @property
    def attributes(self) -> Mapping[str, str]:
        """For the audit log."""
        return {} if self.point is None else {"resumed_at": str(self.offset)}

    def token(self, draft: Draft, *, answered: bool) -> bytes:
        """By which the client can go on from the prompt; ``answered``: by the model.

        Raises:
            NotResumable: the answer was begun with another prompt.
        """
        if self._ticket is not None:
            self._ticket.require(draft, answered=answered)
        if not self._tickets.issuing:
            return b""
        ticket = Ticket(
            answer_id=self._answer,
            request_id=self._request,
            question=digest_of_question(self._question),
            prompt=digest_of_prompt(draft, answered=answered),
        )
        return self._tickets.issue(current_caller(), ticket)

    def take_up(self, answer: AnswerText, refusal: str | None) -> Sequence[TextDelta | Citation]:
        """Puts what was given out before into ``answer``; gives what was lost on the way.

        ``refusal``: the text of an answer that no model writes.

        Raises:
            NotResumable: it cannot be what was given out.
        """
        if self.point is None:
            return ()
        if refusal is not None and not refusal.startswith(self.point.text):
            raise NotResumable("the text is not that of the answer: ask anew")
        try:
            return answer.take_up(self.point.text, self.point.citations)
        except ValueError as error:
            raise NotResumable("the citations are not those of the answer: ask anew") from error

    def _name(self, what: str) -> str:
        return str(uuid.uuid5(self._request, what))


def _request_of(question: Question) -> uuid.UUID:
    return uuid.UUID(question.request_id) if question.request_id else uuid.uuid4()
