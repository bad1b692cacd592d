"""What callers in a process of their own saw, round by round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtest.bench.harness import Round, Rounds


@dataclass(frozen=True, slots=True)
class Sample:
    """What the callers of one side saw in one round."""

    p50: float
    p99: float
    """Seconds."""
    rate: float
    """Answers a second."""


Samples = Mapping[tuple[str, int], Sample]
"""By side and round."""


def figures(rounds: Rounds, samples: Samples, of: Callable[[Sample], float]) -> Rounds:
    """The same rounds with another figure of each side."""
    return Rounds(
        [
            Round({name: of(samples[name, number]) for name in one.values}, one.foreign)
            for number, one in enumerate(rounds.every)
        ]
    )
