"""Fills a platform with made-up chunks, to measure search at sizes that nobody wants to wait to embed.

The texts are drawn from the words of the language reference as often as they occur there, so that the
lexical index has lists of realistic lengths; the vectors are random directions. Both go through the
retrieval service's own adapter into Milvus, and as rows into PostgreSQL, as the indexer leaves them. What is
found makes no sense, but finding it takes as long as in a corpus of that size.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg

from loadtest.bench import texts
from loadtest.bench.documents import connect
from loadtest.bench.harness import Run
from loadtest.bench.platform import Platform
from services.retrieval.adapters.milvus import DIMENSIONS, MilvusConfig, MilvusIndex
from services.retrieval.model import Chunk, ChunkText, MediaType, chunk_id

CHUNKS_A_DOCUMENT = 500
WORDS_A_CHUNK = 90
_SEED = 20


@dataclass(frozen=True, slots=True)
class MadeUp:
    """One document."""

    id: uuid.UUID
    chunks: Sequence[Chunk]


async def fill(run: Run, platform: Platform, tenant: str, start: int, end: int) -> None:
    """Adds chunks to a tenant that has `start` of them until it has `end`; both are multiples of 500."""
    config = MilvusConfig(uri=f"http://127.0.0.1:{platform.ports['milvus']}")
    directions = np.random.default_rng([_SEED, start])
    with connect(platform, tenant) as connection:
        async with MilvusIndex(config) as index:
            view = index.for_tenant(tenant)
            for number, document in enumerate(documents(tenant, start, end), start=1):
                vectors = directions.standard_normal((len(document.chunks), DIMENSIONS), dtype=np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                await view.upsert(document.id, MediaType.TEXT, {}, document.chunks, vectors)
                await asyncio.to_thread(_insert, connection, tenant, document)
                run.progress.step(f"{start + number * CHUNKS_A_DOCUMENT} of {end} chunks")


def documents(tenant: str, start: int, end: int) -> Iterator[MadeUp]:
    """Made-up documents, the same each time."""
    if start % CHUNKS_A_DOCUMENT or end % CHUNKS_A_DOCUMENT:
        raise ValueError(f"{start} and {end} must be multiples of {CHUNKS_A_DOCUMENT}")
    words = " ".join(texts.topics().values()).split()
    draw = random.Random(f"{tenant}/{start}")
    for number in range(start // CHUNKS_A_DOCUMENT, end // CHUNKS_A_DOCUMENT):
        identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"bench/{tenant}/{number}")
        yield MadeUp(
            identifier,
            [
                Chunk(
                    chunk_id(identifier, ordinal),
                    ordinal,
                    ChunkText(" ".join(draw.choices(words, k=WORDS_A_CHUNK)), f"Made up {number}"),
                )
                for ordinal in range(CHUNKS_A_DOCUMENT)
            ],
        )


def _insert(connection: psycopg.Connection[tuple[object, ...]], tenant: str, document: MadeUp) -> None:
    content = b"made up"
    digest = hashlib.sha256(content).hexdigest()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "insert into retrieval.documents (tenant_id, id, title, media_type, source, labels, state, "
            "content, size_bytes, chunk_count, sha256, fingerprint) "
            "values (%s, %s, %s, 'text', '', '{}', 'ready', %s, %s, %s, %s, %s)",
            [tenant, document.id, "Made up", content, len(content), len(document.chunks), digest, digest],
        )
        # COPY is refused under row level security; psycopg sends these in one batch.
        cursor.executemany(
            "insert into retrieval.chunks (tenant_id, document_id, ordinal, id, text, context) "
            "values (%s, %s, %s, %s, %s, %s)",
            [
                (tenant, document.id, chunk.ordinal, chunk.id, chunk.content.text, chunk.content.context)
                for chunk in document.chunks
            ],
        )
