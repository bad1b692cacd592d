"""VectorIndex on Milvus: one collection for all tenants, searched through one tenant's view only.

What one has to know of Milvus Lite's server:

- it takes no partition key, so the tenant is a scalar field and every filter begins with it;
- ``insert`` of a known id makes a second row, ``upsert`` does not;
- an empty list in a filter is an internal error to it: hence no empty lists;
- what it refuses it refuses at once, by a code (milvus_errors.py);
- pymilvus tries again what gRPC could not deliver, for as long as a call's timeout, and says of its end no
  more than error 1, as it does of rows that do not fit the schema: hence our own timeout, which comes first.

Documents never change, so their labels and media type stand beside each chunk, and filters need no second
store.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import grpc
import numpy as np
from pymilvus import AsyncMilvusClient, DataType, Function, FunctionType
from pymilvus.exceptions import MilvusException

from services.common.context import time_limit
from services.common.errors import DeadlineExceeded, StoreUnavailable
from services.common.secret import Secret
from services.retrieval.adapters.milvus_errors import meaning
from services.retrieval.errors import IndexMissing
from services.retrieval.model import Chunk, Hit, MediaType, SearchFilter, tenant_id
from services.retrieval.ports import Vectors

DIMENSIONS = 384
MAX_QUERY = 2_048
"""Characters of a query that are matched by words: a question's words stand at its beginning, and each word
more is one more list to merge."""

_SCHEMA = 1
"""Part of the collection's name: a change of the schema below makes a new collection, and so a rebuild."""

# fmt: off
_QUESTION_WORDS = [
    "a", "an", "the", "this", "that", "these", "those", "i", "me", "my", "we",
    "our", "you", "your", "he", "she", "it", "its", "they", "them", "their", "what",
    "which", "who", "whom", "whose", "when", "where", "why", "how", "do", "does", "did",
    "doing", "done", "am", "are", "was", "were", "be", "been", "being", "have", "has",
    "had", "having", "can", "could", "may", "might", "must", "shall", "should", "will", "would",
    "there", "here", "of", "to", "at", "by", "so", "than", "too", "very", "s",
    "t", "just", "about",
]
# fmt: on
"""Left out of the word index: the words that questions are made of, whatever they are about. The usual
English list is not used, for it holds words that technical texts are about: for, if, in, is, not, with."""

_ANALYZER = {
    "tokenizer": "standard",
    "filter": [
        "lowercase",
        {"type": "stop", "stop_words": _QUESTION_WORDS},
        # Questions and passages rarely inflect alike.
        {"type": "stemmer", "language": "english"},
    ],
}

# pymilvus pings an idle server every 10 s, and Milvus Lite's hangs up on clients that do. A server that does
# not answer is noticed by the timeout of each call.
_GRPC_OPTIONS = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}

