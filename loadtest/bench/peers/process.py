"""The parent's side: starts a peer, asks it, and ends it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from loadtest.bench.environment import ROOT
from loadtest.bench.report import BenchError

START_LIMIT = 60.0
CALL_LIMIT = 120.0
_LONGEST_LINE = 64 << 20


class Peer:
    """`async with Peer("loadtest.bench.peers.embedder", …) as peer: await peer.ask({…})`.

    The child ends when its standard input closes, so it never outlives this process.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), str(ROOT / "gen/python")])
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            self._module,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            limit=_LONGEST_LINE,
            # Ctrl-C is for us: we close the pipe.
            start_new_session=True,
        )
        try:
            await self._answer(START_LIMIT)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises BenchError when the peer fails or hangs."""
        process = self._running()
        if process.stdin is None:
            raise BenchError(f"{self._module} has no standard input")
        process.stdin.write(json.dumps(request).encode() + b"\n")
        return await self._answer(CALL_LIMIT)

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            raise BenchError(f"{self._module} is not running")
        return self._process

    async def _answer(self, limit: float) -> dict[str, Any]:
        process = self._running()
        if process.stdout is None:
            raise BenchError(f"{self._module} has no standard output")
        try:
            async with asyncio.timeout(limit):
                line = await process.stdout.readline()
        except TimeoutError:
            raise BenchError(f"{self._module} did not answer within {limit:g} s") from None
        if not line:
            raise BenchError(f"{self._module} ended before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        # It may be in the middle of a measurement that nobody waits for any more.
        process.kill()
        await process.wait()
