"""Search: dense and lexical side by side, fused; what is shown comes from the truth, not from the index."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from services.common.errors import InvalidRequest
from services.retrieval.documents import check_labels
from services.retrieval.fusion import fuse, spread
from services.retrieval.model import Hit, Passage, Result, SearchFilter, SearchMode
from services.retrieval.ports import DocumentStore, Embedder, TenantIndex, VectorIndex, Vectors

DEFAULT_LIMIT = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How wide a search looks."""

    candidates: int = 20
    """Hits of each kind that are fused, at least; twice as many as are asked for when that is more. Wider is
    not better: what is far down in both rankings would outdo what is high up in one."""
    repeated: float = 0.5
    """What each further passage of one document counts in a hybrid search, of what the one before it does."""
    query_characters: int = 2_000
    """Of the query that are embedded: more than the model reads of any text."""


class Search:
    """Finds passages in one tenant's documents."""

    def __init__(
        self,
        index: VectorIndex,
        embedder: Embedder,
        store: DocumentStore,
        settings: SearchSettings | None = None,
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._store = store
        self._settings = settings or SearchSettings()

    async def search(
        self, tenant: str, query: str, mode: SearchMode, where: SearchFilter, limit: int
    ) -> Sequence[Result]:
        """The passages that match best; 0 takes 10 of them.

        A hit whose document is deleted, or not searchable, is not in PostgreSQL's answer and so not in ours,
        whatever the index still holds.

        Raises:
            InvalidRequest: the query is blank, or holds U+0000.
            StoreUnavailable, ModelUnavailable: a part of the search cannot be reached.
            DeadlineExceeded: it takes longer than the caller waits.
        """
        if not query.strip():
            raise InvalidRequest.field("query", "must not be blank")
        if "\0" in query:
            raise InvalidRequest.field("query", "must not contain the character U+0000")
        check_labels(where.labels, "filter.labels")
        limit = limit or DEFAULT_LIMIT
        width = max(self._settings.candidates, 2 * limit)
        index = self._index.for_tenant(tenant)
        match mode:
            case SearchMode.LEXICAL:
                hits = await index.lexical(query, where, width)
                scored = [(hit.chunk_id, hit.score) for hit in hits]
                return _results(scored, await self._passages(tenant, scored), {}, limit)
            case SearchMode.DENSE:
                hits = await index.dense(await self._embed(query), where, width)
                scored = [(hit.chunk_id, hit.score) for hit in hits]
                return _results(scored, await self._passages(tenant, scored), dict(scored), limit)
            case SearchMode.HYBRID:
                return await self._hybrid(tenant, index, query, where, width, limit)

    async def _hybrid(
        self, tenant: str, index: TenantIndex, query: str, where: SearchFilter, width: int, limit: int
    ) -> Sequence[Result]:
        (vector, dense), lexical = await _both(
            self._dense(index, query, where, width), index.lexical(query, where, width)
        )
        fused = fuse([[hit.chunk_id for hit in dense], [hit.chunk_id for hit in lexical]])
        passages = await self._passages(tenant, fused)
        there = [(chunk_id, score) for chunk_id, score in fused if chunk_id in passages]
        ranked = spread(there, lambda chunk_id: passages[chunk_id].document_id, self._settings.repeated)
        shown = [chunk_id for chunk_id, _ in ranked[:limit]]
        cosines = {hit.chunk_id: hit.score for hit in dense}
        missing = [chunk_id for chunk_id in shown if chunk_id not in cosines]
        cosines.update(await index.cosines(vector, missing))
        return _results(ranked, passages, cosines, limit)

    async def _dense(
        self, index: TenantIndex, query: str, where: SearchFilter, width: int
    ) -> tuple[Vectors, Sequence[Hit]]:
        vector = await self._embed(query)
        return vector, await index.dense(vector, where, width)

    async def _embed(self, query: str) -> Vectors:
        vector: Vectors = (await self._embedder.embed([query[: self._settings.query_characters]]))[0]
        return vector

    async def _passages(self, tenant: str, scored: Sequence[tuple[UUID, float]]) -> Mapping[UUID, Passage]:
        return await self._store.passages(tenant, [chunk_id for chunk_id, _ in scored])


def _results(
    scored: Sequence[tuple[UUID, float]],
    passages: Mapping[UUID, Passage],
    cosines: Mapping[UUID, float],
    limit: int,
) -> list[Result]:
    shown = [(chunk_id, score) for chunk_id, score in scored if chunk_id in passages][:limit]
    return [
        Result(passage=passages[chunk_id], score=score, cosine=cosines.get(chunk_id))
        for chunk_id, score in shown
    ]


async def _both(
    first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, Sequence[Hit]]
) -> tuple[T, Sequence[Hit]]:
    """Runs both at once; when one fails, the other is cancelled and the failure raised as it is."""
    one, two = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(one, two)
    finally:
        one.cancel()
        two.cancel()
