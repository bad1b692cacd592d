"""Asks a process whether it is ready, the way a client would.

Three answers are told apart, because they call for different deeds: READY; NOT_READY (it answers, and says
it is not: leave it alone); SILENT (no answer: starting, dead or hung).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import re
import time
from dataclasses import dataclass

from mesh.local import admin
from mesh.local.spec import (
    ControlProbe,
    EnvoyProbe,
    GrpcHealthProbe,
    MilvusProbe,
    PostgresProbe,
    Probe,
    TritonProbe,
    ValkeyProbe,
    WatchdogProbe,
)

TIMEOUT = 2.0
"""Seconds a probe may take before the process counts as silent."""


class Answer(enum.Enum):
    """What a probe found."""

    READY = "ready"
    NOT_READY = "not ready"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer and, unless it is READY, why."""

    answer: Answer
    detail: str = ""


READY = Outcome(Answer.READY)


async def check(probe: Probe | None, *, timeout: float = TIMEOUT) -> Outcome:
    """Probe once. Never raises for anything the other side does."""
    if probe is None:
        return READY
    try:
        async with asyncio.timeout(timeout):
            return await _dispatch(probe)
    except TimeoutError:
        return Outcome(Answer.SILENT, f"no answer within {timeout:g} s")
    except (OSError, EOFError) as error:
        return Outcome(Answer.SILENT, _reason(error))


async def _dispatch(probe: Probe) -> Outcome:
    match probe:
        case PostgresProbe():
            return await _postgres(probe)
        case ValkeyProbe():
            return await _valkey(probe)
        case GrpcHealthProbe(port=port):
            return await _grpc_health(port)
        case MilvusProbe(port=port):
            return await _milvus(port)
        case TritonProbe():
            return await _triton(probe)
        case WatchdogProbe():
            return _watchdog(probe)
        case EnvoyProbe():
            return await _envoy(probe)
        case ControlProbe():
            return await _control(probe)


async def _postgres(probe: PostgresProbe) -> Outcome:
    import psycopg

    password = probe.password_file.read_text("ascii").strip()
    try:
        async with await psycopg.AsyncConnection.connect(
            probe.dsn, password=password, connect_timeout=5
        ) as connection:
            await connection.execute("select 1")
    except psycopg.OperationalError as error:
        # The first line says why, after saying where; hints follow.
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition("failed: ")[2]
        # A server that says "starting up" or "shutting down" is alive; so is one that refuses a password.
        answered = error.sqlstate is not None or "FATAL" in detail
        return Outcome(Answer.NOT_READY if answered else Answer.SILENT, detail)
    except psycopg.Error as error:
        return Outcome(Answer.NOT_READY, str(error).strip())
    return READY


async def _valkey(probe: ValkeyProbe) -> Outcome:
    password = probe.password_file.read_text("ascii").strip()
    reader, writer = await asyncio.open_connection("127.0.0.1", probe.port)
    try:
        for command in (("AUTH", probe.user, password), ("PING",)):
            writer.write(_resp(command))
            reply = (await reader.readline()).decode("utf-8", "replace").strip()
            if not reply:
                return Outcome(Answer.SILENT, "the connection was closed")
            if not reply.startswith("+"):
                return Outcome(Answer.NOT_READY, reply)
    finally:
        await _close(writer)
    return READY


