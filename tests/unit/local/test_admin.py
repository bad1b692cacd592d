"""An Envoy's own interface, as it answers over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from mesh.local import admin, probes
from mesh.local.admin import AdminError
from mesh.local.probes import Answer
from mesh.local.spec import EnvoyProbe

STATS = "/stats"


@asynccontextmanager
async def envoy(answers: Mapping[str, bytes]) -> AsyncIterator[int]:
    """Answers each path by its beginning."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = request.split(" ")[1]
        writer.write(next(answer for prefix, answer in answers.items() if path.startswith(prefix)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def plain(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n{body}".encode()


def chunked(*pieces: str) -> bytes:
    body = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in (*pieces, ""))
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}".encode()


def stats(clusters: int = 1, listeners: int = 1, active: int = 2, warming: int = 0) -> bytes:
    return chunked(
        f"cluster_manager.cds.update_success: {clusters}\nlistener_manager.lds.upd",
        f"ate_success: {listeners}\nlistener_manager.total_listeners_active: {active}\n",
        f"listener_manager.total_listeners_warming: {warming}\n",
    )


@pytest.mark.parametrize(
    "ready, numbers, answer, detail",
    [
        (plain("LIVE\n"), stats(), Answer.READY, ""),
        (plain("INITIALIZING\n", "503 Service Unavailable"), stats(), Answer.NOT_READY, "waits for"),
        (plain("LIVE\n"), stats(clusters=0), Answer.NOT_READY, "no control plane"),
        (plain("LIVE\n"), stats(active=0), Answer.NOT_READY, "0 listeners ready"),
        (plain("LIVE\n"), stats(warming=1), Answer.NOT_READY, "2 listeners ready, 1 not yet"),
    ],
)
async def test_a_proxy_is_ready_once_it_is_live_and_has_been_configured(
    ready: bytes, numbers: bytes, answer: Answer, detail: str
) -> None:
    async with envoy({"/ready": ready, STATS: numbers}) as port:
        outcome = await probes.check(EnvoyProbe("127.0.0.1", port))
    assert outcome.answer is answer
    assert outcome.detail.startswith(detail)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", chunked("abc")[:-8], plain("no", "403 Forbidden")])
async def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    async with envoy({STATS: answer}) as port:
        with pytest.raises(AdminError):
            await admin.get("127.0.0.1", port, STATS)
