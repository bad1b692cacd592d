"""`causeway ingest`: stores documents, and waits until each can be found or has been refused.

Documents are stored several at a time, then watched. A call the platform could not take (it is restarting,
say) is repeated: the request id makes that harmless.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import grpc.aio

from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
)
from cli import client, corpus, exits
from cli.client import Connection
from cli.corpus import Item
from cli.exits import CommandError
from cli.lifecycle import layout
from cli.progress import Board
from services.common.status import from_call

STORE_AT_ONCE = 8
WATCH_AT_ONCE = 32
PATIENCE = 60.0
"""Seconds during which a call that finds nobody home, or no room, is repeated."""
SMALL = 4 << 20
"""Bytes up to which a document is sent in one message."""

_MEDIA = {
    "text": document_pb2.MEDIA_TYPE_TEXT,
    "markdown": document_pb2.MEDIA_TYPE_MARKDOWN,
    "html": document_pb2.MEDIA_TYPE_HTML,
    "pdf": document_pb2.MEDIA_TYPE_PDF,
}
_DONE = (operation_pb2.OPERATION_STATE_SUCCEEDED, operation_pb2.OPERATION_STATE_FAILED)

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """How far the ingestion is."""

    total: int
    stored: int = 0
    indexed: int = 0
    chunks: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def line(self) -> str:
        """One line for a person."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return (
            f"{self.indexed} of {self.total} documents searchable, {self.stored} stored{failed}, "
            f"{self.chunks} passages, {self.seconds:.0f} s"
        )


def run(options: argparse.Namespace) -> int:
    """Ingest what was named; exit code 1 when a document was refused."""
    try:
        items, passed = corpus.collect(options.paths)
    except corpus.CorpusError as error:
        raise CommandError(str(error), exits.USAGE) from error
    connection = client.connect(layout(), options.tenant, options.subject, ["editor"])
    if passed:
        print(f"passed over {len(passed)} files of unknown types", file=sys.stderr)
    tally = Tally(len(items))
    try:
        asyncio.run(_ingest(connection, items, dict(options.label), tally))
    except grpc.RpcError as error:
        raise client.explain(error) from error
    _report(tally, as_json=options.json)
    return exits.FAILURE if tally.failed else exits.OK


async def _ingest(connection: Connection, items: list[Item], labels: Mapping[str, str], tally: Tally) -> None:
    storing, watching = asyncio.Semaphore(STORE_AT_ONCE), asyncio.Semaphore(WATCH_AT_ONCE)
    async with connection.channel_async("retrieval") as channel:
        documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        operations = operation_service_pb2_grpc.OperationServiceStub(channel)

        async def one(item: Item) -> None:
            try:
                async with storing:
                    operation = await _repeat(lambda: _store(documents, connection, item, labels))
                tally.stored += 1
                async with watching:
                    operation = await _repeat(lambda: _watch(operations, connection, operation))
            except (grpc.aio.AioRpcError, corpus.CorpusError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE:
                    raise
                text = str(client.explain(error)) if isinstance(error, grpc.RpcError) else str(error)
                tally.failed.append((item.title, text))
                return
            if operation.state == operation_pb2.OPERATION_STATE_FAILED:
                tally.failed.append((item.title, operation.error.message or "refused"))
            else:
                tally.indexed += 1
                tally.chunks += operation.chunks_total

        drawing = asyncio.create_task(_draw(tally))
        try:
            async with asyncio.TaskGroup() as group:
                for item in items:
                    group.create_task(one(item))
        except BaseExceptionGroup as errors:
            # One is enough to tell a person; the others say the same.
            raise errors.exceptions[0] from None
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)


async def _store(
    stub: document_service_pb2_grpc.DocumentServiceAsyncStub,
    connection: Connection,
    item: Item,
    labels: Mapping[str, str],
) -> operation_pb2.Operation:
    header = document_service_pb2.DocumentHeader(
        title=item.title,
        media_type=_MEDIA[item.media_type],
        source=item.source,
        labels=labels,
        request_id=await asyncio.to_thread(item.request_id, labels),
    )
    metadata = connection.metadata()
    if item.size <= SMALL:
        content = await asyncio.to_thread(lambda: b"".join(item.pieces()))
        request = document_service_pb2.CreateDocumentRequest(header=header, content=content)
        return (await stub.CreateDocument(request, metadata=metadata, timeout=60)).operation

    async def parts(*, content: bool = True) -> AsyncIterator[document_service_pb2.UploadDocumentRequest]:
        start = document_service_pb2.UploadStart(header=header, size_bytes=item.size)
        yield document_service_pb2.UploadDocumentRequest(start=start)
        for piece in item.pieces() if content else ():
            yield document_service_pb2.UploadDocumentRequest(content=piece)

    try:
        return (await stub.UploadDocument(parts(), metadata=metadata, timeout=300)).operation
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INTERNAL or from_call(error) is not None:
            raise
    # A write that fails because the server has answered already is an internal error of grpc.aio's own, and
    # the answer is lost. Sent alone, the beginning gets it again: it has the same request_id.
    return (await stub.UploadDocument(parts(content=False), metadata=metadata, timeout=60)).operation


async def _watch(
    stub: operation_service_pb2_grpc.OperationServiceAsyncStub,
    connection: Connection,
    operation: operation_pb2.Operation,
) -> operation_pb2.Operation:
    request = operation_service_pb2.WatchOperationRequest(id=operation.id)
    while operation.state not in _DONE:
        async for event in stub.WatchOperation(request, metadata=connection.metadata()):
            operation = event.operation
        # A server that drains ends its streams early: go on with the next one.
        await asyncio.sleep(0 if operation.state in _DONE else 0.2)
    return operation


async def _repeat(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that finds the platform away, or no room as yet, for `PATIENCE` seconds."""
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            told = _comes_back_after(error)
            if told is None or time.monotonic() + told > deadline:
                raise
        await asyncio.sleep(max(pause, told))
        pause = min(2.0, pause * 2)


def _comes_back_after(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which the call may be made again, at least; None when it will not do any better then."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return 0.0
    refusal = from_call(error)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and refusal and refusal.retry_after is not None:
        return refusal.retry_after.total_seconds()
    return None


async def _draw(tally: Tally) -> None:
    board = Board()
    while True:
        board.draw([tally.line()])
        if not board.live and tally.seconds > 1:
            print(tally.line(), file=sys.stderr, flush=True)
        await asyncio.sleep(0.2 if board.live else 5)


def _report(tally: Tally, *, as_json: bool) -> None:
    if as_json:
        failed = [{"title": title, "reason": reason} for title, reason in tally.failed]
        print(
            json.dumps(
                {
                    "documents": tally.total,
                    "indexed": tally.indexed,
                    "passages": tally.chunks,
                    "failed": failed,
                    "seconds": round(tally.seconds, 3),
                }
            )
        )
        return
    print(tally.line())
    for title, reason in tally.failed:
        print(f"  {title}: {reason}")
