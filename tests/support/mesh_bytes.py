"""Servers and clients of bare connections and of TLS, told apart by what they say of themselves."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_TIMEOUT = 5.0


@asynccontextmanager
async def answering(name: str, certificate: Path | None = None) -> AsyncIterator[int]:
    """A server that tells its name to whoever asks; with a certificate, over TLS. Its port.

    It does not speak first: Envoy decides about a connection by its first bytes from the client.
    """
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(1):
                writer.write(name.encode())
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def greeting(address: str, port: int, *, name: str = "", trust: Path | None = None) -> str:
    """Who answers there; over TLS when there is somebody to trust. Empty when the connection is refused or
    cut."""
    context = None
    if trust is not None:
        context = ssl.create_default_context(cafile=str(trust))
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=name if context else None
            )
            try:
                writer.write(b"?")
                return (await reader.read()).decode()
            finally:
                writer.close()
    except ssl.SSLCertVerificationError:
        return "another name"
    except OSError:
        return ""


async def greetings(
    count: int, address: str, port: int, *, name: str = "", trust: Path | None = None
) -> Counter[str]:
    """The same, often: how often each has answered."""
    found: Counter[str] = Counter()
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            found[await greeting(address, port, name=name, trust=trust)] += 1

    await asyncio.gather(*(some() for _ in range(16)))
    return found
