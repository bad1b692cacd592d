"""The command line of the drills.

Exit codes: 0 every bound was kept, 1 one was not or the drill could not be done, 2 wrong usage, 130
interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from loadtest.bench import environment
from loadtest.bench import execute as common
from loadtest.bench.execute import USAGE
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report
from loadtest.drills import faults
from loadtest.drills.load import Shape
from loadtest.drills.platform import Platform
from loadtest.drills.stage import Stage

HARD_LIMIT = 420
"""Seconds after which a drill that hangs is ended."""

FULL = (200.0, 20)
"""Unary calls a second and open chat streams, unless somebody says otherwise."""

Drill = Callable[[Stage], Awaitable[None]]
Start = Callable[[Progress, bool], AbstractContextManager[Platform]]
"""Starts a platform of its own; told whether the real model is wanted."""

DRILLS: Mapping[str, tuple[Drill, str]] = {
    "region-loss": (faults.region_loss, "SIGKILL of everything in a region, its ingress included"),
    "hang": (faults.hang, "SIGSTOP of everything in a region"),
    "drain": (faults.drain, "a region is taken out as planned, and comes back"),
    "control-plane-loss": (faults.control_plane_loss, "one control plane is killed, then both"),
    "rotate-certs": (faults.rotate_certs, "every leaf is replaced, then the root"),
    "slow-region": (faults.slow_region, "a region answers late"),
    "flapping": (faults.flapping, "a region hangs and comes back, again and again"),
    "half-open": (faults.half_open, "packets of a region are dropped"),
}
"""Name → the drill, and what is done."""


def main(argv: Sequence[str]) -> int:
    """Parses `argv`, does the drill, prints its report; see the module's text for the exit code."""
    try:
        options = _parser().parse_args(list(argv))
    except SystemExit as error:
        return int(error.code or 0)
    if options.save_baseline and (options.quick or options.real or (options.rate, options.streams) != FULL):
        print("causeway drill: only a whole drill at full load makes a baseline", file=sys.stderr)
        return USAGE
    from loadtest.drills.local import started

    shape = Shape(rate=options.rate, streams=options.streams)
    return execute(
        options.name,
        DRILLS[options.name][0],
        started,
        shape,
        quick=options.quick,
        as_json=options.json,
        real=options.real,
        save_baseline=options.save_baseline,
    )


def execute(
    name: str,
    drill: Drill,
    start: Start,
    shape: Shape,
    *,
    quick: bool,
    as_json: bool,
    real: bool = False,
    save_baseline: bool = False,
) -> int:
    """Does one drill on a platform of its own and prints its report."""
    progress = Progress()
    report = Report(name=f"drill {name}", environment=environment.describe(quick=quick))

    def work() -> None:
        with start(progress, real) as platform:
            stage = Stage(platform=platform, report=report, progress=progress, quick=quick, shape=shape)
            asyncio.run(_run(drill, stage))

    return common.execute(
        "causeway drill",
        report,
        progress,
        work,
        limit=HARD_LIMIT,
        as_json=as_json,
        save_baseline=save_baseline,
    )


async def _run(drill: Drill, stage: Stage) -> None:
    await drill(stage)


def _parser() -> argparse.ArgumentParser:
    summaries = {name: summary for name, (_, summary) in DRILLS.items()}
    what = "Harms a platform of its own under load, and counts what callers see"
    parser = common.command_line("causeway drill", what, summaries)
    parser.add_argument("--rate", type=_positive, default=FULL[0], help="unary calls a second (default 200)")
    parser.add_argument("--streams", type=int, default=FULL[1], help="open chat streams (default 20)")
    parser.add_argument(
        "--real",
        action="store_true",
        help="answers of the real model; without it, a synthetic one at a steady pace",
    )
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 < value <= 5000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 5000")
    return value
