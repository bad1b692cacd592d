"""Several processes of one service: one port, one end, and none that is forgotten. With real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.ads_envoy import free_port

from causeway.retrieval.v1 import document_service_pb2 as documents_pb
from causeway.retrieval.v1 import document_service_pb2_grpc

ROOT = Path(__file__).parents[3]
LIMIT = 30
ID = "3f0e4b0a-1e5a-4a5a-9c44-0d8f3c2b1a00"
PART = documents_pb.UploadDocumentRequest(start={"header": {"title": "t", "media_type": 1}, "size_bytes": 1})
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@contextmanager
def program(way: str, count: int, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """The process that starts the workers. What it starts ends with it, however it ends."""
    command = [sys.executable, "-m", "fakes.worker_process", way, str(count), str(port)]
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "tests", "gen/python"))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(stream: Iterator[str] | None) -> str:
    assert stream is not None
    return next(stream, "").strip()


def logged(process: subprocess.Popen[str], message: str) -> str:
    """The first line of its log that holds the message."""
    assert process.stderr is not None
    return next((found for found in process.stderr if message in found), "")


def lives(pid: int) -> bool:
    """Whether the process runs; one whose end nobody has asked about does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_worker_that_dies_is_replaced() -> None:
    with program("idle", 2) as process:
        before = {int(line(process.stdout)) for _ in range(2)}
        os.kill(next(iter(before)), signal.SIGKILL)
        assert '"exit": -9' in logged(process, "worker died")
        assert int(line(process.stdout)) not in before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them(number: signal.Signals) -> None:
    with program("idle", 3) as process:
        pids = [int(line(process.stdout)) for _ in range(3)]
        process.send_signal(number)
        assert process.wait(LIMIT) == 0
        assert not any(lives(pid) for pid in pids)


def test_a_signal_in_the_pause_before_a_replacement_ends_all_of_them() -> None:
    with program("idle", 2) as process:
        first, second = (int(line(process.stdout)) for _ in range(2))
        os.kill(first, signal.SIGKILL)
        assert logged(process, "worker died")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        assert not lives(second)
        assert line(process.stdout) == "", "nothing is started any more"


def test_a_signal_while_workers_are_being_started_ends_all_of_them() -> None:
    for _ in range(5):
        with program("hasty", 4) as process:
            assert process.wait(LIMIT) == 0


def test_settings_that_do_not_hold_end_all_of_them() -> None:
    """To start a worker anew again and again would tell nobody."""
    with program("hopeless", 2) as process:
        assert process.wait(LIMIT) == 2


def test_workers_do_not_outlive_the_one_who_started_them() -> None:
    with program("idle", 2) as process:
        for _ in range(2):
            line(process.stdout)
        process.kill()
        # The workers hold its other end.
        assert process.stdout is not None
        assert process.stdout.read() == ""


async def test_all_workers_answer_on_one_port_and_a_signal_drains_each_of_them() -> None:
    port, count = free_port(), 3
    with program("server", count, port) as process:
        for _ in range(count):
            assert await asyncio.to_thread(logged, process, '"message": "serving"')
        channels: dict[str, grpc.aio.Channel] = {}
        try:
            # The kernel chooses a worker for each connection.
            async with asyncio.timeout(LIMIT):
                while len(channels) < count:
                    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OWN_CONNECTION)
                    stub = document_service_pb2_grpc.DocumentServiceStub(channel)
                    reply = await stub.GetDocument(
                        documents_pb.GetDocumentRequest(id=ID), wait_for_ready=True
                    )
                    if channels.setdefault(reply.document.title, channel) is not channel:
                        await channel.close()
            drained = {pid: asyncio.Event() for pid in channels}

            async def upload(pid: str) -> AsyncIterator[documents_pb.UploadDocumentRequest]:
                yield PART
                await drained[pid].wait()
                yield PART

            calls = {
                pid: document_service_pb2_grpc.DocumentServiceStub(channel).UploadDocument(upload(pid))
                for pid, channel in channels.items()
            }
            watches = {pid: await watch(channel) for pid, channel in channels.items()}
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT):
                for pid, call in calls.items():
                    while (await watches[pid].read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                        pass
                    drained[pid].set()
                    document = (await call).document
                    assert (document.title, document.chunk_count) == (pid, 2)
        finally:
            for channel in channels.values():
                await channel.close()
        assert await asyncio.to_thread(process.wait, LIMIT) == 0


async def watch(
    channel: grpc.aio.Channel,
) -> grpc.aio.UnaryStreamCall[object, health_pb2.HealthCheckResponse]:
    """News of a worker's health, after it has said that it serves."""
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
    return call
