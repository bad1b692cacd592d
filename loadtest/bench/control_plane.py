"""`causeway bench control-plane`: what a mesh of any size costs its control plane.

Full: the manifests' files to a packed and checked snapshot of every proxy of the mesh, nothing kept from
before. One endpoint: `python -m mesh.control` watches the files; the workloads' file of a service is replaced
by one in which one address differs; the time ends when the control plane has a connected proxy's
acknowledgement. Proxies are connected over gRPC with mutual TLS and speak delta ADS; unless said otherwise
one is, and there is no Sidecar, so that it sees every service of the mesh. Meshes of all sizes are measured
in turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import count

import psutil

from loadtest.bench import control_plane_site as sites
from loadtest.bench.control_plane_client import AdsClient, authority
from loadtest.bench.control_plane_site import SERVICES, Site
from loadtest.bench.harness import Rounds, Run, Side
from loadtest.bench.peers.control_plane_full import STEPS
from loadtest.bench.peers.process import Peer
from loadtest.bench.platform import temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.stats import growth, percentile, summarise
from mesh.local import procfs

SIZES = (100, 1_000, 5_000)
QUICK_SIZES = (100, 1_000)
BOUNDED = 1_000
"""Workloads of the mesh that the bounds are for."""
FULL_SECONDS = 1.0
ENDPOINT_MS = 20.0
CHANGES = (1, 10, 50)
"""Endpoints that change at once, each of another service."""
CHANGE_GROWTH = 1.0
CROWD = 100
"""Proxies that are connected at once."""
PAUSE = 0.15
"""Seconds between two changes."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a control plane's process, in MiB."""

    resident: float
    proportional: float


@dataclass(frozen=True, slots=True)
class Change:
    """Milliseconds from before the first file is written, change by change."""

    received: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Running:
    """A mesh whose control plane runs, with one proxy connected."""

    site: Site
    pid: int
    client: AdsClient
    versions: Iterator[int]
    one: Change = field(default_factory=Change)
    """All changes of one endpoint so far."""


def run(run: Run) -> None:
    """Builds all meshes, and measures them in turns."""
    sizes = QUICK_SIZES if run.quick else SIZES
    with ExitStack() as stack:
        run.progress.stage("writing manifests")
        built = [sites.build(stack.enter_context(temporary_home()), size) for size in sizes]
        asyncio.run(_measure(run, built))


async def _measure(run: Run, built: Sequence[Site]) -> None:
    await _full(run, built, "")
    bounded = [site for site in built if site.workloads == BOUNDED]
    for site in bounded:
        site.write(scoped=True)
    await _full(run, bounded, f", Sidecars for {sites.CALLED} services each")
    for site in bounded:
        site.write()
    async with AsyncExitStack() as stack:
        running = [await _start(stack, site) for site in built]
        costs = await _one_endpoint(run, running)
        for one in running:
            memory = await _settled(one.pid)
            _report_memory(run, f"{one.site.workloads} workloads, 1 proxy connected", memory)
        for one, cost in zip(running, costs, strict=True):
            if one.site.workloads == BOUNDED:
                await _larger_changes(run, one, cost)
                await _crowd(run, stack, one)


async def _full(run: Run, built: Sequence[Site], how: str) -> None:
    run.progress.stage(f"from nothing{how}")
    steps: dict[str, list[dict[str, float]]] = {}
    async with AsyncExitStack() as stack:

        async def side(site: Site) -> Side:
            sources = [str(path) for path in site.sources]
            peer = await stack.enter_async_context(Peer("loadtest.bench.peers.control_plane_full", *sources))

            async def measured(_: int) -> float:
                answer = await peer.ask({})
                if "error" in answer:
                    raise BenchError(answer["error"])
                if answer["proxies"] != site.workloads:
                    raise BenchError(f"{answer['proxies']} proxies of {site.workloads}")
                steps.setdefault(_name(site), []).append(answer["seconds"])
                return float(answer["total"])

            return measured

        sides = {_name(site): await side(site) for site in built}
        rounds = await run.interleave("full", sides, run.choose(5, 1), seconds=60)
    for site in built:
        name = _name(site)
        parts = ", ".join(
            f"{step} {percentile([one[step] for one in steps[name]], 0.5) * 1e3:.0f}" for step in STEPS
        )
        run.report.add(
            f"full, {name}{how}",
            rounds.values(name),
            "s",
            maximum=FULL_SECONDS if site.workloads == BOUNDED and not how else None,
            note=f"snapshots of all {site.workloads} proxies; {rounds.note}; ms: {parts}",
        )


async def _start(stack: AsyncExitStack, site: Site) -> Running:
    pid = await stack.enter_async_context(sites.control_plane(site))
    client = await stack.enter_async_context(AdsClient(site, authority(site), 0, 0))
    if client.endpoints < SERVICES:
        raise BenchError(f"the proxy sees {client.endpoints} of {SERVICES} services")
    return Running(site, pid, client, count(1))


