"""A bounded waiting line in front of a fixed number of workers.

Jobs run in the order they came. When the line is full a newcomer is refused at once, because an answer that
starts after the caller gave up is worth nothing. A waiting job can be taken out again, for a caller
that went away.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from triton_models.errors import OverloadedError

J = TypeVar("J")


class WaitingLine(Generic[J]):
    """The line. Thread-safe."""

    def __init__(self, workers: int, limit: int) -> None:
        self._idle = workers
        self._limit = limit
        self._jobs: deque[J] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: J) -> None:
        """Queues a job; raises ``OverloadedError`` when ``limit`` jobs already wait for a worker."""
        with self._changed:
            # A job a worker is about to take does not wait.
            waiting = len(self._jobs) - self._idle
            if waiting >= self._limit or self._closed:
                raise OverloadedError(max(waiting, 0), self._limit)
            self._jobs.append(job)
            self._changed.notify_all()

    def take(self) -> J | None:
        """Blocks until there is a job for this worker; ``None`` once the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return None
            self._idle -= 1
            return self._jobs.popleft()

    def done(self) -> None:
        """A worker has finished the job it took."""
        with self._changed:
            self._idle += 1

    def snapshot(self) -> list[J]:
        """The jobs that wait, in order."""
        with self._changed:
            return list(self._jobs)

    def remove(self, job: J) -> bool:
        """Takes a waiting job out of the line; ``False`` when a worker was quicker."""
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True

    def wait_until_occupied(self) -> bool:
        """Blocks until at least one job waits; ``False`` once the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return not self._closed

    def close(self) -> list[J]:
        """Ends all workers; returns the jobs nobody will run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left, self._jobs = list(self._jobs), deque()
            return left

    @property
    def waiting(self) -> int:
        """Jobs no worker has taken yet."""
        with self._changed:
            return len(self._jobs)
