"""The embedder through Triton against raw ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import numpy as np

from loadtest.bench import texts
from loadtest.bench.harness import Rounds, Run
from loadtest.bench.inference_site import UNBATCHED, Site
from loadtest.bench.meter import Meter
from loadtest.bench.peers.process import Peer
from loadtest.bench.report import BenchError
from loadtest.bench.stats import percentile
from loadtest.bench.triton import EmbedLoad, embed, open_channel
from triton_models.client import embed_request
from triton_models.options import usable_cores

CLIENTS = 64
RAW_BATCH = 32
"""Texts that raw ONNX Runtime is given at once: what Triton makes of 64 clients and two instances."""
SHARE = 0.95


async def measure_embedder(run: Run, site: Site) -> None:
    """At 64 clients, each with one text at a time."""
    run.progress.stage(f"embedder at {CLIENTS} clients")
    passages = texts.passages(256)
    seconds = 1.0 if run.quick else 3.0
    cores = usable_cores()
    latencies: list[float] = []
    client: list[float] = []
    async with AsyncExitStack() as stack:

        async def load(model: str) -> EmbedLoad:
            requests = [embed_request([text], model).SerializeToString() for text in passages]
            return await stack.enter_async_context(EmbedLoad(site.target, requests, CLIENTS))

        async def raw(workers: int, threads: int) -> Peer:
            module = "loadtest.bench.peers.embedder"
            folder = str(site.settings("embedder"))
            return await stack.enter_async_context(Peer(module, folder, str(workers), str(threads)))

        joined, single = await load("embedder"), await load(UNBATCHED)
        per_core, whole = await raw(cores, 1), await raw(1, cores)
        await _check_vectors(per_core, site, passages[:8])

        async def triton_rate(_: int) -> float:
            with Meter() as meter:
                rate = await joined.rate(seconds, latencies)
            client.append(meter.usage.client)
            return rate

        async def raw_rate(peer: Peer) -> float:
            asked = {"texts": passages, "batch": RAW_BATCH, "seconds": seconds}
            return float((await peer.ask(asked))["rate"])

        rounds = await run.interleave(
            "texts/s",
            {
                "triton": triton_rate,
                "raw, a session a core": lambda _: raw_rate(per_core),
                "raw, one session": lambda _: raw_rate(whole),
            },
            run.choose(6, 2),
        )
        batching = await run.interleave(
            "texts/s",
            {"on": lambda _: joined.rate(seconds), "off": lambda _: single.rate(seconds)},
            run.choose(2, 1),
            extra=0,
        )
    _report_embedder(run, rounds, batching, latencies, client)


def _report_embedder(
    run: Run, rounds: Rounds, batching: Rounds, latencies: Sequence[float], client: Sequence[float]
) -> None:
    arrangements = ("raw, a session a core", "raw, one session")
    best = max(arrangements, key=lambda side: rounds.values(side).median)
    add = run.report.add
    add(
        f"embedder through Triton over raw ONNX Runtime, {CLIENTS} clients",
        rounds.ratio("triton", best),
        "ratio",
        minimum=SHARE,
        note=f"{rounds.note}; against the faster of two arrangements: {best}; passages of 90 words",
    )
    add("embedder through Triton", rounds.values("triton"), "texts/s")
    for side in arrangements:
        add(f"embedder, {side}", rounds.values(side), "texts/s")
    add("embedder, batching on over off", batching.ratio("on", "off"), "ratio")
    for share in (0.5, 0.99):
        add(
            f"embedder latency at {CLIENTS} clients, p{share * 100:.0f}",
            percentile(latencies, share) * 1e3,
            "ms",
        )
    add("embedder load generator", max(client), "cores", note="taken from the same machine as Triton's work")


async def _check_vectors(peer: Peer, site: Site, passages: Sequence[str]) -> None:
    """A comparison of speed is worth nothing unless both sides compute the same."""
    expected = np.array((await peer.ask({"texts": list(passages)}))["vectors"], np.float32)
    async with open_channel(site.target) as channel:
        found = await embed(channel, passages)
    if not np.allclose(expected, found, atol=1e-4):
        raise BenchError("Triton and raw ONNX Runtime give different vectors")
