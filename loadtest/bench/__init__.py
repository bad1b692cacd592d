"""`causeway bench NAME`: side-by-side measurements whose figures are ratios taken within one run.

A machine is shared and noisy, so an absolute figure says little. Each bound here compares two things that
were measured alternately in the same run: what passes through the platform, and the limit it cannot beat.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark and prints its report; the exit code, see `loadtest.bench.command`."""
    from loadtest.bench.command import main as run

    return run(argv)
