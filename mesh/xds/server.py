"""The ADS server: every client over mutual TLS, each with its own view and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc

from mesh.ir.view import Proxy, ProxyKind
from mesh.xds.cache import Watch
from mesh.xds.codec import Codec, DeltaCodec, SotwCodec
from mesh.xds.nodes import NotReady, Peer, Refused, Unauthenticated, peer
from mesh.xds.protos import ads_pb2_grpc
from mesh.xds.report import ProxyReport, StreamReport, merge
from mesh.xds.resources import SHORT
from mesh.xds.stream import AdsStream, LimitError
from mesh.xds.subscription import Verdict

log = logging.getLogger(__name__)

LONGEST_REASON = 4096
"""Characters of a client's words that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may use."""

    streams: int = 10_000
    """Open at one time, all clients together."""
    streams_per_proxy: int = 64
    """A new one ends the oldest: that one is most likely a connection that broke without a word. A gRPC
    client opens one stream for each of its targets."""
    names: int = 20_000
    """Subscribed to by name, for each type and stream."""
    message_bytes: int = 16 << 20
    """Of a request. A client that comes back names every version it has, some 150 bytes a resource."""
    first_request: float = 10.0
    """Seconds a client may take to say who it is."""
    patience: float = 5.0
    """Seconds until an unanswered response no longer holds up others."""
    visit: float = 10.0
    """Seconds for which a proxy of another region is served. Then its stream ends, and it opens the next one
    to its own control plane where that is back: this one has another region's manifests."""


class Views(Protocol):
    """Where clients' snapshots come from."""

    def watch(self, proxy: Proxy) -> AbstractContextManager[Watch]:
        """Follow the snapshots of `proxy`."""


Authorise = Callable[[str, str], Proxy]
"""The proxy that a node id and a SPIFFE ID stand for. Raises Refused or NotReady."""
OnVerdict = Callable[[Proxy, Verdict], None]


class AdsServicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves delta and state-of-the-world ADS."""

    def __init__(
        self,
        views: Views,
        authorise: Authorise,
        *,
        identifier: str,
        region: str = "",
        limits: Limits = Limits(),
        on_verdict: OnVerdict = lambda _proxy, _verdict: None,
        on_streams: Callable[[], None] = lambda: None,
    ) -> None:
        """`identifier` names this control plane to clients, `region` is the one it is of; `on_verdict` hears
        of every answer of a client, `on_streams` of every stream that came or went."""
        self._views = views
        self._authorise = authorise
        self._identifier = identifier
        self._region = region
        self._limits = limits
        self.on_verdict = on_verdict
        """May be replaced at any time."""
        self._on_streams = on_streams
        self._sessions: dict[Hashable, list[_Session]] = {}
        self._gone: dict[Hashable, ProxyReport] = {}
        self._closing = False

    async def DeltaAggregatedResources(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """For Envoy."""
        await self._serve(DeltaCodec(), requests, context)

    async def StreamAggregatedResources(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """For grpcio."""
        await self._serve(SotwCodec(self._identifier), requests, context)

    async def _serve(
        self, codec: Codec, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        try:
            await self._admitted(codec, requests, context)
        except Unauthenticated as error:
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, error)
        except Refused as error:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, error)
        except LimitError as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except NotReady as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, error)
        except _Ended as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _admitted(
        self, codec: Codec, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        who = peer(context.auth_context())
        if self._closing:
            raise _Ended("this control plane is shutting down")
        if sum(map(len, self._sessions.values())) >= self._limits.streams:
            raise LimitError("too many streams")
        try:
            async with asyncio.timeout(self._limits.first_request):
                first = await anext(aiter(requests), None)
        except TimeoutError:
            raise LimitError("no request came") from None
        if first is None:
            return
        proxy = self._authorise(first.node.id, who.spiffe_id)
        key = proxy_key(proxy)
        with self._views.watch(proxy) as watch:
            stream = AdsStream(
                codec.subscription, patience=self._limits.patience, max_names=self._limits.names
            )
            session = _Session(proxy, first.node.id, codec, stream, watch, until=self._until(proxy, who))
            self._enter(key, session)
            try:
                await session.run(first, requests, context, self._heard)
            finally:
                self._leave(key, session)

    def _until(self, proxy: Proxy, who: Peer) -> tuple[float, str]:
        """When a stream ends at the latest, and what the client is told then."""
        home = proxy.locality.region
        leaves = time.time() + self._limits.visit
        if self._region and home and home != self._region and leaves < who.expires:
            return leaves, f"the control plane of {home} comes first"
        # Only a new connection shows a new certificate.
        return who.expires, "the client's certificate has expired"

    def _heard(self, proxy: Proxy, verdict: Verdict) -> None:
        self.on_verdict(proxy, verdict)

    def _enter(self, key: Hashable, session: _Session) -> None:
        sessions = self._sessions.setdefault(key, [])
        if len(sessions) >= self._limits.streams_per_proxy:
            sessions[0].end("a newer stream of the same proxy took its place")
        sessions.append(session)
        self._on_streams()
        log.info("connected", extra={"node": session.node_id, "protocol": session.codec.name})

    def _leave(self, key: Hashable, session: _Session) -> None:
        sessions = self._sessions[key]
        sessions.remove(session)
        if not sessions:
            del self._sessions[key]
            self._gone[key] = merge(session.proxy, [session.report(connected=False)])
        self._on_streams()
        log.info("disconnected", extra={"node": session.node_id})

    def reports(self) -> list[ProxyReport]:
        """How each client stands that is connected or was."""
        live = {
            key: merge(sessions[0].proxy, [session.report(connected=True) for session in sessions])
            for key, sessions in self._sessions.items()
        }
        return list((self._gone | live).values())

    def forget(self, key: Hashable) -> None:
        """Drop a client that is no more: its streams end, and nothing is reported of it."""
        for session in self._sessions.get(key, ()):
            session.end("the workload is no more")
        self._gone.pop(key, None)

    def close(self) -> None:
        """End all streams, so that clients go to another control plane at once."""
        self._closing = True
        for sessions in self._sessions.values():
            for session in sessions:
                session.end("this control plane is shutting down")


def proxy_key(proxy: Proxy) -> tuple[ProxyKind, str, str]:
    """What tells clients apart."""
    return proxy.kind, proxy.namespace, proxy.name


class _Ended(Exception):
    """The server ends a stream; the client may come back."""


async def _abort(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, error: Exception
) -> NoReturn:
    log.warning("refused", extra={"code": code.name, "reason": str(error), "peer": context.peer()})
    await context.abort(code, str(error))


class _Session:
    """One stream: reads requests into the protocol state, and writes what that says is due."""

    def __init__(
        self,
        proxy: Proxy,
        node_id: str,
        codec: Codec,
        stream: AdsStream,
        watch: Watch,
        *,
        until: tuple[float, str],
    ) -> None:
        self.proxy = proxy
        self.node_id = node_id
        self.codec = codec
        self._stream = stream
        self._watch = watch
        self._until, self._last_words = until
        self._end: str | None = None
        self._since = time.time()
        self._answered = self._since

    async def run(
        self,
        first: Any,
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext[Any, Any],
        on_verdict: OnVerdict,
    ) -> None:
        """Serve until the client goes, its time is up, or `end`."""
        self._receive(first, on_verdict)
        reader = asyncio.ensure_future(self._read(requests, on_verdict))
        try:
            while not reader.done():
                self._watch.changed.clear()
                if self._end is not None:
                    raise _Ended(self._end)
                snapshot = self._watch.snapshot
                if snapshot is not None:
                    for response in self._stream.due(snapshot, time.monotonic()):
                        await context.write(self.codec.encode(response, snapshot))
                await self._wait()
            reader.result()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _wait(self) -> None:
        now = time.monotonic()
        remaining = self._until - time.time()
        if remaining <= 0:
            raise _Ended(self._last_words)
        deadline = self._stream.deadline(now)
        patience = deadline - now if deadline is not None else remaining
        try:
            async with asyncio.timeout(min(patience, remaining)):
                await self._watch.changed.wait()
        except TimeoutError:
            pass  # Something is due without anything having come: it is found out above.

    async def _read(self, requests: AsyncIterator[Any], on_verdict: OnVerdict) -> None:
        try:
            async for request in requests:
                self._receive(request, on_verdict)
        finally:
            self._watch.changed.set()

    def _receive(self, message: Any, on_verdict: OnVerdict) -> None:
        request = self.codec.decode(message)
        verdict = self._stream.receive(request)
        self._watch.changed.set()
        if verdict is None:
            return
        self._answered = time.time()
        if verdict.error is not None:
            log.warning(
                "rejected by the client",
                extra={
                    "node": self.node_id,
                    "type": SHORT.get(request.type_url, request.type_url),
                    "resources": sorted(verdict.response.resources)[:20],
                    "reason": verdict.error[:LONGEST_REASON],
                },
            )
        on_verdict(self.proxy, verdict)

    def end(self, why: str) -> None:
        """End the stream soon."""
        self._end = why
        self._watch.changed.set()

    def report(self, *, connected: bool) -> StreamReport:
        """How this stream stands."""
        snapshot = self._watch.snapshot
        now = time.monotonic()
        return StreamReport(
            node_id=self.node_id,
            protocol=self.codec.name,
            connected=connected,
            since=self._since,
            answered=self._answered,
            version=snapshot.version if snapshot is not None else "",
            synced=snapshot is not None and self._stream.synced(snapshot),
            rejections=tuple(self._stream.rejections(snapshot)) if snapshot is not None else (),
            waiting={t: now - sent for t, sent in self._stream.unanswered().items()},
        )
