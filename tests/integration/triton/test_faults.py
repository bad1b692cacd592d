"""Killed, hung and overloaded models, and what the watchdog makes of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.triton.harness import Triton, ask
from support.wait import until

from triton_models.client import embed_request, embeddings, triton_stub
from triton_models.server import shm_prefix, sweep
from triton_models.shared_memory import leftovers

pytestmark = pytest.mark.timeout(300)


class Watchdog:
    """The watchdog process and its status file."""

    def __init__(self, triton: Triton, folder: Path) -> None:
        self.status_file = folder / "watchdog.json"
        env = {
            **os.environ,
            "CAUSEWAY_TRITON_TARGET": triton.target,
            "CAUSEWAY_TRITON_AUTHORITY": "triton.causeway.svc.cluster.local",
            "CAUSEWAY_WATCHDOG_STATUS": str(self.status_file),
            "CAUSEWAY_WATCHDOG_RUN": str(triton.repository.run),
            "CAUSEWAY_WATCHDOG_INTERVAL": "300ms",
            "CAUSEWAY_WATCHDOG_DEADLINE": "5s",
        }
        self.log = folder / "watchdog.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "triton_models.watchdog"], env=env, stdout=log, stderr=log
            )

    def model(self, name: str) -> dict[str, Any]:
        """A model's entry; empty before the first one is written."""
        try:
            entry: dict[str, Any] = json.loads(self.status_file.read_text())["models"][name]
        except FileNotFoundError:
            return {}
        return entry

    def is_ready(self, name: str, heals: int = 0) -> bool:
        """Whether a model is well after at least so many replacements."""
        entry = self.model(name)
        return bool(entry) and entry["state"] == "ready" and entry["heals"] >= heals


@pytest.fixture
def watchdog(victim: Triton, tmp_path: Path) -> Iterator[Watchdog]:
    watchdog = Watchdog(victim, tmp_path)
    try:
        until(lambda: watchdog.is_ready("embedder") and watchdog.is_ready("generator"), limit=60)
        yield watchdog
    finally:
        watchdog.process.terminate()
        assert watchdog.process.wait(timeout=20) == 0


@pytest.fixture
async def service(victim: Triton) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(victim.target) as channel:
        yield triton_stub(channel)


async def test_a_killed_generator_is_replaced_while_triton_calls_it_ready(
    victim: Triton, watchdog: Watchdog, service: Any
) -> None:
    [old] = victim.stubs("generator")
    os.kill(old, signal.SIGKILL)
    assert victim.ready()
    until(lambda: watchdog.is_ready("generator", heals=1), limit=90)
    assert old not in victim.stubs("generator")
    reply = await ask(service, "Hi", {"max_tokens": 2, "ignore_eos": True})
    assert (reply.error, reply.usage["completion_tokens"]) == ("", 2)
    assert "not healthy" in watchdog.model("generator")["last_error"]


async def test_one_killed_embedder_of_two_is_noticed_and_both_are_replaced(
    victim: Triton, watchdog: Watchdog, service: Any
) -> None:
    old = victim.stubs("embedder")
    os.kill(old[0], signal.SIGKILL)
    until(lambda: watchdog.is_ready("embedder", heals=1), limit=90)
    for _ in range(6):
        assert len(embeddings(await service.ModelInfer(embed_request(["x"]), timeout=30))) == 1
    # Nothing of the old pair goes on eating memory.
    until(lambda: not set(old) & set(victim.stubs("embedder")))
    assert len(victim.stubs("embedder")) == len(old)


async def test_a_hung_generator_is_ended_and_replaced(
    victim: Triton, watchdog: Watchdog, service: Any
) -> None:
    [old] = victim.stubs("generator")
    os.kill(old, signal.SIGSTOP)
    until(lambda: watchdog.is_ready("generator", heals=1), limit=120)
    assert old not in victim.stubs("generator")
    assert (await ask(service, "Hi", {"max_tokens": 1})).error == ""


async def test_an_overloaded_generator_is_busy_and_is_left_alone(
    victim: Triton, watchdog: Watchdog, service: Any
) -> None:
    [process] = victim.stubs("generator")
    heals = watchdog.model("generator")["heals"]
    params = {"max_tokens": 400, "ignore_eos": True}
    load = [asyncio.ensure_future(ask(service, f"Story {index}", params)) for index in range(8)]
    try:
        states = set()
        for _ in range(40):
            await asyncio.sleep(0.1)
            states.add(watchdog.model("generator")["state"])
    finally:
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    assert "busy" in states
    assert states <= {"busy", "ready"}
    assert victim.stubs("generator") == [process]
    assert watchdog.model("generator")["heals"] == heals


def test_a_killed_server_leaves_names_in_shared_memory_and_sweeping_removes_them(
    victim: Triton, watchdog: Watchdog
) -> None:
    """Last in this file: it ends the server the other tests use."""
    prefix = shm_prefix(victim.home)
    assert leftovers(prefix)
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.process.wait(timeout=30)
    until(lambda: watchdog.model("generator")["state"] == "unknown", limit=60)
    assert watchdog.model("embedder")["heals"] == 0
    orphans = [pid for model in victim.repository.models for pid in victim.stubs(model)]
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(victim.stubs(model) for model in victim.repository.models))
    assert leftovers(prefix)
    assert sweep(prefix)
    assert leftovers(prefix) == []
