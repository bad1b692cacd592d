"""The command line of the benchmarks.

Exit codes: 0 every bound was kept, 1 one was not or the run failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from loadtest.bench import environment
from loadtest.bench import execute as common
from loadtest.bench.execute import USAGE
from loadtest.bench.harness import Run
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report

HARD_LIMIT = 600
"""Seconds after which a run that hangs is ended. A run is meant to take less than 240."""

Benchmark = Callable[[Run], None]

BENCHMARKS: Mapping[str, tuple[str, str]] = {
    "inference": ("loadtest.bench.inference", "Triton against the raw engines"),
    "chat": ("loadtest.bench.chat", "the gateway against Triton"),
    "retrieval": ("loadtest.bench.retrieval", "ingestion, search, and how good it finds"),
    "answers": ("loadtest.bench.answers", "whether answers are grounded, and admit what is not there"),
    "mesh": ("loadtest.bench.mesh", "calls through the mesh against direct ones"),
    "control-plane": ("loadtest.bench.control_plane", "from manifests to proxies, small and large meshes"),
    "workers": ("loadtest.bench.workers", "one worker per core against one process a service"),
    "start": ("loadtest.bench.start", "how soon a platform is ready, and its memory"),
}
"""Name → the module with `run(Run) -> None`, and what it measures."""


def main(argv: Sequence[str]) -> int:
    """Parses `argv`, runs the benchmark, prints its report; see the module's text for the exit code."""
    try:
        options = _parser().parse_args(list(argv))
    except SystemExit as error:
        return int(error.code or 0)
    if options.save_baseline and options.quick:
        print("causeway bench: a quick run is too coarse for a baseline", file=sys.stderr)
        return USAGE
    module, _ = BENCHMARKS[options.name]
    return execute(
        options.name,
        _load(module),
        quick=options.quick,
        as_json=options.json,
        save_baseline=options.save_baseline,
    )


def execute(
    name: str, benchmark: Benchmark, *, quick: bool, as_json: bool, save_baseline: bool = False
) -> int:
    """Runs one benchmark and prints its report."""
    progress = Progress()
    facts = environment.describe(quick=quick)
    report = Report(name=name, environment=facts)
    run = Run(report=report, progress=progress, quick=quick)
    return common.execute(
        "causeway bench",
        report,
        progress,
        lambda: _measure(benchmark, run, facts),
        limit=HARD_LIMIT,
        as_json=as_json,
        save_baseline=save_baseline,
    )


def _measure(benchmark: Benchmark, run: Run, facts: dict[str, object]) -> None:
    try:
        with run.meter:
            benchmark(run)
    finally:
        usage = run.meter.usage
        facts["load"] = {
            "foreign_cores": round(usage.foreign, 2),
            "own_cores": round(usage.ours, 2),
            "stolen_cores": round(usage.steal, 2),
            "seconds": round(usage.seconds, 1),
        }


def _parser() -> argparse.ArgumentParser:
    summaries = {name: summary for name, (_, summary) in BENCHMARKS.items()}
    return common.command_line("causeway bench", "Measures one thing side by side with its limit", summaries)


def _load(module: str) -> Benchmark:
    benchmark: Benchmark = importlib.import_module(module).run
    return benchmark
