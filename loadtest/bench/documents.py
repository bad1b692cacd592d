"""Ingests documents into a running platform, and reads back what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc.aio
import psycopg

from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
)
from loadtest.bench.gateway import Metadata
from loadtest.bench.platform import Platform
from loadtest.bench.report import BenchError
from mesh.local import postgres

AT_ONCE = 8
LIMIT = 240.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingestion came to."""

    chunks: int
    seconds: float
    """From the first request until the last document could be found."""


async def ingest(platform: Platform, tenant: str, texts: Mapping[str, str]) -> Ingested:
    """Stores documents (title → text) and waits until all are indexed. Raises BenchError when one is not."""
    metadata = platform.metadata(tenant)
    async with platform.channel("retrieval") as channel:
        documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        operations = operation_service_pb2_grpc.OperationServiceStub(channel)
        room = asyncio.Semaphore(AT_ONCE)
        began = time.perf_counter()

        async def one(title: str, text: str) -> int:
            async with room:
                operation = await _create(documents, metadata, title, text)
            return await _indexed(operations, metadata, operation)

        try:
            async with asyncio.timeout(LIMIT):
                counts = await asyncio.gather(*[one(title, text) for title, text in texts.items()])
        except grpc.aio.AioRpcError as error:
            raise BenchError(f"retrieval refused: {error.code().name} {error.details()}") from error
        except TimeoutError:
            raise BenchError(f"the documents were not indexed within {LIMIT:g} s") from None
        return Ingested(sum(counts), time.perf_counter() - began)


async def _create(
    stub: document_service_pb2_grpc.DocumentServiceAsyncStub, metadata: Metadata, title: str, text: str
) -> operation_pb2.Operation:
    header = document_service_pb2.DocumentHeader(title=title, media_type=document_pb2.MEDIA_TYPE_TEXT)
    request = document_service_pb2.CreateDocumentRequest(header=header, content=text.encode())
    return (await stub.CreateDocument(request, metadata=metadata, timeout=60)).operation


async def _indexed(
    stub: operation_service_pb2_grpc.OperationServiceAsyncStub,
    metadata: Metadata,
    operation: operation_pb2.Operation,
) -> int:
    """How many chunks the document has, once they can be found."""
    request = operation_service_pb2.WatchOperationRequest(id=operation.id)
    while operation.state not in (
        operation_pb2.OPERATION_STATE_SUCCEEDED,
        operation_pb2.OPERATION_STATE_FAILED,
    ):
        async for event in stub.WatchOperation(request, metadata=metadata, timeout=LIMIT):
            operation = event.operation
    if operation.state == operation_pb2.OPERATION_STATE_FAILED:
        raise BenchError(f"a document was refused: {operation.error.message}")
    return operation.chunks_total


def connect(platform: Platform, tenant: str) -> psycopg.Connection[tuple[object, ...]]:
    """PostgreSQL as the retrieval service's role, seeing one tenant's rows."""
    conninfo = postgres.dsn(platform.ports["postgres"], "retrieval")
    password = postgres.password_file(platform.layout, "retrieval").read_text("ascii").strip()
    connection = psycopg.connect(conninfo, password=password, autocommit=True)
    connection.execute("select set_config('app.tenant_id', %s, false)", [tenant])
    return connection


def indexed_texts(platform: Platform, tenant: str) -> list[str]:
    """What the indexer embedded of a tenant's documents."""
    with connect(platform, tenant) as connection:
        rows = connection.execute(
            "select context, text from retrieval.chunks order by document_id, ordinal"
        ).fetchall()
    return [f"{context}\n{text}" if context else str(text) for context, text in rows]
