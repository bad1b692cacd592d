"""Three answers are told apart: ready, not ready, and none at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh.local import ports, probes
from mesh.local.probes import Answer
from mesh.local.spec import (
    ControlProbe,
    EnvoyProbe,
    GrpcHealthProbe,
    PostgresProbe,
    ValkeyProbe,
    WatchdogProbe,
)

Reply = Callable[[bytes], bytes | None]


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[int]:
    """Answers each read with `reply`; None closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            answer = reply(data)
            if answer is None:
                break
            writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "a.password"
    path.write_text("secret")
    return path


def nobody() -> int:
    """A port where nobody listens."""
    return ports.choose(["nobody"], {})["nobody"]


async def test_nobody_there_is_silence(password: Path) -> None:
    port = nobody()
    for probe in (
        EnvoyProbe("127.0.0.1", port),
        ControlProbe("127.0.0.1", port, password),
        GrpcHealthProbe(port),
        ValkeyProbe(port, "supervisor", password),
        PostgresProbe(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", password),
    ):
        outcome = await probes.check(probe)
        assert outcome.answer is Answer.SILENT
        assert "refused" in outcome.detail


async def test_a_server_that_accepts_and_says_nothing_is_silent_within_the_limit(password: Path) -> None:
    async with server(lambda _: b"") as port:
        began = time.monotonic()
        outcome = await probes.check(ValkeyProbe(port, "supervisor", password), timeout=0.2)
    assert (outcome.answer, outcome.detail) == (Answer.SILENT, "no answer within 0.2 s")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "reply, answer",
    [
        (lambda _: b"+OK\r\n", Answer.READY),
        (lambda _: b"-WRONGPASS\r\n", Answer.NOT_READY),
        (lambda data: b"+OK\r\n" if b"AUTH" in data else b"-LOADING in progress\r\n", Answer.NOT_READY),
        (lambda _: None, Answer.SILENT),
    ],
)
async def test_valkey_is_ready_when_it_answers_a_ping(password: Path, reply: Reply, answer: Answer) -> None:
    async with server(reply) as port:
        assert (await probes.check(ValkeyProbe(port, "supervisor", password))).answer is answer


async def test_a_password_never_appears_in_the_detail(password: Path) -> None:
    async with server(lambda data: b"-ERR bad command\r\n" + data) as port:
        assert "secret" not in (await probes.check(ValkeyProbe(port, "u", password))).detail


async def test_a_service_that_says_it_is_not_serving_is_alive_but_not_ready() -> None:
    servicer = health.aio.HealthServicer()
    front = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, front)
    port = front.add_insecure_port("127.0.0.1:0")
    await front.start()
    for status, answer in (
        (health_pb2.HealthCheckResponse.SERVING, Answer.READY),
        (health_pb2.HealthCheckResponse.NOT_SERVING, Answer.NOT_READY),
    ):
        await servicer.set("", status)
        assert (await probes.check(GrpcHealthProbe(port))).answer is answer
    await front.stop(None)


async def test_a_server_without_health_checking_is_not_ready() -> None:
    front = grpc.aio.server()
    port = front.add_insecure_port("127.0.0.1:0")
    await front.start()
    assert (await probes.check(GrpcHealthProbe(port))).answer is Answer.NOT_READY
    await front.stop(None)


@pytest.mark.parametrize(
    "age, states, answer, detail",
    [
        (0, {"embedder": "ready", "generator": "busy"}, Answer.READY, ""),
        (0, {"embedder": "ready", "generator": "down"}, Answer.NOT_READY, "generator is down"),
        (0, {"embedder": "healing"}, Answer.NOT_READY, "embedder is healing"),
        (0, {"embedder": "unknown"}, Answer.NOT_READY, "embedder is unknown"),
        (60, {"embedder": "ready"}, Answer.SILENT, "has not checked the models for 60 s"),
    ],
)
async def test_the_watchdogs_word_counts_while_it_is_fresh(
    tmp_path: Path, age: float, states: dict[str, str], answer: Answer, detail: str
) -> None:
    path = tmp_path / "watchdog.json"
    models = {name: {"state": state} for name, state in states.items()}
    path.write_text(json.dumps({"time": time.time() - age, "models": models}))
    outcome = await probes.check(WatchdogProbe(path))
    assert (outcome.answer, outcome.detail) == (answer, detail)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"time": "x"}', '{"time": 1e12, "models": {"a": 1}}'])
async def test_an_unreadable_watchdog_file_is_silence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "watchdog.json"
    assert (await probes.check(WatchdogProbe(path))).answer is Answer.SILENT
    path.write_text(text)
    assert (await probes.check(WatchdogProbe(path))).answer is Answer.SILENT
