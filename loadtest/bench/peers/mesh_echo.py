"""A server that gives back what it gets: `python -m loadtest.bench.peers.mesh_echo PORT METHOD`.

A real grpc.aio server, like those of the platform's services, alone in its process. It also answers health
checks, since sidecars ask.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from loadtest.bench.peers.loop import serve


async def _echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def _start(port: int, method: str) -> grpc.aio.Server:
    service, _, name = method.removeprefix("/").partition("/")
    server = grpc.aio.server()
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


def main(port: int, method: str) -> None:
    """Serves until its parent closes the pipe."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    # Kept, since a server that nobody holds ends.
    server = asyncio.run_coroutine_threadsafe(_start(port, method), loop).result(timeout=20)
    serve(lambda _: {"serving": server is not None})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
