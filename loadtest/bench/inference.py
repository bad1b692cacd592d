"""`causeway bench inference`: Triton against the engines it runs, each alone in a process of its own."""

from __future__ import annotations

import asyncio

from loadtest.bench.harness import Run
from loadtest.bench.inference_cancellation import measure_cancellation
from loadtest.bench.inference_embedder import measure_embedder
from loadtest.bench.inference_generator import measure_generator
from loadtest.bench.inference_site import Site, build
from loadtest.bench.platform import running, temporary_home


def run(run: Run) -> None:
    """Starts a Triton of its own, measures, and stops it."""
    with temporary_home() as layout:
        run.progress.stage("building the models")
        repository = build(layout, run)
        with running(run, layout, ["triton"]) as platform:
            asyncio.run(_measure(run, Site(platform.target("triton"), repository, layout.home)))


async def _measure(run: Run, site: Site) -> None:
    await measure_embedder(run, site)
    await measure_generator(run, site)
    await measure_cancellation(run, site)