async def _connect(port: int, host: str = "127.0.0.1") -> None:
    _, writer = await asyncio.open_connection(host, port)
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _resp(words: tuple[str, ...]) -> bytes:
    """A command in the Redis serialization protocol (RESP 2)."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


async def _call(port: int, method: str, request: bytes) -> bytes | Outcome:
    """One unary call with ready-made bytes: the supervisor needs no generated code of the servers it runs."""
    # Asking the port first spares the cost of a channel while nobody listens yet.
    await _connect(port)
    import grpc
    import grpc.aio

    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            return await call(request, timeout=TIMEOUT, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            silent = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            detail = (error.details() or error.code().name).splitlines()[0][:200]
            return Outcome(Answer.SILENT if silent else Answer.NOT_READY, detail)


async def _grpc_health(port: int) -> Outcome:
    reply = await _call(port, "/grpc.health.v1.Health/Check", b"")
    if isinstance(reply, Outcome):
        return reply
    # HealthCheckResponse{status = 1}: SERVING is 1.
    return READY if reply == b"\x08\x01" else Outcome(Answer.NOT_READY, "health says not serving")


async def _milvus(port: int) -> Outcome:
    reply = await _call(port, "/milvus.proto.milvus.MilvusService/ShowCollections", b"")
    return reply if isinstance(reply, Outcome) else READY


async def _triton(probe: TritonProbe) -> Outcome:
    for model in probe.models:
        name = model.encode()
        # ModelReadyRequest{name = 1} → ModelReadyResponse{ready = 1}, KServe prediction protocol v2.
        request = b"\x0a" + bytes([len(name)]) + name
        reply = await _call(probe.port, "/inference.GRPCInferenceService/ModelReady", request)
        if isinstance(reply, Outcome):
            return reply
        if reply != b"\x08\x01":
            return Outcome(Answer.NOT_READY, f"model {model} is not ready")
    return READY


def _watchdog(probe: WatchdogProbe) -> Outcome:
    try:
        document = json.loads(probe.status.read_text("utf-8"))
        age = time.time() - float(document["time"])
        states = {str(name): str(model["state"]) for name, model in document["models"].items()}
    except FileNotFoundError:
        return Outcome(Answer.SILENT, "no status file yet")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Outcome(Answer.SILENT, f"unreadable status file: {error}")
    if age > probe.stale_after:
        return Outcome(Answer.SILENT, f"has not checked the models for {age:.0f} s")
    bad = [f"{name} is {state}" for name, state in states.items() if state not in ("ready", "busy")]
    return Outcome(Answer.NOT_READY, ", ".join(bad)) if bad else READY


_ENVOY_STATS = (
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_success",
    "listener_manager.total_listeners_active",
    "listener_manager.total_listeners_warming",
)


async def _envoy(probe: EnvoyProbe) -> Outcome:
    """What Istio's agent asks too: live, and configured at least once."""
    if (await admin.get(probe.host, probe.port, "/ready")).strip() != "LIVE":
        return Outcome(Answer.NOT_READY, "waits for its configuration")
    pattern = "|".join(re.escape(name) for name in _ENVOY_STATS)
    text = await admin.get(probe.host, probe.port, f"/stats?filter=^({pattern})$")
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    clusters, listeners, active, warming = (int(values.get(name, 0)) for name in _ENVOY_STATS)
    if not clusters or not listeners:
        return Outcome(Answer.NOT_READY, "no control plane has configured it yet")
    if not active or warming:
        return Outcome(Answer.NOT_READY, f"{active} listeners ready, {warming} not yet")
    return READY


async def _control(probe: ControlProbe) -> Outcome:
    await _connect(probe.port, probe.host)
    try:
        document = json.loads(probe.status.read_text("utf-8"))
        age = time.time() - float(document["updated"])
        version, problems = document["manifests"]["version"], document["manifests"]["problems"]
    except FileNotFoundError:
        return Outcome(Answer.SILENT, "no status file yet")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Outcome(Answer.SILENT, f"unreadable status file: {error}")
    if age > probe.stale_after:
        return Outcome(Answer.SILENT, f"has said nothing for {age:.0f} s")
    if not version:
        first = (
            f"{problems[0]['file']}:{problems[0]['line']}: {problems[0]['message']}"
            if problems
            else "none read"
        )
        return Outcome(Answer.NOT_READY, f"no usable manifests: {first}")
    return READY


def _reason(error: OSError | EOFError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    text = getattr(error, "strerror", None)
    return str(text) if text else type(error).__name__
