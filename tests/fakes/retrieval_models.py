"""The embedder and the reader without models and processes: deterministic, and as bad-tempered as asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from services.retrieval.model import ChunkText, MediaType
from services.retrieval.ports import Vectors
from services.retrieval.reading.decode import utf8

DIMENSIONS = 384


def vector_of(text: str) -> Vectors:
    """A unit vector that texts with the same words share, near for texts that share many of them."""
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in text.lower().split():
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:2], "big") % DIMENSIONS] += 1.0 if digest[2] % 2 else -1.0
    norm = float(np.linalg.norm(vector))
    if norm == 0.0:
        vector[0] = norm = 1.0
    return (vector / norm).astype(np.float32)


class FakeEmbedder:
    """Implements Embedder.

    ``failures`` makes the next calls raise, ``gate`` holds them while it is clear, and ``before[n]`` is run
    in the n-th call, from 1.
    """

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()
        self.before: dict[int, Callable[[], Awaitable[None]]] = {}
        self.calls = 0
        self.texts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        await self.gate.wait()
        self.calls += 1
        if self.calls in self.before:
            await self.before[self.calls]()
        if self.failures:
            raise self.failures.popleft()
        self.texts.extend(texts)
        return np.stack([vector_of(text) for text in texts])


class FakeReader:
    """Implements Reader: a passage a line. ``failures`` makes the next calls raise."""

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()
        self.reads = 0

    async def read(self, media_type: MediaType, title: str, content: bytes) -> Sequence[ChunkText]:
        """See Reader."""
        await asyncio.sleep(0)
        self.reads += 1
        if self.failures:
            raise self.failures.popleft()
        return [ChunkText(line, title) for line in utf8(content).split("\n") if line.strip()]