_MAX_TEXT = 65_535  # bytes; Milvus' own limit of a VARCHAR
_UPSERT_ROWS = 500  # a message of about 2 MB
_MEDIA_NUMBERS = {kind: number for number, kind in enumerate(MediaType, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MilvusConfig:
    """A server and a collection."""

    uri: str
    """``http://host:port``."""
    token: Secret = Secret("")
    """``user:password`` or an API key, where the server wants one."""
    collection: str = "causeway_chunks"
    """What the names of our collections begin with."""
    timeout: timedelta = timedelta(seconds=2)
    """How long a search may take."""
    write_timeout: timedelta = timedelta(seconds=20)
    """How long a write may take."""


_NO_STATISTICS = "Invalid sparse row"
"""What BM25 says while the collection holds no text: the average length of none is not a number."""


class MilvusIndex:
    """See services.retrieval.ports.VectorIndex. ``async with MilvusIndex(config) as index:``"""

    def __init__(self, config: MilvusConfig) -> None:
        self._config = config
        self._client: Any = None
        self._connected = False
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # pymilvus logs each failed call with its traceback; what matters of it reaches our log as a cause.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        # Nothing is dialled before the first call. The connection is our own: pymilvus keeps shared ones for
        # ever, by the number of an event loop that may be long gone.
        self._client = AsyncMilvusClient(
            uri=self._config.uri,
            token=self._config.token.reveal(),
            timeout=self._config.timeout.total_seconds() * 0.9,
            dedicated=True,
            grpc_options=_GRPC_OPTIONS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def prepare(self) -> bool:
        """See VectorIndex. The mark is a collection of its own: it is lost with the data, and is made only
        after everything is queued, so that a crash in between leads here again."""
        try:
            async with self.errors(self._config.write_timeout) as call:
                if await self.is_whole(call):
                    return not await self._client.has_collection(self._mark, **call)
                for name in (self._mark, self.collection):
                    if await self._client.has_collection(name, **call):
                        await self._client.drop_collection(name, **call)
                await self._create(call)
                return True
        except IndexMissing as error:
            raise StoreUnavailable("the index was dropped while it was being made") from error

    async def is_whole(self, call: Mapping[str, Any]) -> bool:
        """A collection is made in several steps; one that was left between them cannot be searched."""
        if not await self._client.has_collection(self.collection, **call):
            return False
        return set(await self._client.list_indexes(self.collection, **call)) >= {"dense", "lexical"}

    async def confirm(self) -> None:
        """See VectorIndex."""
        async with self.errors(self._config.write_timeout) as call:
            if not await self._client.has_collection(self._mark, **call):
                await self._client.create_collection(self._mark, dimension=2, **call)

    async def check(self) -> None:
        """See VectorIndex."""
        async with self.errors(self._config.timeout) as call:
            if not await self._client.has_collection(self.collection, **call):
                raise StoreUnavailable("the index does not exist yet")

    def for_tenant(self, tenant: str) -> MilvusTenant:
        """See VectorIndex.

        Raises:
            ValueError: it is not a tenant id.
        """
        return MilvusTenant(self, self._client, self._config, tenant)

    @property
    def collection(self) -> str:
        """Name of the collection that holds the chunks."""
        return f"{self._config.collection}_v{_SCHEMA}"

    @property
    def _mark(self) -> str:
        return f"{self.collection}_complete"

    async def _create(self, call: Mapping[str, Any]) -> None:
        schema = AsyncMilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=36)
        schema.add_field("tenant", DataType.VARCHAR, max_length=64)
        schema.add_field("document", DataType.VARCHAR, max_length=36)
        schema.add_field("media", DataType.INT8)
        schema.add_field("labels", DataType.JSON)
        schema.add_field(
            "text",
            DataType.VARCHAR,
            max_length=_MAX_TEXT,
            enable_analyzer=True,
            analyzer_params=_ANALYZER,
        )
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSIONS)
        schema.add_field("lexical", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function(
                name="bm25",
                function_type=FunctionType.BM25,
                input_field_names=["text"],
                output_field_names=["lexical"],
            )
        )
        indexes = AsyncMilvusClient.prepare_index_params()
        # Exact: with the tenant's filter an approximate graph would lose neighbours, and 50,000 take 13 ms.
        indexes.add_index("dense", index_type="FLAT", metric_type="COSINE")
        indexes.add_index(
            "lexical",
            index_type="SPARSE_INVERTED_INDEX",
            metric_type="BM25",
            params={"bm25_k1": 1.2, "bm25_b": 0.75},
        )
        await self._client.create_collection(
            self.collection,
            schema=schema,
            index_params=indexes,
            consistency_level="Strong",
            **call,
        )

    @asynccontextmanager
    async def errors(self, timeout: timedelta) -> AsyncIterator[dict[str, Any]]:
        """What every call passes to pymilvus; its failures become ours.

        Raises:
            IndexMissing: there is no collection.
            StoreUnavailable: no answer within ``timeout``, or none at this time.
            DeadlineExceeded: none within the caller's deadline, which came first.
            IndexRefusal: the server refuses what is asked.
        """
        limit = time_limit(timeout.total_seconds())
        try:
            # pymilvus minds the timeout of a call, not of the connection it may have to make first.
            async with asyncio.timeout(limit.seconds):
                await self._connect()
                yield {"timeout": limit.seconds + 1, "retry_times": 0}
        except TimeoutError as error:
            if limit.by_caller:
                raise DeadlineExceeded("the index did not answer in the time there was") from error
            raise meaning(error) from error
        except (MilvusException, grpc.RpcError, OSError) as error:
            raise meaning(error) from error

    async def _connect(self) -> None:
        """The client's own connecting makes as many connections as there are first calls."""
        if self._connected:
            return
        async with self._connecting:
            if not self._connected:
                await self._client.__aenter__()
                self._connected = True


class MilvusTenant:
    """See services.retrieval.ports.TenantIndex."""

    def __init__(self, index: MilvusIndex, client: Any, config: MilvusConfig, tenant: str) -> None:
        self._index = index
        self._client = client
        self._config = config
        self._tenant = tenant_id(tenant)

    async def dense(self, vector: Vectors, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """See TenantIndex."""
        return await self._search(vector, "dense", where, limit)

    async def lexical(self, query: str, where: SearchFilter, limit: int) -> Sequence[Hit]:
        """See TenantIndex."""
        return await self._search(query[:MAX_QUERY], "lexical", where, limit)

    async def _search(self, what: Any, field: str, where: SearchFilter, limit: int) -> list[Hit]:
        try:
            async with self._index.errors(self._config.timeout) as call:
                try:
                    found = await self._client.search(
                        self._index.collection,
                        data=[what],
                        anns_field=field,
                        limit=limit,
                        filter=filter_expression(self._tenant, where),
                        **call,
                    )
                except MilvusException as error:
                    if _NO_STATISTICS in str(error):
                        return []
                    raise
        except IndexMissing as error:
            raise StoreUnavailable("the index is being rebuilt") from error
        return [Hit(UUID(hit["id"]), float(hit["distance"])) for hit in found[0]]

    async def cosines(self, vector: Vectors, chunk_ids: Sequence[UUID]) -> Mapping[UUID, float]:
        """See TenantIndex."""
        if not chunk_ids:
            return {}
        expression = f"{_tenant_is(self._tenant)} and id in {_literals(map(str, chunk_ids))}"
        try:
            async with self._index.errors(self._config.timeout) as call:
                found = await self._client.query(
                    self._index.collection, filter=expression, output_fields=["dense"], **call
                )
        except IndexMissing as error:
            raise StoreUnavailable("the index is being rebuilt") from error
        stored = {UUID(row["id"]): np.asarray(row["dense"], np.float32) for row in found}
        return {chunk: float(np.dot(vector, other)) for chunk, other in stored.items()}

    async def upsert(
        self,
        document_id: UUID,
        media_type: MediaType,
        labels: Mapping[str, str],
        chunks: Sequence[Chunk],
        vectors: Vectors,
    ) -> None:
        """See TenantIndex."""
        rows = [
            {
                "id": str(chunk.id),
                "tenant": self._tenant,
                "document": str(document_id),
                "media": _MEDIA_NUMBERS[media_type],
                "labels": dict(labels),
                "text": _truncate(chunk.content.indexed),
                "dense": vector,
            }
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        for start in range(0, len(rows), _UPSERT_ROWS):
            async with self._index.errors(self._config.write_timeout) as call:
                # Milvus takes rows once there is a collection, and finds none before it has its indexes.
                if not await self._index.is_whole(call):
                    raise IndexMissing
                await self._client.upsert(self._index.collection, rows[start : start + _UPSERT_ROWS], **call)

    async def count(self, document_id: UUID) -> int:
        """See TenantIndex."""
        async with self._index.errors(self._config.write_timeout) as call:
            found = await self._client.query(
                self._index.collection,
                filter=filter_expression(self._tenant, SearchFilter(document_ids=[document_id])),
                output_fields=["count(*)"],
                **call,
            )
        return int(found[0]["count(*)"])

    async def delete(self, document_id: UUID) -> None:
        """See TenantIndex."""
        try:
            async with self._index.errors(self._config.write_timeout) as call:
                await self._client.delete(
                    self._index.collection,
                    filter=filter_expression(self._tenant, SearchFilter(document_ids=[document_id])),
                    **call,
                )
        except IndexMissing:
            return


def filter_expression(tenant: str, where: SearchFilter) -> str:
    """A filter of Milvus (https://milvus.io/docs/boolean.md) that always names the tenant. Pure."""
    terms = [_tenant_is(tenant)]
    if where.document_ids:
        terms.append(f"document in {_literals(map(str, where.document_ids))}")
    if where.media_types:
        numbers = sorted({_MEDIA_NUMBERS[kind] for kind in where.media_types})
        terms.append(f"media in {json.dumps(numbers)}")
    terms.extend(f"labels[{_literal(key)}] == {_literal(value)}" for key, value in where.labels.items())
    return " and ".join(terms)


def _tenant_is(tenant: str) -> str:
    return f"tenant == {_literal(tenant)}"


def _literal(text: str) -> str:
    """A string literal of the expression language: it escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _literals(texts: Any) -> str:
    return f"[{', '.join(_literal(text) for text in texts)}]"


def _truncate(text: str) -> str:
    return text.encode()[:_MAX_TEXT].decode("utf-8", "ignore")
