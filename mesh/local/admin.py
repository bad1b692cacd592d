"""Talks to an Envoy's own interface, which answers on the proxy's loopback address only.

Just enough HTTP/1.1 for it (https://www.envoyproxy.io/docs/envoy/latest/operations/admin): one request for
each connection, read to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import quote

_LIMIT = 16 << 20


class AdminError(OSError):
    """Envoy answered, and refused."""


async def get(host: str, port: int, target: str) -> str:
    """The body of the answer, of /ready whatever its status says. Raises OSError when there is none."""
    status, body = await _ask("GET", host, port, target)
    if status != 200 and not target.startswith("/ready"):
        raise AdminError(f"{target} answered {status}")
    return body


async def post(host: str, port: int, target: str) -> str:
    """The same for what changes something."""
    status, body = await _ask("POST", host, port, target)
    if status != 200:
        raise AdminError(f"{target} answered {status}")
    return body


async def _ask(method: str, host: str, port: int, target: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT)
    try:
        path = quote(target, safe="/?=&%:,")
        lines = (
            f"{method} {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Connection: close",
            "Content-Length: 0",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise AdminError("the connection was closed")
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return int(words[1]), body.decode("utf-8", "replace")


def _joined(body: bytes) -> bytes:
    """A chunked body in one piece (RFC 9112, section 7.1). Raises AdminError when its end is missing."""
    pieces: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError as error:
            raise AdminError("the answer broke off") from error
        if not length:
            return b"".join(pieces)
        if len(body) < length + 2:
            raise AdminError("the answer broke off")
        pieces.append(body[:length])
        body = body[length + 2 :]
