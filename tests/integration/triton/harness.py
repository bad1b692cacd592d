"""Starts a real Triton with our models, and looks at it from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.wait import until

from triton_models.build import ModelRepository, build
from triton_models.client import ModelFailedError, Piece, chat_request, stream
from triton_models.options import BuildOptions
from triton_models.server import Ports, launch_spec, shm_prefix, sweep
from triton_models.watchdog.stubs import stub_processes

START_SECONDS = 120.0


@dataclass(slots=True)
class Triton:
    """A running server."""

    process: subprocess.Popen[bytes]
    ports: Ports
    home: Path
    repository: ModelRepository

    @property
    def target(self) -> str:
        """The gRPC address."""
        return f"127.0.0.1:{self.ports.grpc}"

    def stubs(self, model: str) -> list[int]:
        """Process ids of a model's stubs."""
        return stub_processes(self.repository.path, model)

    def ready(self) -> bool:
        """What Triton itself says; false hope when a stub is dead."""
        paths = ["/v2/health/ready", *(f"/v2/models/{model}/ready" for model in self.repository.models)]
        return all(_responds(f"http://127.0.0.1:{self.ports.http}{path}") for path in paths)

    def metrics(self) -> str:
        """The metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.metrics}/metrics", timeout=10) as page:
            text: str = page.read().decode()
        return text

    def kill(self) -> None:
        """Ends the server and its stubs without warning, and removes what they leave behind."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        until(lambda: not any(self.stubs(model) for model in self.repository.models))
        sweep(shm_prefix(self.home))


def start(home: Path, options: BuildOptions) -> Triton:
    """Builds what is missing and starts a server that loads it all."""
    repository = build(home, options=options)
    ports = Ports(grpc=_free_port(), http=_free_port(), metrics=_free_port())
    spec = launch_spec(home, repository, ports)
    with (home / "triton.log").open("ab") as log:
        process = subprocess.Popen(
            spec.argv, env=spec.env, cwd=spec.cwd, stdout=log, stderr=log, start_new_session=True
        )
    triton = Triton(process, ports, home, repository)
    deadline = time.monotonic() + START_SECONDS
    while not triton.ready():
        tail = (home / "triton.log").read_text()[-2000:]
        assert process.poll() is None, f"Triton ended:\n{tail}"
        assert time.monotonic() < deadline, f"Triton did not become ready:\n{tail}"
        time.sleep(0.05)
    return triton


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own loopback URL
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    pieces: list[str] = field(default_factory=list)
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    def add(self, piece: Piece) -> None:
        """One more response."""
        self.pieces.append(piece.text)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.usage = piece.usage or self.usage


async def ask(
    stub: Any,
    content: str | Sequence[Mapping[str, str]],
    params: Mapping[str, Any] | None = None,
    *,
    model: str = "generator",
    timeout: float = 60,
) -> Reply:
    """Asks one question and waits for the end of the answer."""
    messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
    reply = Reply()
    request = chat_request(messages, {"temperature": 0, **(params or {})}, model)
    try:
        async for piece in stream(stub, request, timeout=timeout):
            reply.add(piece)
    except ModelFailedError as error:
        reply.error = str(error)
    return reply


async def engine_state(stub: Any) -> Mapping[str, Any]:
    """The engine's own counts: processing, deferred, tokens, waiting."""
    return (await ask(stub, "probe", {"probe": True})).usage
