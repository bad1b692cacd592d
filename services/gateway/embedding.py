"""Turns texts into vectors for callers, within their quota."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from services.common.errors import InvalidRequest
from services.gateway.admission import Reservation, admitted
from services.gateway.ending import Endings
from services.gateway.errors import ModelNotFound
from services.gateway.ports import Embedder, Policy
from services.gateway.tokens import estimate

ACTION = "models.embed"
_LEASE = timedelta(minutes=1)


class EmbeddingEngine:
    """Embeds texts."""

    def __init__(
        self, policy: Policy, embedder: Embedder, endings: Endings, *, model: str, longest: int
    ) -> None:
        """``longest``: tokens that the model reads of a text; what is beyond costs nothing."""
        self._policy = policy
        self._embedder = embedder
        self._endings = endings
        self._longest = longest
        self.model = model

    async def embed(self, texts: Sequence[str], model: str = "") -> Sequence[Sequence[float]]:
        """A vector for each text, in order.

        Raises:
            InvalidRequest: a text is blank.
            ModelNotFound: ``model`` is not the embedder.
            DomainError: not allowed, over quota, or no answer.
        """
        if model not in ("", self.model):
            raise ModelNotFound("no such embedder is served", metadata={"model": model})
        for index, text in enumerate(texts):
            if not text.strip():
                raise InvalidRequest.field(f"texts[{index}]", "must hold more than blanks")
        tokens = sum(max(1, min(self._longest, estimate(text))) for text in texts)
        reservation = Reservation(self._policy, str(uuid.uuid4()), tokens, _LEASE)
        used = 0
        try:
            (vectors,) = await admitted(self._policy, ACTION, reservation, [self._embed(texts)])
            used = tokens
        finally:
            self._endings.begin(lambda: reservation.settle(used), "settle")
        checked: Sequence[Sequence[float]] = vectors
        return checked

    async def _embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return await self._embedder.embed(texts)
