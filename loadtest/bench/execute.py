"""What a benchmark and a drill have in common: they end within a time, are reported whatever happens, and are
compared with their baseline."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping

from loadtest.bench import baseline
from loadtest.bench.progress import Progress
from loadtest.bench.report import BenchError, Report, render
from loadtest.bench.signals import TimeIsUpError, bounded

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every bound was kept, one was not or the run failed, wrong usage, interrupted."""


def command_line(tool: str, what: str, summaries: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options that all have; `what` is done is said above the names and their summaries."""
    width = max(map(len, summaries)) + 1
    listed = "\n".join(f"  {name:<{width}} {summary}" for name, summary in summaries.items())
    parser = argparse.ArgumentParser(
        prog=tool,
        description=f"{what}:\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=sorted(summaries), metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter spans: to see that it works")
    parser.add_argument(
        "--save-baseline",
        action="store_true",
        help="write it to loadtest/baselines/ if all bounds are kept",
    )
    return parser


def execute(
    tool: str,
    report: Report,
    progress: Progress,
    work: Callable[[], None],
    *,
    limit: int,
    as_json: bool,
    save_baseline: bool = False,
) -> int:
    """Does `work`, which fills the report, for at most `limit` seconds, and prints the report."""
    try:
        with bounded(limit):
            work()
        baseline.compare(report)
        if save_baseline:
            print(f"saved {baseline.save(report)}", file=sys.stderr)
    except TimeIsUpError:
        report.error = f"not done after {limit} s"
    except KeyboardInterrupt:
        progress.clear()
        print(f"{tool}: interrupted; everything it started was stopped", file=sys.stderr)
        return INTERRUPTED
    except BenchError as error:
        report.error = str(error)
    except Exception as error:
        # Whatever it is: what was measured before it is reported.
        progress.clear()
        traceback.print_exc()
        report.error = f"{type(error).__name__}: {error}"
    finally:
        progress.clear()
    if as_json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        print("\n".join(render(report)))
    if report.error and as_json:
        print(f"{tool}: {report.error}", file=sys.stderr)
    return PASSED if report.passed else FAILED
