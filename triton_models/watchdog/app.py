"""Puts the watchdog together and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

import grpc

from triton_models.client import triton_stub
from triton_models.watchdog.canary import Canary
from triton_models.watchdog.config import WatchdogConfig, model_names
from triton_models.watchdog.healer import Healer
from triton_models.watchdog.judge import Judge, Sight, State
from triton_models.watchdog.status import StatusFile

log = logging.getLogger(__name__)

_CHANNEL_OPTIONS = [
    # Triton restarts behind this channel: look for it again at least every second.
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.initial_reconnect_backoff_ms", 100),
]


async def run(config: WatchdogConfig, stop: asyncio.Event) -> None:
    """Watches every model, each in a task of its own, until ``stop`` is set."""
    settings = config.watchdog
    models = model_names(settings)
    status = StatusFile(settings.status, models)
    status.write()
    options = [*_CHANNEL_OPTIONS, ("grpc.default_authority", config.triton.authority)]
    async with grpc.aio.insecure_channel(config.triton.target, options=options) as channel:
        stub = triton_stub(channel)
        repository = settings.run.parent / "repository" if settings.run else None
        healer = Healer(stub, repository, settings.load_timeout.total_seconds())
        deadline, interval = settings.deadline.total_seconds(), settings.interval.total_seconds()
        watches = [
            asyncio.ensure_future(_watch(Canary(stub, model, deadline), healer, status, interval))
            for model in models
        ]
        stopped = asyncio.ensure_future(stop.wait())
        # A watch never returns: one that does has failed, and the process must not go on pretending.
        done, _ = await asyncio.wait([stopped, *watches], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, *watches):
            task.cancel()
        await asyncio.gather(stopped, *watches, return_exceptions=True)
        for task in done - {stopped}:
            task.result()


async def _watch(canary: Canary, healer: Healer, status: StatusFile, interval: float) -> None:
    model, judge = canary.model, Judge()
    while True:
        finding = await canary.look()
        verdict = judge.see(finding.sight, time.monotonic())
        state = State.HEALING if verdict.heal else verdict.state
        if status.update(model, state, latency=finding.latency, reason=finding.reason, heals=judge.heals):
            log.info("model state", extra={"model": model, "state": state, "reason": finding.reason})
        if not verdict.heal:
            await asyncio.sleep(interval)
            continue
        problem = await healer.heal(model, hung=finding.sight is Sight.STUCK)
        judge.healed(time.monotonic())
        if problem:
            status.update(model, State.DOWN, latency=0, reason=problem, heals=judge.heals)
            await asyncio.sleep(interval)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
