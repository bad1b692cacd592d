"""The little statistics that benchmarks need."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """The middle of several rounds and how far they lie apart."""

    median: float
    low: float
    high: float
    count: int


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, so always a value that was measured.

    Raises ValueError when there are no values, or `share` is not within 0 to 1.
    """
    if not values:
        raise ValueError("no values")
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is not a share")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(values: Sequence[float]) -> Summary:
    """Median, lowest and highest. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("no values")
    return Summary(statistics.median(values), min(values), max(values), len(values))


def ratios(ours: Sequence[float], limit: Sequence[float]) -> list[float]:
    """`ours` over `limit`, pair by pair: each pair was measured in the same round.

    Raises ValueError when the lengths differ or a limit is not positive.
    """
    if any(value <= 0 for value in limit):
        raise ValueError("the limit of a ratio must be positive")
    return [mine / other for mine, other in zip(ours, limit, strict=True)]


def growth(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The exponent k of `times` ~ `sizes` ** k, fitted by least squares on logarithms.

    0 means that the time does not depend on the size, 1 that it grows in proportion.
    Raises ValueError with fewer than two points or values that are not positive.
    """
    if len(sizes) < 2 or min(*sizes, *times) <= 0:
        raise ValueError("growth needs two points and positive values")
    slope, _ = statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in times])
    return slope
