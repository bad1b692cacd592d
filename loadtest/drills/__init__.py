"""`causeway drill NAME`: faults under load, with a measured result.

A drill puts steady load on a platform of two regions, does something terrible to one of them, and counts what
the callers saw: failed calls, broken answers, lost or repeated text, and how long traffic took to move.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Runs one drill and prints its report; the exit code, see `loadtest.drills.command`."""
    from loadtest.drills.command import main as run

    return run(argv)
