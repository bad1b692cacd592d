"""A caller as a browser is one: HTTP/1.1 over TLS, CORS preflights and gRPC-Web.

The protocols: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md and
https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"
CALLS_WITH = "authorization,content-type,x-grpc-web,x-user-agent"
"""The headers that a gRPC-Web client in a page sends, as its browser lists them in a preflight."""

_TRAILERS = 0x80
_LIMIT = 15.0


class WebAnswer:
    """Status and headers of an answer; its body is read piece by piece."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response
        self._text = "grpc-web-text" in self.headers.get("content-type", "")
        self._left = bytearray()

    async def message(self) -> bytes:
        """The next message. Raises EOFError when the body ends instead."""
        kind, content = await self._frame()
        assert not kind & _TRAILERS, f"trailers, and not a message: {content!r}"
        return content

    async def trailers(self) -> dict[str, str]:
        """What the body ends with, after its messages. Raises EOFError when it has no trailers."""
        kind, content = await self._frame()
        assert kind & _TRAILERS, f"a message, and not trailers: {content!r}"
        assert not await self._read(1), "something follows the trailers"
        lines = (line.partition(":") for line in content.decode().splitlines())
        return {name.strip().lower(): value.strip() for name, _, value in lines}

    async def _frame(self) -> tuple[int, bytes]:
        head = await self._take(5)
        return head[0], await self._take(int.from_bytes(head[1:], "big"))

    async def _take(self, count: int) -> bytes:
        while len(self._left) < count:
            # Four characters of base64 stand alone: a stream of them may be padded in the middle.
            data = await self._read(4 if self._text else count - len(self._left))
            if not data:
                raise EOFError
            self._left += base64.b64decode(data) if self._text else data
        taken = bytes(self._left[:count])
        del self._left[:count]
        return taken

    async def _read(self, count: int) -> bytes:
        return await asyncio.wait_for(asyncio.to_thread(self._response.read, count), _LIMIT)


class Browser:
    """A page of `origin`, which knows its server by the name in the certificate."""

    def __init__(self, address: str, name: str, trust: Path, origin: str) -> None:
        self._address = address
        self._name = name
        self._tls = ssl.create_default_context(cafile=str(trust))
        self._tls.set_alpn_protocols(["http/1.1"])
        self._origin = origin

    @asynccontextmanager
    async def preflight(self, path: str, method: str = "POST") -> AsyncIterator[WebAnswer]:
        """What a browser asks before it lets a page call."""
        headers = {"access-control-request-method": method, "access-control-request-headers": CALLS_WITH}
        async with self._request("OPTIONS", path, headers) as answer:
            yield answer

    @asynccontextmanager
    async def call(
        self, path: str, message: bytes = b"", *, kind: str = BINARY, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[WebAnswer]:
        """A gRPC-Web call with one message."""
        body = b"\0" + len(message).to_bytes(4, "big") + message
        if kind == TEXT:
            body = base64.b64encode(body)
        sent = {"content-type": kind, "accept": kind, "x-grpc-web": "1", "x-user-agent": "grpc-web-test"}
        async with self._request("POST", path, sent | dict(headers or {}), body) as answer:
            yield answer

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[WebAnswer]:
        connection = http.client.HTTPConnection(self._name, timeout=_LIMIT)
        try:
            connection.sock = await asyncio.to_thread(self._connect)
            sent = {"origin": self._origin, **headers}
            await asyncio.to_thread(connection.request, method, path, body, sent)
            yield WebAnswer(await asyncio.to_thread(connection.getresponse))
        finally:
            connection.close()

    def _connect(self) -> ssl.SSLSocket:
        target, _, port = self._address.rpartition(":")
        plain = socket.create_connection((target, int(port)), _LIMIT)
        return self._tls.wrap_socket(plain, server_hostname=self._name)
