"""The queue in memory. Held to the same contract suite as the one on Valkey."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.retrieval.model import Delivery, Job, tenant_id


@dataclass
class _Entry:
    job: Job
    receipt: str
    attempt: int = 0
    taken: float | None = None


class FakeQueueServer:
    """What several FakeQueues share."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.turns: deque[str] = deque()
        self.receipts = itertools.count(1)
        self.failures: deque[Exception] = deque()

    def lose_everything(self) -> None:
        """As a flushed server does."""
        self.entries.clear()
        self.turns.clear()


class FakeQueue:
    """Implements Queue for one worker. ``server.failures`` makes the next calls raise."""

    def __init__(self, server: FakeQueueServer, visibility: timedelta = timedelta(seconds=15)) -> None:
        self._server = server
        self._visibility = visibility.total_seconds()

    async def put(self, jobs: Sequence[Job]) -> None:
        """See Queue."""
        await self._enter()
        known = {entry.job.id for entry in self._server.entries.values()}
        for job in jobs:
            tenant_id(job.tenant)
            if job.id not in known:
                known.add(job.id)
                self._add(job)

    async def take(self, limit: int, wait: timedelta) -> Sequence[Delivery]:
        """See Queue."""
        await self._enter()
        until = time.monotonic() + wait.total_seconds()
        while True:
            found = self._sweep(limit)
            if found or time.monotonic() >= until:
                return found
            await asyncio.sleep(0.005)

    async def extend(self, delivery: Delivery) -> None:
        """See Queue."""
        await self._enter()
        entry = self._server.entries.get(delivery.receipt)
        if entry is not None:
            entry.taken = time.monotonic()

    async def done(self, delivery: Delivery) -> None:
        """See Queue."""
        await self._enter()
        self._server.entries.pop(delivery.receipt, None)

    async def give_back(self, delivery: Delivery) -> None:
        """See Queue."""
        await self._enter()
        if self._server.entries.pop(delivery.receipt, None) is not None:
            self._add(delivery.job)

    def _sweep(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        idle = 0
        turns = self._server.turns
        while len(found) < limit and idle < len(turns):
            tenant = turns[0]
            turns.rotate(-1)
            entry = next((e for e in self._server.entries.values() if self._free(e, tenant)), None)
            if entry is None:
                idle += 1
                continue
            idle = 0
            entry.attempt += 1
            entry.taken = time.monotonic()
            found.append(Delivery(job=entry.job, receipt=entry.receipt, attempt=entry.attempt))
        return found

    def _free(self, entry: _Entry, tenant: str) -> bool:
        if entry.job.tenant != tenant:
            return False
        return entry.taken is None or time.monotonic() - entry.taken >= self._visibility

    def _add(self, job: Job) -> None:
        receipt = str(next(self._server.receipts))
        self._server.entries[receipt] = _Entry(job, receipt)
        if job.tenant not in self._server.turns:
            self._server.turns.append(job.tenant)

    async def _enter(self) -> None:
        await asyncio.sleep(0)
        if self._server.failures:
            raise self._server.failures.popleft()
