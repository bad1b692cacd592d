"""`causeway bench workers`: what one worker per core gives over one process a service, side by side.

Two platforms run at once and are loaded in turns: they differ in `CAUSEWAY_WORKERS` alone. Three kinds of
work, each with enough callers to keep a single process of the service busy: calls that the gateway answers by
itself, calls that PostgreSQL answers, and streams of the synthetic model, a piece every 10 ms. Callers share
the cores with what they call, a process of callers for every two cores. There is no mesh: behind a sidecar
each call under way has a connection of its own, so the workers get their shares there too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

from causeway.gateway.v1 import chat_service_pb2
from causeway.session.v1 import conversation_service_pb2
from loadtest.bench.gateway import question
from loadtest.bench.harness import Rounds, Run, Side
from loadtest.bench.peers.process import Peer
from loadtest.bench.platform import AUTHORITY, Platform, configure, running, temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.samples import Sample, Samples, figures

ONE, MANY = "one", "one per core"
WORKERS = {ONE: "1", MANY: "0"}
SERVICES = ("gateway", "session", "policy")
CROWDS = max(1, (os.cpu_count() or 1) // 2)
"""Processes of callers; one takes about half a core."""
CONNECTIONS = 32
"""Of each. The kernel spreads connections over the workers; with few, one may get them all."""
PIECES = 16
"""Of each answer that is streamed."""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of work."""

    name: str
    service: str
    method: str
    kind: str
    callers: int
    """Of each process."""
    request: bytes


LOADS = (
    Load(
        "gateway alone",
        "gateway",
        "/causeway.gateway.v1.ChatService/ListModels",
        "unary",
        32,
        chat_service_pb2.ListModelsRequest().SerializeToString(),
    ),
    Load(
        "session with PostgreSQL",
        "session",
        "/causeway.session.v1.ConversationService/ListConversations",
        "unary",
        32,
        conversation_service_pb2.ListConversationsRequest(page_size=10).SerializeToString(),
    ),
    Load(
        "streams of the synthetic model",
        "gateway",
        "/causeway.gateway.v1.ChatService/Chat",
        "stream",
        64,
        question("What is it?", max_tokens=PIECES, grounded=False).SerializeToString(),
    ),
)


def run(run: Run) -> None:
    """Starts both platforms, and measures."""
    with ExitStack() as stack:
        platforms: dict[str, Platform] = {}
        for name, workers in WORKERS.items():
            layout = stack.enter_context(temporary_home())
            configure(
                layout,
                {
                    "models": {"CAUSEWAY_TRITON_SYNTHETIC": "1"},
                    "session": {"CAUSEWAY_WORKERS": workers},
                    "policy": {"CAUSEWAY_WORKERS": workers, "CAUSEWAY_QUOTA_TOKENS": "1000000000"},
                    "gateway": {"CAUSEWAY_WORKERS": workers, "CAUSEWAY_MODELS_GENERATOR": "synthetic"},
                },
            )
            platforms[name] = stack.enter_context(running(run, layout))
        for load in LOADS:
            asyncio.run(_compare(run, platforms, load))
        _report_memory(run, platforms)


async def _compare(run: Run, platforms: Mapping[str, Platform], load: Load) -> None:
    run.progress.stage(load.name)
    seconds = 1.0 if run.quick else 3.0
    samples: dict[tuple[str, int], Sample] = {}
    async with AsyncExitStack() as stack:

        async def side(name: str, platform: Platform) -> Side:
            target, authority = platform.target(load.service), AUTHORITY.format(load.service)
            arguments = (target, authority, load.method, load.kind, str(CONNECTIONS), load.request.hex())
            peers = [
                await stack.enter_async_context(Peer("loadtest.bench.peers.service_callers", *arguments))
                for _ in range(CROWDS)
            ]
            asked = {
                "callers": load.callers,
                "seconds": seconds,
                "metadata": platform.metadata("bench", ["reader"]),
            }

            async def measured(number: int) -> float:
                answers = [
                    _answered(one) for one in await asyncio.gather(*[peer.ask(asked) for peer in peers])
                ]
                rate = sum(answer["rate"] for answer in answers)
                worst = {key: max(answer[key] for answer in answers) for key in ("p50", "p99")}
                samples[name, number] = Sample(**worst, rate=rate)
                return rate

            return measured

        sides = {name: await side(name, platform) for name, platform in platforms.items()}
        rounds = await run.interleave(load.name, sides, run.choose(7, 1), seconds=60)
    _report(run, load, rounds, samples)


def _answered(answer: Mapping[str, float]) -> Mapping[str, float]:
    if "error" in answer:
        raise BenchError(f"a call failed: {answer['error']}")
    return answer


def _report(run: Run, load: Load, rounds: Rounds, samples: Samples) -> None:
    add = run.report.add
    add(
        f"one worker per core over one, answers/s, {load.name}",
        rounds.ratio(MANY, ONE),
        "ratio",
        note=f"{rounds.note}; {CROWDS * load.callers} callers on {CROWDS * CONNECTIONS} connections, "
        f"{os.cpu_count()} cores",
    )
    slow = figures(rounds, samples, lambda sample: sample.p99 * 1e3)
    add(f"one worker per core over one, p99, {load.name}", slow.ratio(MANY, ONE), "ratio")
    for name in WORKERS:
        add(f"{name}, answers/s, {load.name}", rounds.values(name), "1/s")


def _report_memory(run: Run, platforms: Mapping[str, Platform]) -> None:
    def memory(platform: Platform) -> float:
        found = platform.memory()
        return sum(found[service] for service in SERVICES)

    more = memory(platforms[MANY]) - memory(platforms[ONE])
    run.report.add(
        "memory that the workers take",
        more,
        "MiB",
        note=f"PSS, {', '.join(SERVICES)} together, after the load",
    )
