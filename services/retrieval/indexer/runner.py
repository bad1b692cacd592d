"""Keeps workers busy: takes jobs, holds them while they are worked on, and decides what a failure means.

Rules:

- What cannot be reached, or has too much to do, is waited for as long as it takes: no other job would fare
  better, and none is to blame.
- Every other failure is the job's own, as far as anybody can tell. It is not given back, so it comes again
  after the visibility timeout, and each of its deliveries counts.
- After the last of them the job is given up: its operation fails, and says why. So is one whose deliveries
  all ended without anybody noting how, because they brought the process down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from services.common.errors import DomainError, ModelFailed, ModelUnavailable, Overloaded, StoreUnavailable
from services.retrieval.errors import IndexingOvertaken, IndexMissing
from services.retrieval.indexer.work import Worker
from services.retrieval.model import Delivery, Job
from services.retrieval.ports import Queue

_WAIT = timedelta(seconds=1)
_PAUSE = 0.2
_PAUSE_AT_MOST = 5.0

log = logging.getLogger(__name__)


class Runner:
    """Run ``run()`` until it is cancelled; jobs under way are then given back."""

    def __init__(
        self,
        queue: Queue,
        worker: Worker,
        repair: Callable[[], Awaitable[None]],
        *,
        documents: int,
        attempts: int,
        visibility: timedelta,
    ) -> None:
        """``repair`` makes the index anew when it is missing."""
        self._queue = queue
        self._worker = worker
        self._repair = repair
        self._documents = documents
        self._attempts = attempts
        self._beat = visibility.total_seconds() / 3

    async def run(self) -> None:
        """Works until cancelled."""
        running: dict[asyncio.Task[None], int] = {}
        try:
            while True:
                try:
                    deliveries = await self._queue.take(self._documents - len(running), _WAIT)
                except DomainError as error:
                    log.warning("cannot take jobs", extra={"cause": str(error.__cause__ or error)[:300]})
                    await asyncio.sleep(1)
                    continue
                running = {task: job for task, job in running.items() if not task.done()}
                for delivery in deliveries:
                    # A process that was held up for too long gets its own jobs handed again.
                    if delivery.job.id not in running.values():
                        running[asyncio.create_task(self._handle(delivery))] = delivery.job.id
                if len(running) >= self._documents:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    running = {task: job for task, job in running.items() if not task.done()}
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _handle(self, delivery: Delivery) -> None:
        beat = asyncio.create_task(self._hold(delivery))
        try:
            if await self._settle(delivery):
                await self._queue.done(delivery)
        except asyncio.CancelledError:
            await self._give_back(delivery)
            raise
        except DomainError as error:
            # The queue is out of reach: the job will come again, and turn out to be done.
            log.warning("job not settled", extra=_about(delivery) | {"cause": str(error)[:300]})
        except Exception:
            log.exception("job not given up", extra=_about(delivery))
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _settle(self, delivery: Delivery) -> bool:
        """Does the job, or gives it up; whether it is over."""
        cause: Exception | None = None
        if delivery.attempt <= self._attempts:
            try:
                await self._until_reachable(delivery, self._worker.perform)
                return True
            except Exception as error:
                log.exception("job failed", extra=_about(delivery))
                if delivery.attempt < self._attempts:
                    return False
                cause = error
        log.error("job given up", extra=_about(delivery))
        await self._until_reachable(delivery, lambda job: self._worker.abandon(job, cause))
        return True

    async def _until_reachable(self, delivery: Delivery, act: Callable[[Job], Awaitable[None]]) -> None:
        """Does it, waiting for whatever cannot be reached: that is not the job's fault, and not counted."""
        pause = _PAUSE
        while True:
            try:
                await act(delivery.job)
                return
            except ModelFailed:
                raise
            except IndexMissing:
                log.warning("the index is missing", extra=_about(delivery))
                await self._repair_quietly()
            except IndexingOvertaken:
                log.info("job begins anew", extra=_about(delivery))
            except (StoreUnavailable, ModelUnavailable, Overloaded) as error:
                log.warning(
                    "job waits",
                    extra=_about(delivery) | {"cause": f"{error}: {error.__cause__!r}"[:300]},
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE_AT_MOST)

    async def _repair_quietly(self) -> None:
        try:
            await self._repair()
        except DomainError as error:
            log.warning("the index cannot be made", extra={"cause": repr(error.__cause__)[:300]})

    async def _hold(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._beat)
            try:
                await self._queue.extend(delivery)
            except DomainError:
                continue

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            await self._queue.give_back(delivery)
        except DomainError:
            log.warning("job not given back", extra=_about(delivery))


def _about(delivery: Delivery) -> dict[str, object]:
    job = delivery.job
    return {
        "job": job.id,
        "kind": job.kind.value,
        "tenant": job.tenant,
        "document": str(job.document_id),
        "attempt": delivery.attempt,
    }
