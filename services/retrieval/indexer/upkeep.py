"""Looks after the index: when it is gone, makes it anew and queues every document for it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from services.common.errors import DomainError
from services.retrieval.ports import IndexingStore, Outbox, VectorIndex

log = logging.getLogger(__name__)


class Upkeep:
    """Run ``run()`` beside the workers."""

    def __init__(self, index: VectorIndex, outbox: Outbox, store: IndexingStore, every: timedelta) -> None:
        self._index = index
        self._outbox = outbox
        self._store = store
        self._seconds = every.total_seconds()
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                await self.ensure()
            except DomainError as error:
                log.warning("cannot look after the index", extra={"cause": repr(error.__cause__)[:300]})
            await asyncio.sleep(self._seconds)

    async def ensure(self) -> None:
        """Makes sure that the index exists and that what belongs into it is there or queued.

        Interrupted, it begins again: the index is marked as complete only after everything is queued. Two
        indexers may queue everything at the same time; that is as good as once.
        """
        async with self._lock:
            async with self._outbox.exclusive() as alone:
                if not alone:
                    return
                lost = await self._index.prepare()
            if lost:
                await self.rebuild()
                await self._index.confirm()

    async def rebuild(self) -> int:
        """Queues every document of every tenant anew. Gives how many."""
        queued = 0
        for tenant in await self._outbox.tenants():
            queued += await self._store.restart(tenant)
        log.warning("documents queued for a new index", extra={"documents": queued})
        return queued
