"""The vector index in memory. Held to the same contract suite as the one on Milvus."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from fakes.retrieval_models import DIMENSIONS
from services.common.errors import StoreUnavailable
from services.retrieval.errors import IndexMissing, IndexRefusal
from services.retrieval.model import Chunk, Hit, MediaType, SearchFilter, tenant_id
from services.retrieval.ports import Vectors

_WORD = re.compile(r"\w+")
_COMMON = frozenset(["a", "an", "and", "the", "is", "it", "of", "to", "in"])


@dataclass
class _Row:
    tenant: str
    document_id: UUID
    media_type: MediaType
    labels: Mapping[str, str]
    words: list[str]
    vector: Vectors


@dataclass
class FakeIndex:
    """Implements VectorIndex. ``failures`` makes the next calls raise; ``lose_everything`` is a lost disk."""

    exists: bool = False
    complete: bool = False
    rows: dict[UUID, _Row] = field(default_factory=dict)
    failures: deque[Exception] = field(default_factory=deque)

    def lose_everything(self) -> None:
        """The server begins with an empty disk."""
        self.exists = self.complete = False
        self.rows.clear()

    async def prepare(self) -> bool:
        """See VectorIndex."""
        await self.enter()
        if not self.exists:
            self.exists, self.complete = True, False
        return not self.complete

    async def confirm(self) -> None:
        """See VectorIndex."""
        await self.enter()
        self.complete = True

    async def check(self) -> None:
        """See VectorIndex."""
        await self.enter()
        if not self.exists:
            raise StoreUnavailable("the index does not exist yet")

    def for_tenant(self, tenant: str) -> FakeTenantIndex:
        """See VectorIndex."""
        return FakeTenantIndex(self, tenant_id(tenant))

    async def enter(self) -> None:
        """Every call comes through here."""
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.popleft()


class FakeTenantIndex:
    """Implements TenantIndex."""

    def __init__(self, index: FakeIndex, tenant: str) -> None:
        self._index = index
        self._tenant = tenant

    async def dense(self, vector: Vectors, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """See TenantIndex."""
        rows = await self._rows(where)
        return _best({key: float(np.dot(vector, row.vector)) for key, row in rows.items()}, limit)

    async def lexical(self, query: str, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """See TenantIndex. Counts words instead of weighing them."""
        wanted = set(_words(query))
        rows = await self._rows(where)
        scores = {key: float(sum(word in wanted for word in row.words)) for key, row in rows.items()}
        return _best({key: score for key, score in scores.items() if score}, limit)

    async def cosines(self, vector: Vectors, chunk_ids: Sequence[UUID]) -> Mapping[UUID, float]:
        """See TenantIndex."""
        rows = await self._rows(SearchFilter())
        return {key: float(np.dot(vector, rows[key].vector)) for key in chunk_ids if key in rows}

    async def upsert(
        self,
        document_id: UUID,
        media_type: MediaType,
        labels: Mapping[str, str],
        chunks: Sequence[Chunk],
        vectors: Vectors,
    ) -> None:
        """See TenantIndex."""
        await self._index.enter()
        if not self._index.exists:
            raise IndexMissing
        if vectors.shape[1] != DIMENSIONS:
            raise IndexRefusal("vectors of another model")
        for chunk, vector in zip(chunks, vectors, strict=True):
            words = _words(chunk.content.indexed)
            self._index.rows[chunk.id] = _Row(
                self._tenant, document_id, media_type, dict(labels), words, vector
            )

    async def count(self, document_id: UUID) -> int:
        """See TenantIndex."""
        await self._index.enter()
        if not self._index.exists:
            raise IndexMissing
        return len(self._of(document_id))

    async def delete(self, document_id: UUID) -> None:
        """See TenantIndex."""
        await self._index.enter()
        for key in self._of(document_id):
            del self._index.rows[key]

    def _of(self, document_id: UUID) -> list[UUID]:
        rows = self._index.rows.items()
        return [k for k, row in rows if row.tenant == self._tenant and row.document_id == document_id]

    async def _rows(self, where: SearchFilter) -> dict[UUID, _Row]:
        await self._index.enter()
        if not self._index.exists:
            raise StoreUnavailable("the index is being rebuilt")
        return {
            key: row
            for key, row in self._index.rows.items()
            if row.tenant == self._tenant
            and (not where.document_ids or row.document_id in where.document_ids)
            and (not where.media_types or row.media_type in where.media_types)
            and where.labels.items() <= row.labels.items()
        }


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _COMMON]


def _best(scores: Mapping[UUID, float], limit: int) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Hit(key, score) for key, score in ranked[:limit]]
