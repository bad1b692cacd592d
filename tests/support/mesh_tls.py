"""Clients of the mesh that are not part of it: they open TLS by themselves, with whatever identity."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from support.mesh_echo import Client
from support.mesh_manifests import host

from mesh.pki.bootstrap import IdentityFiles


def tls(files: IdentityFiles | None, trust: Path) -> ssl.SSLContext:
    """TLS as a client that shows this identity, or none. Servers of the mesh have no host name to check."""
    context = ssl.create_default_context(cafile=str(trust))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


@asynccontextmanager
async def through_tls(address: str, context: ssl.SSLContext) -> AsyncIterator[Client]:
    """A client without a sidecar: its bytes go over TLS straight to `address`. (grpc's own TLS wants a host
    name, which the mesh's certificates do not have.)"""
    target, _, port = address.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up = await asyncio.open_connection(target, int(port), ssl=context)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, up[1]), _pump(up[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    local = server.sockets[0].getsockname()[1]
    options = [("grpc.default_authority", host("echo")), ("grpc.enable_retries", 0)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{local}", options=options) as channel:
            yield Client(channel)
    finally:
        server.close()
        await server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # Cut, or refused after the handshake, as TLS 1.3 does with a client's certificate.
    finally:
        writer.close()
