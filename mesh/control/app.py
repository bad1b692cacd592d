"""Puts a control plane together, and runs it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh.control import status
from mesh.control.config import MeshConfig
from mesh.control.identities import Identities
from mesh.control.kept import Kept
from mesh.control.pipeline import BadManifests, Pipeline, Problem
from mesh.control.transport import OwnIdentity
from mesh.control.views import Views
from mesh.control.watch import Watcher
from mesh.local.files import write_atomic
from mesh.pki.errors import PkiError
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import Clock, utc_now
from mesh.xds.protos import ads_pb2_grpc
from mesh.xds.server import AdsServicer, Limits

log = logging.getLogger(__name__)

M = TypeVar("M")
I = TypeVar("I")  # noqa: E741

TICK = 0.25
"""Seconds between two looks at the certificates' ages; short enough for lives of seconds, as drills have
them."""
KEEP_AFTER = 1.0
"""Seconds between two looks whether the manifests in use have to be copied."""
STATUS_EVERY = 1.0
"""Seconds after which the status is written although nothing happened."""
STATUS_PAUSE = 0.1
"""Seconds between two writings at least."""
STATUS_AFTER = 0.03
"""Seconds from news to its being written."""


class ControlPlane(Generic[M, I]):
    """A running control plane. Use it as an async context manager: it serves from then on.

    Without usable manifests it starts all the same, reports them, and says NOT_SERVING until they are good:
    proxies that run keep what they have, and those that look for one go to another control plane.
    """

    def __init__(
        self,
        config: MeshConfig,
        pipeline: Pipeline[M, I],
        *,
        clock: Clock = utc_now,
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._clock = clock
        self._limits = limits
        self._manifests: M | None = None
        self._index: I | None = None
        self._kept = Kept(config.status.with_name(f"{config.status.stem}-manifests"))
        self._started = time.time()
        self.manifests = status.ManifestStatus()
        self.address = ""
        """Where it serves, once it does."""

    async def __aenter__(self) -> ControlPlane[M, I]:
        """Read everything and serve.

        Raises:
            PkiError: the authority's files cannot be used.
            OSError: the address is taken.
        """
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Turn to NOT_SERVING, end the streams, close."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        self.servicer.close()
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> None:
        config = self._config
        authority = RegionalAuthority.open(config.pki, config.region, config.trust_domain, self._clock)
        self.identities = Identities(authority, config.pki, config.region, config.leaf_life)
        self._own = OwnIdentity(authority, config.listen.host, config.leaf_life)
        self.views = Views(self._pipeline, self.identities)
        self._health = health.aio.HealthServicer()
        self._news = asyncio.Event()
        self.servicer = AdsServicer(
            self.views,
            self.views.authorise,
            identifier=f"causeway/{config.region}",
            region=config.region,
            limits=self._limits,
            on_verdict=lambda _proxy, _verdict: self._news.set(),
            on_streams=self._news.set,
        )
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        watcher = await stack.enter_async_context(Watcher(config.sources))
        keys = await stack.enter_async_context(
            Watcher(
                [*RegionalAuthority.files(config.pki, config.region), config.pki / "regions" / config.region]
            )
        )
        await self._reload(watcher)
        await self._serve(stack)
        follow = (self._follow_manifests(watcher), self._follow_keys(keys))
        for work in (*follow, self._rotate(), self._keep(), self._tell()):
            task = asyncio.ensure_future(work)
            stack.push_async_callback(_cancelled, task)

    async def _serve(self, stack: AsyncExitStack) -> None:
        server = grpc.aio.server(options=_options(self._limits))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self.servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        listen = self._config.listen
        try:
            port = server.add_secure_port(str(listen), self._own.credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}") from error
        await server.start()
        stack.push_async_callback(server.stop, self._config.drain.total_seconds())
        self.address = f"{listen.host}:{port}"
        log.info("serving", extra={"address": self.address, "region": self._config.region})

    # Manifests.

    async def _follow_manifests(self, watcher: Watcher) -> None:
        while True:
            await watcher.changed()
            await self._reload(watcher)

    async def _reload(self, watcher: Watcher) -> None:
        self.manifests.read = time.time()
        try:
            await self._take_over(self._config.sources, watcher)
        except Exception as error:
            self._report(error if isinstance(error, BadManifests) else _unexpected(error))
            if self._manifests is None:
                await self._recall(watcher)
            return
        self.manifests.problems = ()
        self.manifests.last_good = False
        self._news.set()

    async def _take_over(self, sources: Sequence[Path], watcher: Watcher | None = None) -> None:
        """Read the manifests, have all their files watched, and make everybody's configuration from them.

        Raises:
            BadManifests: they cannot be used; nothing changes.
        """
        # In a thread: reading much of it anew takes long, and acknowledgements must not wait for it.
        manifests, version, index, took = await asyncio.to_thread(self._prepared, sources)
        if watcher is not None:
            # Also those of manifests that are refused below: they are to be noticed when they are mended.
            watcher.also(self._pipeline.files(manifests))
        if index is not None:
            prepared = time.perf_counter()
            await self.views.update(index, self.servicer.forget)
            self._index = index
            self.manifests.took = {**took, "proxies": time.perf_counter() - prepared}
            # What is news goes out before anything else is done.
            await asyncio.sleep(0)
            self.manifests.version = version
            self.manifests.since = time.time()
            await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
            log.info("manifests taken over", extra={"version": version, "took": took})
        self._manifests = manifests

    def _prepared(self, sources: Sequence[Path]) -> tuple[M, str, I | None, dict[str, float]]:
        """The manifests, their version, the index of them unless it is in use, and what both took."""
        began = time.perf_counter()
        manifests = self._pipeline.read(sources, self._manifests)
        version = self._pipeline.version(manifests)
        read = time.perf_counter()
        if version == self.manifests.version:
            return manifests, version, None, {}
        index = self._pipeline.index(manifests, self._index)
        return manifests, version, index, {"read": read - began, "index": time.perf_counter() - read}

    def _report(self, error: BadManifests) -> None:
        if self.manifests.problems != error.problems:
            said = (
                "the last good manifests stay in use" if self._manifests else "there are no usable manifests"
            )
            log.warning(said, extra={"problems": [str(problem) for problem in error.problems[:20]]})
        self.manifests.problems = error.problems
        self.manifests.last_good = self._manifests is not None
        self._news.set()

    async def _recall(self, watcher: Watcher) -> None:
        """Start with the copy of the last good manifests."""
        sources = self._kept.sources(self._config.sources)
        if sources is None:
            return
        try:
            await self._take_over(sources)
        except BadManifests as error:
            log.warning("the copy of the last good manifests is bad too", extra={"reason": str(error)})
            return
        log.warning("the copy of the last good manifests is in use")
        self.manifests.last_good = True
        self._news.set()

    async def _keep(self) -> None:
        """Copy the manifests in use, some time after they came into use: changes come in swarms."""
        kept = ""
        while True:
            await asyncio.sleep(KEEP_AFTER)
            manifests, version = self._manifests, self.manifests.version
            if manifests is None or self.manifests.last_good or version == kept:
                continue
            try:
                files = [Path(file) for file in self._pipeline.files(manifests)]
                await asyncio.to_thread(self._kept.keep, self._config.sources, files)
            except OSError as error:
                log.warning("the manifests cannot be copied", extra={"reason": str(error)})
                continue
            kept = version
            self.manifests.kept = time.time()

    # Certificates.

    async def _follow_keys(self, watcher: Watcher) -> None:
        while True:
            await watcher.changed()
            self.identities.reload()
            await self._renewed()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self.identities.renew(self._clock()):
                await self._renewed()
            self._renew_own()

    async def _renewed(self) -> None:
        self._renew_own()
        await self.views.renew_secrets()
        self._news.set()

    def _renew_own(self) -> None:
        try:
            self._own.renew(self.identities.authority, self._clock())
        except PkiError as error:
            self.identities.problems["control plane"] = str(error)
        else:
            self.identities.problems.pop("control plane", None)

    # Status.

    def status(self) -> dict[str, Any]:
        """How things stand, as the status file has it."""
        return status.document(
            region=self._config.region,
            listen=self.address,
            started=self._started,
            manifests=self.manifests,
            proxies=self.views.proxies.values(),
            reports=self.servicer.reports(),
            problems=self.views.problems,
            identities=self.identities,
            own=self._own.credential,
        )

    async def _tell(self) -> None:
        path = self._config.status
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._news.clear()
            began = time.perf_counter()
            text = json.dumps(self.status())
            took = time.perf_counter() - began
            try:
                await asyncio.to_thread(write_atomic, path, text.encode() + b"\n", mode=0o644)
            except OSError as error:
                log.warning("the status cannot be written", extra={"file": str(path), "reason": str(error)})
            # With thousands of proxies the account is long; it must not keep the loop from them.
            await asyncio.sleep(max(STATUS_PAUSE, 30 * took))
            try:
                async with asyncio.timeout(STATUS_EVERY):
                    await self._news.wait()
                # What is news has yet to reach the proxies: they come first.
                await asyncio.sleep(STATUS_AFTER)
            except TimeoutError:
                pass  # Readers take an old file for a dead control plane.


def _unexpected(error: Exception) -> BadManifests:
    """A fault of our own: it must end neither the watch over the manifests nor what is in use."""
    log.error("the manifests cannot be read", exc_info=error)
    said = f"cannot be used, by a fault of the control plane: {type(error).__name__}: {error}"
    return BadManifests([Problem(file="the manifests", line=0, path="", message=said[:1000])])


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", 1000),
        ("grpc.so_reuseport", 0),
        # A client that hangs or is cut off without a word is noticed, and its stream ended.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Proxies look after their side in the same way.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_ping_strikes", 0),
        # Balances proxies over the instances of a control plane (Istio: 30 minutes).
        ("grpc.max_connection_age_ms", 30 * 60 * 1000),
        ("grpc.max_connection_age_grace_ms", 10_000),
    ]


async def run(config: MeshConfig, pipeline: Pipeline[M, I], stopped: Callable[[], Awaitable[object]]) -> None:
    """Serve until `stopped` returns."""
    async with ControlPlane(config, pipeline):
        # What was read and imported stays: looking through it again and again would only make pauses.
        gc.freeze()
        await stopped()
        log.info("draining")
