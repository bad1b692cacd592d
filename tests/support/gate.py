"""A gate before a real server: lets everything through until it is shut or told to hold back."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Gate:
    """Forwards TCP connections. ``async with Gate(port) as gate: connect_to(gate.port)``"""

    def __init__(self, target: int) -> None:
        """``target``: the port of the real server on 127.0.0.1."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._passing: asyncio.Event | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._passing = asyncio.Event()
        self._passing.set()
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shut()

    async def open(self) -> None:
        """Takes connections, again on the same port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Breaks every connection and refuses new ones, as if the server were dead."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stall(self) -> None:
        """Keeps connections and passes nothing on, as if the server hung."""
        assert self._passing is not None
        self._passing.clear()

    def resume(self) -> None:
        """Passes on what was held back."""
        assert self._passing is not None
        self._passing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ours = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ours.append(far_writer)
            pumps = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
            tasks = [asyncio.ensure_future(pump) for pump in pumps]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump_task in tasks:
                    pump_task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Being cut off is what this is for.
            pass
        finally:
            self._connections.discard(task)
            for one in ours:
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._passing is not None
        while data := await reader.read(65536):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
