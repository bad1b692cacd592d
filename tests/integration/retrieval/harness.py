"""The retrieval service and its indexers as processes of their own, on real stores and a fake Triton."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from support.platform import Platform

from causeway.retrieval.v1 import (
    document_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from fakes.retrieval_triton import FakeTriton

_ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 60

TEXT = document_pb2.MEDIA_TYPE_TEXT
SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
FAILED = operation_pb2.OPERATION_STATE_FAILED


@dataclass
class Child:
    """One process of ours."""

    process: asyncio.subprocess.Process
    log: Path
    address: str = ""

    async def started(self) -> None:
        """Waits until it serves, and notes where."""
        async with asyncio.timeout(_START_SECONDS):
            while not self.address:
                if self.process.returncode is not None:
                    raise AssertionError(f"it ended:\n{self.log.read_text()[-3000:]}")
                for line in self.log.read_text().splitlines():
                    entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
                    if entry.get("message") == "serving":
                        self.address = entry["address"]
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; gives the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()


@dataclass
class Deployment:
    """Starts processes, and ends them all."""

    platform: Platform
    triton: FakeTriton
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What the processes get."""
        platform = self.platform
        return {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH") if key in os.environ},
            **platform.auth_environ(),
            "CAUSEWAY_LISTEN": "127.0.0.1:0",
            "CAUSEWAY_DRAIN": "2s",
            "CAUSEWAY_LOG_LEVEL": "info",
            "CAUSEWAY_POSTGRES_DSN": platform.postgres_dsn("retrieval"),
            "CAUSEWAY_POSTGRES_PASSWORD_FILE": str(platform.postgres_password_file("retrieval")),
            "CAUSEWAY_RELAY_POSTGRES_DSN": platform.postgres_dsn("retrieval_relay"),
            "CAUSEWAY_RELAY_POSTGRES_PASSWORD_FILE": str(platform.postgres_password_file("retrieval_relay")),
            "CAUSEWAY_RELAY_SWEEP": "500ms",
            "CAUSEWAY_RELAY_AGAIN": "1s",
            "CAUSEWAY_VALKEY_URL": platform.valkey_url("retrieval"),
            "CAUSEWAY_VALKEY_PASSWORD_FILE": str(platform.valkey_password_file("retrieval")),
            "CAUSEWAY_MILVUS_URI": platform.milvus_uri,
            "CAUSEWAY_TRITON_TARGET": self.triton.address,
            "CAUSEWAY_TRITON_AUTHORITY": "triton.test",
            "CAUSEWAY_INDEXER_VISIBILITY": "3s",
            "CAUSEWAY_INDEXER_UPKEEP": "300ms",
            **self.settings,
        }

    async def start(self, module: str) -> Child:
        """Starts one, and waits until it serves."""
        log = self.folder / f"{len(self.children)}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, env=self.environment(), cwd=_ROOT, stdout=out, stderr=out
            )
        child = Child(process, log)
        self.children.append(child)
        await child.started()
        return child

    async def service(self) -> Child:
        """The retrieval service."""
        return await self.start("services.retrieval")

    async def indexer(self) -> Child:
        """An indexer."""
        return await self.start("services.retrieval.indexer")

    async def end(self) -> None:
        """Ends all that still run."""
        for child in self.children:
            if child.process.returncode is None:
                child.process.kill()
                await child.process.wait()


@asynccontextmanager
async def deployed(platform: Platform, triton: FakeTriton, **settings: str) -> AsyncIterator[Deployment]:
    """A deployment without processes yet; ``settings`` are environment keys to add or replace."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="retrieval-"))
        deployment = Deployment(platform, triton, Path(folder), settings)
        stack.push_async_callback(deployment.end)
        yield deployment


class Client:
    """One tenant's calls."""

    def __init__(
        self, channel: grpc.aio.Channel, platform: Platform, tenant: str, roles: Sequence[str] = ("editor",)
    ) -> None:
        self.metadata = (("authorization", f"Bearer {platform.token(tenant, roles)}"),)
        self.documents: Any = document_service_pb2_grpc.DocumentServiceStub(channel)
        self.operations: Any = operation_service_pb2_grpc.OperationServiceStub(channel)
        self.searches: Any = search_service_pb2_grpc.SearchServiceStub(channel)

    async def create(
        self, title: str, content: bytes, media_type: int = TEXT, **header: Any
    ) -> document_service_pb2.CreateDocumentResponse:
        """CreateDocument."""
        head = document_service_pb2.DocumentHeader(title=title, media_type=media_type, **header)  # type: ignore[arg-type]
        request = document_service_pb2.CreateDocumentRequest(header=head, content=content)
        created: document_service_pb2.CreateDocumentResponse = await self.documents.CreateDocument(
            request, metadata=self.metadata, timeout=20
        )
        return created

    async def finished(self, operation_id: str, timeout: float = 60) -> operation_pb2.Operation:
        """Watches an operation to its end."""
        request = operation_service_pb2.WatchOperationRequest(id=operation_id)
        last = operation_pb2.Operation()
        async for response in self.operations.WatchOperation(
            request, metadata=self.metadata, timeout=timeout
        ):
            last = response.operation
        return last

    async def ingest(self, title: str, content: bytes, **header: Any) -> document_pb2.Document:
        """Creates a document and waits until it is searchable."""
        created = await self.create(title, content, **header)
        operation = await self.finished(created.operation.id)
        assert operation.state == SUCCEEDED, operation
        return await self.get(created.document.id)

    async def get(self, document_id: str) -> document_pb2.Document:
        """GetDocument."""
        request = document_service_pb2.GetDocumentRequest(id=document_id)
        response = await self.documents.GetDocument(request, metadata=self.metadata, timeout=20)
        document: document_pb2.Document = response.document
        return document

    async def delete(self, document_id: str) -> None:
        """DeleteDocument."""
        request = document_service_pb2.DeleteDocumentRequest(id=document_id)
        await self.documents.DeleteDocument(request, metadata=self.metadata, timeout=20)

    async def search(
        self, query: str, timeout: float = 20, **fields: Any
    ) -> Sequence[search_service_pb2.SearchResult]:
        """Search."""
        request = search_service_pb2.SearchRequest(query=query, **fields)
        response = await self.searches.Search(request, metadata=self.metadata, timeout=timeout)
        results: Sequence[search_service_pb2.SearchResult] = response.results
        return results
