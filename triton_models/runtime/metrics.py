"""The generator's counters on Triton's metrics page."""

from __future__ import annotations

import threading
from typing import Any

from triton_models.runtime.backend import Backend


class GeneratorMetrics:
    """Counts finished requests by how they ended, and tokens."""

    def __init__(self, backend: Backend) -> None:
        counter = backend.MetricFamily.COUNTER
        self._requests = backend.MetricFamily(
            name="causeway_generator_requests_total",
            description="Requests that ended, by finish reason or error",
            kind=counter,
        )
        self._tokens_family = backend.MetricFamily(
            name="causeway_generator_tokens_total", description="Tokens generated", kind=counter
        )
        self._tokens = self._tokens_family.Metric(labels={"model": "generator"})
        self._by_end: dict[str, Any] = {}
        # Two threads in Triton's metrics at once crash the whole server.
        self._lock = threading.Lock()

    def ended(self, how: str, tokens: int) -> None:
        """One request ended; ``how`` comes from a small fixed set."""
        with self._lock:
            if how not in self._by_end:
                self._by_end[how] = self._requests.Metric(labels={"model": "generator", "end": how})
            self._by_end[how].increment(1)
            if tokens:
                self._tokens.increment(tokens)
