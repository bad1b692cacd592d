"""Embedder on Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from services.common.context import time_limit
from services.common.errors import DeadlineExceeded, ModelUnavailable
from services.common.triton import EMBED_BATCH, TritonClient
from services.retrieval.ports import Vectors


class TritonEmbedder:
    """See services.retrieval.ports.Embedder."""

    def __init__(self, client: TritonClient, *, timeout: timedelta, requests: int) -> None:
        """``timeout`` of one request; ``requests``: how many of them are under way at once, at most.

        Enough to fill the model's batches, and no more: what waits here can still be cancelled.
        """
        self._client = client
        self._seconds = timeout.total_seconds()
        self._slots = asyncio.Semaphore(requests)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        batches = [list(texts[start : start + EMBED_BATCH]) for start in range(0, len(texts), EMBED_BATCH)]
        if len(batches) == 1:
            return await self._embed(batches[0])
        tasks = [asyncio.ensure_future(self._embed(batch)) for batch in batches]
        try:
            return np.concatenate(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        async with self._slots:
            limit = time_limit(self._seconds)
            try:
                async with asyncio.timeout(limit.seconds):
                    return await self._client.embed(texts)
            except (TimeoutError, DeadlineExceeded) as error:
                if limit.by_caller:
                    raise DeadlineExceeded("the embedder did not answer in the time there was") from error
                raise ModelUnavailable("the embedder does not answer") from error
