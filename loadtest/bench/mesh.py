"""`causeway bench mesh`: what the mesh costs a call, side by side with a direct one.

A region of the platform is started as `causeway up` starts it, with the manifests in `istio/`, but of its
processes only the control plane and the sidecars of gateway and session. An echo server stands in the place
of session. Three clients, each in a process of its own, ask it as the gateway would: directly, as their own
proxy (`xds:///`, mutual TLS to session's sidecar), and through both sidecars.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from loadtest.bench.harness import Rounds, Run, Side
from loadtest.bench.peers.process import Peer
from loadtest.bench.platform import Platform, running, temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.samples import Sample, Samples, figures
from mesh.local import addresses, proxyless
from mesh.local.files import write_json
from mesh.local.names import SIDECAR, DataPlane, Shape, in_region
from mesh.local.plan import LOOPBACK, Plan
from mesh.local.workloads import SERVICE_PORTS, service_host

REGION = "us-west-2"
SHAPE = Shape((REGION,), DataPlane.SIDECAR)
CALLER, SERVER = "gateway", "session"
PROCESSES = tuple(in_region(name, REGION) for name in ("control", SIDECAR + CALLER, SIDECAR + SERVER))
METHOD = "/causeway.session.v1.MessageService/ListMessages"
"""One that the manifests allow the gateway."""

DIRECT, PROXYLESS, SIDECARS = "direct", "proxyless", "sidecars"
SIDES = (DIRECT, PROXYLESS, SIDECARS)
CALLERS = (1, 16, 64)
BOUND = 2.2
FIRST_CALL = 20.0
"""Seconds until a way must be open."""


def run(run: Run) -> None:
    """Starts the mesh, and measures."""
    with temporary_home() as layout, running(run, layout, PROCESSES, SHAPE) as platform:
        asyncio.run(_measure(run, platform))


async def _measure(run: Run, platform: Platform) -> None:
    network = addresses.load(platform.layout.network)
    if network is None:
        raise BenchError("the platform has no addresses")
    plan = Plan(SHAPE, platform.ports, network)
    host = service_host(SERVER)
    port = plan.port(SERVER, REGION)
    targets = {
        DIRECT: [f"{LOOPBACK}:{port}", host, METHOD],
        PROXYLESS: [f"xds:///{host}:{SERVICE_PORTS[SERVER]}", host, METHOD, _bootstrap(platform, plan)],
        SIDECARS: [plan.target(CALLER, SERVER, REGION), host, METHOD],
    }
    async with AsyncExitStack() as stack:
        run.progress.stage("opening the ways")
        echo = Peer("loadtest.bench.peers.mesh_echo", str(port), METHOD)
        await stack.enter_async_context(echo)
        clients = {}
        for side, arguments in targets.items():
            peer = Peer("loadtest.bench.peers.mesh_caller", *arguments)
            clients[side] = await stack.enter_async_context(peer)
            await _opened(side, clients[side])
        for callers in CALLERS:
            await _compare(run, clients, callers)


def _bootstrap(platform: Platform, plan: Plan) -> str:
    """How the gateway finds the mesh without its sidecar; its identity is the sidecar's."""
    workload = next(item for item in plan.workloads if item.app == CALLER)
    folder = platform.layout.proxy(workload.process)
    path = folder / proxyless.FILE
    write_json(path, proxyless.bootstrap(workload, plan.control_planes(REGION), folder))
    return str(path)


async def _opened(side: str, client: Peer) -> None:
    """Wait until calls are answered: a sidecar has to find its server healthy first."""
    deadline = time.monotonic() + FIRST_CALL
    while "error" in (answer := await client.ask({"callers": 1, "seconds": 0.3})):
        if time.monotonic() > deadline:
            raise BenchError(f"no way to the server ({side}): {answer['error']}")
        await asyncio.sleep(0.2)


async def _compare(run: Run, clients: Mapping[str, Peer], callers: int) -> None:
    run.progress.stage(f"calls, {callers} at a time")
    seconds = 0.5 if run.quick else 2.0
    samples: dict[tuple[str, int], Sample] = {}

    def side(name: str) -> Side:
        async def measured(number: int) -> float:
            answer = await clients[name].ask({"callers": callers, "seconds": seconds})
            if "error" in answer:
                raise BenchError(f"a call failed ({name}): {answer['error']}")
            samples[name, number] = Sample(answer["p50"], answer["p99"], answer["rate"])
            return float(answer["p50"])

        return measured

    sides = {name: side(name) for name in SIDES}
    rounds = await run.interleave(f"{callers} callers", sides, run.choose(7, 1), seconds=60)
    report(run, callers, rounds, samples)


def report(run: Run, callers: int, rounds: Rounds, samples: Samples) -> None:
    """All figures of one number of callers."""
    add = run.report.add
    at = f"{callers} caller{'s' if callers > 1 else ''}"
    middle = figures(rounds, samples, lambda sample: sample.p50 * 1e3)
    slow = figures(rounds, samples, lambda sample: sample.p99 * 1e3)
    rate = figures(rounds, samples, lambda sample: sample.rate)
    add(
        f"sidecars over direct, p50, {at}",
        middle.ratio(SIDECARS, DIRECT),
        "ratio",
        maximum=BOUND if callers == 1 else None,
        note=f"{rounds.note}; 256 bytes there and back, both sidecars, mutual TLS, istio/ as it is"
        if callers == 1
        else "",
    )
    add(f"proxyless over direct, p50, {at}", middle.ratio(PROXYLESS, DIRECT), "ratio")
    add(f"sidecars over direct, calls/s, {at}", rate.ratio(SIDECARS, DIRECT), "ratio")
    for name in SIDES:
        add(f"{name}, p50, {at}", middle.values(name), "ms")
        add(f"{name}, p99, {at}", slow.values(name), "ms")
        add(f"{name}, calls/s, {at}", rate.values(name), "1/s")
