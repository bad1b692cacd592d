"""Tokens by which a client whose stream broke goes on with the same answer, at any gateway.

A token says which answer of which request it belongs to, and holds digests of the question and of the prompt
that was made of it. It is signed with a key that the gateways share (HMAC with SHA-256, RFC 2104), together
with the caller's tenant and subject, so nobody else can use it. Nothing is stored anywhere: the client brings
the text it has, and the gateway makes the same prompt anew. Where the digests differ, because a document has
changed, say, the answer cannot be gone on with: its beginning would rest on other passages than its end.

The text that the client brings is not signed. Whoever changes it puts words into the mouth of the model that
answers himself, as he can with ``history``; it is made harmless like all foreign text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from services.common.identity import Caller
from services.gateway.errors import NotResumable
from services.gateway.markers import Marker, MarkerReader
from services.gateway.model import CitationMark, Question, ResumePoint
from services.gateway.prompt import Draft
from services.gateway.sanitize import harmless

LEAST_KEY = 32
"""Characters of a key."""

_LAYOUT = struct.Struct(">BQ16s16s16s16s")
_VERSION = 1
_DIGEST = 16
_MAC = 32
_PURPOSE = b"causeway.gateway.resume\0"
_REFUSED = "the resume token does not hold for this caller and question, or is too old: ask anew"
_CHANGED = "what the answer rests on has changed since it was begun: ask anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a token says."""

    answer_id: uuid.UUID
    request_id: uuid.UUID
    """Under which the question and the answer are stored."""
    question: bytes
    """Digest of the question."""
    prompt: bytes
    """Digest of the prompt."""

    def require(self, draft: Draft, *, answered: bool) -> None:
        """Raises NotResumable unless the prompt is the one that the answer was begun with."""
        if not hmac.compare_digest(self.prompt, digest_of_prompt(draft, answered=answered)):
            raise NotResumable(_CHANGED)


class Tickets:
    """Issues tokens, and reads them."""

    def __init__(
        self, keys: Sequence[str], lifetime: timedelta, clock: Callable[[], float] = time.time
    ) -> None:
        """``keys``: the first signs, all are known; without one no tokens are issued and none hold."""
        self._keys = [key.encode() for key in keys]
        self._lifetime = lifetime.total_seconds()
        self._clock = clock

    @property
    def issuing(self) -> bool:
        """Whether there is a key to sign with."""
        return bool(self._keys)

    def issue(self, caller: Caller, ticket: Ticket) -> bytes:
        """A token for this caller; empty without a key."""
        if not self._keys:
            return b""
        expires = int(self._clock() + self._lifetime)
        payload = _LAYOUT.pack(
            _VERSION, expires, ticket.answer_id.bytes, ticket.request_id.bytes, ticket.question, ticket.prompt
        )
        return payload + _sign(self._keys[0], caller, payload)

    def read(self, caller: Caller, question: Question, point: ResumePoint) -> Ticket:
        """What the question's token says.

        Raises:
            NotResumable: not ours, not this caller's, too old, or of another question.
        """
        payload, signature = point.token[: _LAYOUT.size], point.token[_LAYOUT.size :]
        if len(payload) != _LAYOUT.size or len(signature) != _MAC:
            raise NotResumable(_REFUSED)
        signed = [hmac.compare_digest(signature, _sign(key, caller, payload)) for key in self._keys]
        version, expires, answer, request, asked, prompt = _LAYOUT.unpack(payload)
        if not any(signed) or version != _VERSION or expires < self._clock():
            raise NotResumable(_REFUSED)
        ticket = Ticket(
            answer_id=uuid.UUID(bytes=answer),
            request_id=uuid.UUID(bytes=request),
            question=asked,
            prompt=prompt,
        )
        if not hmac.compare_digest(asked, digest_of_question(question)):
            raise NotResumable(_REFUSED)
        if question.request_id and uuid.UUID(question.request_id) != ticket.request_id:
            raise NotResumable(_REFUSED)
        return ticket


def _sign(key: bytes, caller: Caller, payload: bytes) -> bytes:
    # The tenant's name holds no NUL, and neither does the subject's: they cannot run into one another.
    who = f"{caller.tenant}\0{caller.subject}\0".encode()
    return hmac.digest(key, _PURPOSE + who + payload, "sha256")


def digest_of_question(question: Question) -> bytes:
    """Of all that was asked; not of what names a retry, or says where to go on."""
    asked = asdict(question)
    del asked["request_id"], asked["resume"]
    return _digest(asked)


def digest_of_prompt(draft: Draft, *, answered: bool) -> bytes:
    """Of all that the model is to read, and of the passages that may be cited."""
    passages = [[passage.document_id, passage.title, passage.text] for passage in draft.passages]
    return _digest([list(draft.messages), passages, draft.max_tokens, answered])


def _digest(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).digest()[:_DIGEST]


def _plain(value: object) -> object:
    """Of the model's types, enums are what JSON has no form for."""
    return getattr(value, "value", str(value))


def as_the_model_wrote(text: str, citations: Sequence[CitationMark]) -> str:
    """The text that a client has, with the numbers by which the model knows the passages.

    In the answer, passages are numbered in the order of their first use; before the model, in that of the
    prompt.
    """
    places: Mapping[int, int] = {mark.number: mark.place for mark in citations}
    reader = MarkerReader()
    parts = [*reader.feed(harmless(text)), *reader.flush()]
    return "".join(str(_renumbered(part, places)) for part in parts)


def _renumbered(part: str | Marker, places: Mapping[int, int]) -> str | Marker:
    if isinstance(part, str) or not all(number in places for number in part.numbers):
        return part
    return Marker(part.blank, tuple(places[number] for number in part.numbers))