async def _one_endpoint(run: Run, running: Sequence[Running]) -> list[float]:
    """The middle cost of one endpoint in milliseconds, mesh by mesh."""
    run.progress.stage("one endpoint at a time")
    each = run.choose(8, 3)

    def side(one: Running) -> Side:
        async def measured(_: int) -> float:
            change = await _changes(one, [one.client], 1, each)
            one.one.received.extend(change.received)
            one.one.acknowledged.extend(change.acknowledged)
            return percentile(change.acknowledged, 0.5)

        return measured

    sides = {_name(one.site): side(one) for one in running}
    rounds = await run.interleave("one endpoint", sides, run.choose(6, 1), seconds=60)
    for one in running:
        _report_one(run, one, rounds)
    sizes = [one.site.workloads for one in running]
    costs = [rounds.values(_name(one.site)).median for one in running]
    run.report.add(
        "growth of one endpoint's cost with the number of workloads",
        growth(sizes, costs),
        "exponent",
        note=f"{sizes[0]} to {sizes[-1]} workloads; the change is the same, but the endpoints of "
        "its service, which are sent together, grow in proportion",
    )
    return costs


def _report_one(run: Run, one: Running, rounds: Rounds) -> None:
    name = _name(one.site)
    run.report.add(
        f"one endpoint, file to ACK, {name}",
        rounds.values(name),
        "ms",
        maximum=ENDPOINT_MS if one.site.workloads == BOUNDED else None,
        note=f"{rounds.note}, each the median of its changes; "
        f"the proxy had it after {percentile(one.one.received, 0.5):.1f} ms",
    )
    run.report.add(
        f"one endpoint, file to ACK, {name}, p90",
        percentile(one.one.acknowledged, 0.9),
        "ms",
        note=f"of all {len(one.one.acknowledged)} changes",
    )


def _name(site: Site) -> str:
    return f"{site.workloads} workloads"


async def _changes(running: Running, clients: Sequence[AdsClient], many: int, times: int) -> Change:
    """Change `many` endpoints at once, again and again; all clients must have heard."""
    site, change = running.site, Change()
    for _ in range(times):
        await asyncio.sleep(PAUSE)
        version = next(running.versions)
        # In another place each time, and never in the first service: the proxy is one of its.
        services = [1 + (version + step) % (SERVICES - 1) for step in range(many)]
        last = site.each - 1
        expected = [sites.address_of(service, last, version) for service in services]
        files = [site.workloads_file(service, version) for service in services]
        waiting = [asyncio.ensure_future(client.seen(expected)) for client in clients]
        await asyncio.sleep(0)
        began = time.perf_counter()
        for service, content in zip(services, files, strict=True):
            site.replace_workloads(service, content)
        arrivals = await asyncio.gather(*waiting)
        change.received.append(max(arrival.received - began for arrival in arrivals) * 1e3)
        change.acknowledged.append(max(arrival.acknowledged - began for arrival in arrivals) * 1e3)
    return change


async def _larger_changes(run: Run, running: Running, one: float) -> None:
    """How the cost grows with the change, the mesh staying as it is."""
    run.progress.stage(f"{_name(running.site)}: many endpoints at a time")
    costs = [one]
    for many in CHANGES[1:]:
        change = await _changes(running, [running.client], many, run.choose(10, 2))
        costs.append(percentile(change.acknowledged, 0.5))
        run.report.add(
            f"{many} endpoints at once, files to ACK, {_name(running.site)}",
            summarise(change.acknowledged),
            "ms",
        )
    run.report.add(
        "growth of the cost with the number of changed endpoints",
        growth(CHANGES, costs),
        "exponent",
        maximum=CHANGE_GROWTH,
        note=f"{CHANGES[0]} to {CHANGES[-1]} endpoints, each of another service and in another file; "
        f"{_name(running.site)}, 1 proxy connected",
    )


async def _crowd(run: Run, stack: AsyncExitStack, running: Running) -> None:
    """The same change with many proxies connected, all of which see it."""
    site = running.site
    run.progress.stage(f"{_name(site)}: {CROWD} proxies connected")
    vouches = authority(site)
    # The second workload of every service: the first of them is connected already.
    clients = [
        await stack.enter_async_context(AdsClient(site, vouches, number % SERVICES, 1 + number // SERVICES))
        for number in range(CROWD)
    ]
    change = await _changes(running, clients, 1, run.choose(10, 2))
    run.report.add(
        f"one endpoint, file to the last ACK of {CROWD}, {_name(site)}",
        summarise(change.acknowledged),
        "ms",
        note=f"{CROWD} proxies connected that see all {SERVICES} services; the clients share the cores",
    )
    memory = await _settled(running.pid)
    _report_memory(run, f"{_name(site)}, {CROWD + 1} proxies connected", memory)


async def _settled(pid: int) -> Memory:
    """What the process has a while after the last change."""
    await asyncio.sleep(1.0)
    try:
        resident = psutil.Process(pid).memory_info().rss
    except psutil.Error as error:
        raise BenchError("the control plane has ended") from error
    return Memory(resident / 2**20, procfs.proportional_memory(pid) / 2**20)


def _report_memory(run: Run, what: str, memory: Memory) -> None:
    run.report.add(f"memory, {what}", memory.proportional, "MiB", note=f"PSS; RSS {memory.resident:.0f} MiB")
