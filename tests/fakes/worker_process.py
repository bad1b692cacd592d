"""A process with workers, for tests of them: ``python -m fakes.worker_process WAY COUNT [PORT]``.

``idle``: each worker says its pid on standard output and waits to be ended. ``hasty``: each ends the whole
at once. ``hopeless``: all but the first cannot run. ``server``: each serves DocumentService on the port;
GetDocument gives the worker's pid, and so does UploadDocument when the upload has ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from causeway.retrieval.v1 import document_service_pb2 as documents_pb
from causeway.retrieval.v1 import document_service_pb2_grpc
from services.common import logs, workers
from services.common.config import Address, AuthConfig, ServiceConfig
from services.common.server import Application, Binding
from services.common.server import run as run_service


class Documents(document_service_pb2_grpc.DocumentServiceServicer):
    """Says which process answers."""

    async def GetDocument(self, request: Any, context: Any) -> Any:
        """At once."""
        return documents_pb.GetDocumentResponse(document={"title": str(os.getpid())})

    async def UploadDocument(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        """When the caller has ended."""
        count = 0
        async for _ in request_iterator:
            count += 1
        return documents_pb.UploadDocumentResponse(document={"title": str(os.getpid()), "chunk_count": count})


async def build(stack: AsyncExitStack) -> Application:
    """Anybody may call it."""
    service = documents_pb.DESCRIPTOR.services_by_name["DocumentService"]
    register = document_service_pb2_grpc.add_DocumentServiceServicer_to_server
    return Application(
        bindings=[Binding(register, Documents(), service)], permissions={}, proxied={service.full_name}
    )


def idle(_shared: bool) -> None:
    """Says its pid, and waits."""
    # One write: lines of several processes do not run into one another.
    os.write(1, f"{os.getpid()}\n".encode())
    while True:
        signal.pause()


def hasty(_shared: bool) -> None:
    """Ends the whole as soon as it begins."""
    os.kill(os.getppid(), signal.SIGTERM)
    idle(_shared)


def hopeless(_shared: bool) -> None:
    """The second finds that its settings do not hold; the others would have gone on."""
    if Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text("ascii").split()[0] == str(
        os.getpid()
    ):
        idle(_shared)
    raise SystemExit(workers.HOPELESS)


def main(way: str, count: str, port: str = "0") -> None:
    """Runs until it is told to stop."""
    if way == "server":
        config = ServiceConfig(
            Address("127.0.0.1", int(port)), AuthConfig("file:///not-read"), int(count), timedelta(seconds=30)
        )
        run_service("workers", config, build)
        return
    logs.configure("workers", "info")
    workers.run(int(count), {"idle": idle, "hasty": hasty, "hopeless": hopeless}[way])


if __name__ == "__main__":
    main(*sys.argv[1:])
