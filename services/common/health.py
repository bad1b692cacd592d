"""Truthful health: the standard gRPC health service, fed by checks of what the service depends on.

Reported under these names (https://github.com/grpc/grpc/blob/master/doc/health-checking.md):
``""``, SERVING while every dependency answers without which nothing works; each of the service's own proto
services, which may need more; and ``dependency:<name>`` for each dependency, so that a degraded service can
be told from a dead one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta

from grpc_health.v1 import health, health_pb2

Check = Callable[[], Awaitable[object]]

INTERVAL = timedelta(seconds=1)
TIMEOUT = timedelta(seconds=2)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = logging.getLogger(__name__)


def dependency_name(name: str) -> str:
    """The health service's name of a dependency."""
    return f"dependency:{name}"


class HealthMonitor:
    """Checks every dependency once an interval and publishes what it found."""

    def __init__(
        self,
        services: Mapping[str, Collection[str]],
        dependencies: Mapping[str, Check],
        interval: timedelta = INTERVAL,
        timeout: timedelta = TIMEOUT,
    ) -> None:
        """``services``: name in the health service to the dependencies without which no call succeeds."""
        unknown = {name for needs in services.values() for name in needs} - set(dependencies)
        if unknown:
            raise ValueError(f"required but not among the dependencies: {sorted(unknown)}")
        self.servicer = health.aio.HealthServicer()
        self._services = {name: frozenset(needs) for name, needs in services.items()}
        self._dependencies = dependencies
        self._interval = interval.total_seconds()
        self._timeout = timeout.total_seconds()
        self._known: dict[str, bool] = {}
        self._draining = False

    async def check_once(self) -> None:
        """Runs every check and publishes the results."""
        names = list(self._dependencies)
        results = await asyncio.gather(*(self._check(name) for name in names))
        found = dict(zip(names, results, strict=True))
        if self._draining:
            return
        for name, healthy in found.items():
            await self.servicer.set(dependency_name(name), SERVING if healthy else NOT_SERVING)
        for service, needs in self._services.items():
            ready = all(found[name] for name in needs)
            await self.servicer.set(service, SERVING if ready else NOT_SERVING)

    async def run(self) -> None:
        """Checks until cancelled."""
        while True:
            await self.check_once()
            await asyncio.sleep(self._interval)

    async def drain(self) -> None:
        """Reports NOT_SERVING from now on, so that callers stop coming."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def _check(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._dependencies[name]()
        except Exception as error:  # a check may fail in any way; all of them mean "not healthy"
            self._report(name, False, f"{type(error).__name__}: {error}")
            return False
        self._report(name, True, "")
        return True

    def _report(self, name: str, healthy: bool, cause: str) -> None:
        if self._known.get(name) is healthy:
            return
        self._known[name] = healthy
        level = logging.INFO if healthy else logging.WARNING
        log.log(
            level, "dependency changed", extra={"dependency": name, "healthy": healthy, "cause": cause[:500]}
        )
