"""Small gRPC servers that say who they are, and clients that ask them through a proxy."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

SAY = "/test.Echo/Say"
"""A unary call."""
WATCH = "/test.Echo/Watch"
"""A stream that begins with an answer and goes on until the client leaves."""

Metadata = dict[str, str]


@dataclass
class Echo:
    """A server of every method: it answers with its name and what reached it."""

    name: str
    region: str
    calls: Counter[str] = field(default_factory=Counter)
    """Calls that arrived, by method."""
    seen: deque[Metadata] = field(default_factory=lambda: deque(maxlen=100))
    """The metadata of the last of them, several values of a header with commas; `time-remaining` is the
    deadline that came with a call."""
    fails: grpc.StatusCode | None = None
    """With what it refuses everything."""
    fails_in: Mapping[str, grpc.StatusCode] = field(default_factory=dict)
    """The same by method."""
    delay: float = 0.0
    """Seconds before each answer."""
    serves: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    """Methods of other protocols."""
    streams: Mapping[str, Callable[[bytes, Any], AsyncIterator[bytes]]] = field(default_factory=dict)
    """Methods that answer with a stream: grpc's own kind of handler."""
    port: int = 0
    address: str = "127.0.0.1"

    async def start(self) -> None:
        """Listen; at the same port as before, if there was one."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([_Everything(self)])
        self.port = self._server.add_insecure_port(f"{self.address}:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Listen no more; open calls are cut."""
        await self._server.stop(None)

    def well(self) -> None:
        """Forget all faults and counts."""
        self.fails, self.fails_in, self.delay = None, {}, 0.0
        self.calls.clear()
        self.seen.clear()

    @property
    def total(self) -> int:
        """Calls that arrived, apart from health checks."""
        return sum(count for method, count in self.calls.items() if "grpc.health" not in method)

    async def answer(self, method: str, request: bytes, context: Any) -> bytes:
        """One answer."""
        self.calls[method] += 1
        metadata: Metadata = {}
        for key, value in context.invocation_metadata():
            if isinstance(value, str):
                metadata[key] = f"{metadata[key]},{value}" if key in metadata else value
        remaining = context.time_remaining()
        if remaining is not None:
            metadata["time-remaining"] = f"{remaining:.3f}"
        self.seen.append(metadata)
        if method in self.serves:
            return self.serves[method](request)
        if self.delay:
            await asyncio.sleep(self.delay)
        code = self.fails_in.get(method, self.fails)
        if code is not None:
            await context.abort(code, f"{self.name} was told to fail")
        return json.dumps({"instance": self.name, "region": self.region, "metadata": metadata}).encode()

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """An answer every 50 ms."""
        while True:
            yield await self.answer(WATCH, request, context)
            await asyncio.sleep(0.05)


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = str(details.method)
        if method == WATCH:
            return grpc.unary_stream_rpc_method_handler(self._echo.watch)
        if method in self._echo.streams:
            return grpc.unary_stream_rpc_method_handler(self._echo.streams[method])

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._echo.answer(method, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)


@dataclass(frozen=True)
class Answer:
    """Who answered, what had reached it, and what came back beside the answer."""

    instance: str
    region: str
    metadata: Metadata
    headers: Metadata
    """Of the response."""


class Client:
    """Calls a service over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.always: Metadata = {}
        """Headers of every call."""

    def unary(self, method: str, timeout: float | None = 10.0, metadata: Any = ()) -> Any:
        """One call of grpc's, with an empty request."""
        call: Any = self.channel.unary_unary(method)
        return call(b"", timeout=timeout, metadata=metadata)

    def watch(self, method: str = WATCH, **metadata: str) -> Any:
        """A stream of grpc's, with an empty request; keywords as in `call`."""
        call: Any = self.channel.unary_stream(method)
        return call(b"", metadata=self._headers(metadata))

    async def call(self, method: str = SAY, *, timeout: float | None = 10.0, **metadata: str) -> Answer:
        """One call; keywords are headers, with underscores for hyphens. Raises AioRpcError."""
        call = self.unary(method, timeout, self._headers(metadata))
        said = json.loads(await call)
        initial = {key: str(value) for key, value in await call.initial_metadata()}
        return Answer(said["instance"], said["region"], said["metadata"], initial)

    def _headers(self, metadata: Metadata) -> tuple[tuple[str, str], ...]:
        return tuple((key.replace("_", "-"), value) for key, value in (self.always | metadata).items())

    async def code(self, method: str = SAY, *, timeout: float | None = 10.0, **metadata: str) -> str:
        """The status of one call by name, OK included."""
        try:
            await self.call(method, timeout=timeout, **metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    async def who(self, method: str = SAY, *, timeout: float | None = 10.0, **metadata: str) -> str:
        """The instance that answered, or the status by name."""
        try:
            return (await self.call(method, timeout=timeout, **metadata)).instance
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)

    async def many(
        self, count: int, *, at_once: int = 64, method: str = SAY, timeout: float = 20.0, **metadata: str
    ) -> Counter[str]:
        """`count` calls, `at_once` of them at a time: how often each instance answered, or each status
        came."""
        results: Counter[str] = Counter()
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                results[await self.who(method, timeout=timeout, **metadata)] += 1

        await asyncio.gather(*(some() for _ in range(at_once)))
        return results


class Load:
    """Calls at a steady pace in the background; what became of each."""

    def __init__(self, client: Client, *, each: float = 0.01, method: str = SAY) -> None:
        self.results: list[tuple[float, str]] = []
        """When it was sent, and who answered or with what status it ended."""
        self.failures: list[tuple[float, float, str]] = []
        """When a call that failed was sent, how long it took, and what it was told."""
        self._client = client
        self._each = each
        self._method = method
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._open)

    async def _run(self) -> None:
        while True:
            task = asyncio.create_task(self._one())
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            await asyncio.sleep(self._each)

    async def _one(self) -> None:
        began = time.monotonic()
        try:
            who = (await self._client.call(self._method, timeout=20.0)).instance
        except grpc.aio.AioRpcError as error:
            who = str(error.code().name)
            self.failures.append((began, time.monotonic() - began, f"{who}: {error.details()}"))
        self.results.append((began, who))

    def counts(self, since: float = 0.0) -> Counter[str]:
        """Who answered calls that were sent after `since` (monotonic)."""
        return Counter(who for sent, who in self.results if sent >= since)
