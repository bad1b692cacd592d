"""Each connected proxy's configuration, made when it first asks and again whenever something changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

from mesh.control.identities import Identities, Key
from mesh.control.pipeline import BadManifests, Pipeline, Problem
from mesh.ir.view import Proxy, ProxyKind, ProxyView
from mesh.xds.cache import SnapshotCache, Watch
from mesh.xds.nodes import NotReady, authorise
from mesh.xds.resources import SECRET, Resources
from mesh.xds.server import proxy_key
from mesh.xds.snapshot import Packer, Snapshot

log = logging.getLogger(__name__)

M = TypeVar("M")
I = TypeVar("I")  # noqa: E741

SLICE = 0.01
"""Seconds of translation after which others get a turn: acknowledgements, health checks."""


class Views(Generic[M, I]):
    """Snapshots of the proxies that are connected. A proxy whose configuration cannot be made keeps the one
    before, and `problems` says why."""

    def __init__(self, pipeline: Pipeline[M, I], identities: Identities) -> None:
        self._pipeline = pipeline
        self._identities = identities
        self._index: I | None = None
        self._proxies: dict[tuple[str, str], Proxy] = {}
        self._cache = SnapshotCache()
        self._packer = Packer()
        self._made: dict[Key, tuple[Proxy, ProxyView, Resources]] = {}
        self._watched: dict[Key, int] = {}
        self._tried: dict[Key, tuple[ProxyView, Resources]] = {}
        """What was made of the index that is being taken over, for those who are not yet sent it."""
        self.problems: dict[Key, str] = {}
        self.published = 0
        """How many snapshots went out that differed from the one before."""

    @property
    def ready(self) -> bool:
        """Whether there is anything to serve."""
        return self._index is not None

    @property
    def proxies(self) -> Mapping[tuple[str, str], Proxy]:
        """All proxies of the mesh by namespace and name."""
        return self._proxies

    def snapshot(self, proxy: Proxy) -> Snapshot | None:
        """What a proxy was last sent."""
        return self._cache.get(proxy_key(proxy))

    def authorise(self, node_id: str, spiffe_id: str) -> Proxy:
        """Who a client is.

        Raises:
            NotReady: there is no configuration yet.
            Refused: it is nobody.
        """
        if self._index is None:
            raise NotReady("this control plane has no usable manifests")
        return authorise(node_id, spiffe_id, lambda namespace, name: self._proxies.get((namespace, name)))

    @contextmanager
    def watch(self, proxy: Proxy) -> Iterator[Watch]:
        """Follow the snapshots of a proxy; the first is made now, when nobody else follows it."""
        key = proxy_key(proxy)
        if key not in self._watched:
            self._refresh(proxy)
        self._watched[key] = self._watched.get(key, 0) + 1
        try:
            with self._cache.watch(key) as watch:
                yield watch
        finally:
            self._watched[key] -= 1
            if not self._watched[key]:
                # Nobody is told of its changes any more; the next to come gets a new one.
                del self._watched[key]

    async def update(self, index: I, gone: Callable[[Key], None]) -> None:
        """Take over a new index: what every connected proxy is sent is made anew.

        `gone` is told of proxies that are no more, or have another identity than the one they proved.

        Raises:
            BadManifests: some proxy's configuration cannot be made because of what a manifest says. Nothing
                has changed for anybody then.
        """
        self._tried = await self._trials(index)
        before, self._index = self._proxies, index
        self._proxies = {(p.namespace, p.name): p for p in self._pipeline.proxies(index)}
        for name, proxy in before.items():
            now = self._proxies.get(name)
            if now is proxy:
                continue
            if now is None or now.spiffe_id != proxy.spiffe_id or now.kind is not proxy.kind:
                self._drop(proxy, gone)
        await self._each(self._refresh)
        self._tried = {}
        self._packer.sweep()
        self._pipeline.sweep()

    async def renew_secrets(self) -> None:
        """Send every connected proxy the secrets it should have by now."""
        await self._each(self._renew)

    async def _trials(self, index: I) -> dict[Key, tuple[ProxyView, Resources]]:
        """What was made for connected proxies. Connected or not, all are tried for whom it may fail: else one
        that comes later would get nothing, with manifests that were kept as good."""
        made: dict[Key, tuple[ProxyView, Resources]] = {}
        problems: dict[Problem, None] = {}
        turn = time.monotonic()
        for proxy in self._pipeline.trials(index, self._index):
            key = proxy_key(proxy)
            try:
                view = self._pipeline.resolve(index, proxy)
                known = self._made.get(key)
                made_before = known is not None and known[1] == view
                resources = known[2] if known and made_before else self._pipeline.translate(view)
            except BadManifests as error:
                problems |= dict.fromkeys(error.problems)
            except Exception as error:
                # Told when it is made in earnest: it is no reason to keep the rest from the others.
                log.debug("a trial failed", extra={"proxy": f"{key[1]}/{key[2]}", "reason": str(error)})
            else:
                if key in self._watched:
                    made[key] = view, resources
            if time.monotonic() - turn > SLICE:
                await asyncio.sleep(0)
                turn = time.monotonic()
        if problems:
            self._pipeline.sweep()
            raise BadManifests(list(problems))
        return made

    async def _each(self, work: Callable[[Proxy], None]) -> None:
        turn = time.monotonic()
        for key in list(self._watched):
            current = self._current(key)
            if current is not None and key in self._watched:
                work(current)
            if time.monotonic() - turn > SLICE:
                await asyncio.sleep(0)
                turn = time.monotonic()

    def _current(self, key: Key) -> Proxy | None:
        kind, namespace, name = key
        proxy = self._proxies.get((namespace, name))
        if proxy is None or kind is proxy.kind:
            return proxy
        return _as_kind(proxy, kind)

    def _drop(self, proxy: Proxy, gone: Callable[[Key], None]) -> None:
        for kind in {proxy.kind, ProxyKind.PROXYLESS}:
            key = (kind, proxy.namespace, proxy.name)
            self._cache.forget(key)
            self._made.pop(key, None)
            self.problems.pop(key, None)
            self._identities.forget([key])
            gone(key)

    def _refresh(self, proxy: Proxy) -> None:
        self._try(proxy, lambda: self._translated(proxy))

    def _renew(self, proxy: Proxy) -> None:
        if proxy_key(proxy) in self._made:
            self._try(proxy, lambda: self._with_secrets(proxy))

    def _translated(self, proxy: Proxy) -> Resources:
        if self._index is None:
            raise NotReady("there is no configuration yet")
        key = proxy_key(proxy)
        tried = self._tried.pop(key, None)
        view = self._pipeline.resolve(self._index, proxy) if tried is None else tried[0]
        known = self._made.get(key)
        if known is None or known[1] != view:
            known = (proxy, view, self._pipeline.translate(view) if tried is None else tried[1])
        # An equal view may come from other lines of the manifests; what was made of it is the same.
        self._made[key] = (proxy, view, known[2])
        return self._with_secrets(proxy)

    def _with_secrets(self, proxy: Proxy) -> Resources:
        _, view, resources = self._made[proxy_key(proxy)]
        secrets = self._identities.secrets(proxy, self._pipeline.credentials(view))
        return resources.with_type(SECRET, {**resources.of(SECRET), **secrets})

    def _try(self, proxy: Proxy, make: Callable[[], Resources]) -> None:
        key = proxy_key(proxy)
        try:
            snapshot = self._packer.pack(make(), self._cache.get(key))
            published = self._cache.publish(key, snapshot)
        except Exception as error:
            # Whatever is wrong with one proxy's configuration must not keep the others' from them.
            reason = f"{type(error).__name__}: {error}"
            if self.problems.get(key) != reason:
                log.exception("no configuration could be made", extra={"proxy": f"{key[1]}/{key[2]}"})
            self.problems[key] = reason
            return
        self.problems.pop(key, None)
        self.published += published


def _as_kind(proxy: Proxy, kind: ProxyKind) -> Proxy | None:
    return replace(proxy, kind=kind) if kind is ProxyKind.PROXYLESS else None
