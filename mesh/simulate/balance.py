"""Envoy's arithmetic of load over priorities and localities. Whole percent, rounded as Envoy rounds.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

OVERPROVISIONING = 140
"""Percent: with 72 of 100 hosts healthy a priority still takes all of the traffic."""
PANIC_THRESHOLD = 50.0
"""Percent of healthy hosts below which health is no longer believed."""


@dataclass(frozen=True, slots=True)
class Level:
    """The hosts of one priority, by number or (weighted priority health) by weight."""

    total: int
    healthy: int
    degraded: int = 0
    hosts: int = 0
    """Their number, healthy or not."""
    usable: int = 0
    """The number of healthy and degraded ones."""


@dataclass(frozen=True, slots=True)
class Loads:
    """Percent of the traffic by priority; both together are 100, or 0 when there is nobody."""

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]
    """Whether a priority uses all of its hosts whatever their health."""

    def of(self, priority: int) -> int:
        """What a priority gets."""
        return self.healthy[priority] + self.degraded[priority]


def availability(level: Level, overprovisioning: int) -> tuple[int, int]:
    """Percent of the traffic that a priority could take with its healthy and with its degraded hosts."""
    if level.total <= 0:
        return 0, 0
    return (
        min(100, overprovisioning * level.healthy // level.total),
        min(100, overprovisioning * level.degraded // level.total),
    )


def spread(
    levels: Sequence[Level],
    overprovisioning: int = OVERPROVISIONING,
    panic_threshold: float = PANIC_THRESHOLD,
) -> Loads:
    """How the traffic falls on priorities."""
    if not levels:
        return Loads((), (), ())
    able = [availability(level, overprovisioning) for level in levels]
    total = min(100, sum(healthy + degraded for healthy, degraded in able))
    none = (0,) * len(levels)
    # Panic is for when the priorities together cannot carry the traffic, and a threshold of 0 forbids it.
    panic = tuple(total != 100 and _in_panic(level, panic_threshold) for level in levels)
    if total == 0 and panic_threshold <= 0:
        return Loads((100, *none[1:]), none, (False,) * len(levels))
    if all(panic):
        return Loads(_by_number(levels), none, panic)
    healthy, degraded = _distribute(able, total)
    return Loads(healthy, degraded, panic)


def retried(
    levels: Sequence[Level],
    attempted: Collection[int],
    before: Loads,
    overprovisioning: int = OVERPROVISIONING,
) -> Loads:
    """How a retry falls on priorities when those already tried are left out (`previous_priorities`).

    When no other can take it, those tried count again; when none can take it at all, nothing changes.
    """
    able = [availability(level, overprovisioning) for level in levels]
    for excluded in (set(attempted), set()):
        left = [(0, 0) if place in excluded else pair for place, pair in enumerate(able)]
        total = min(100, sum(healthy + degraded for healthy, degraded in left))
        if total:
            healthy, degraded = _distribute(left, total)
            return Loads(healthy, degraded, before.panic)
    return before


def locality_shares(
    weights: Sequence[int], healthy: Sequence[int], totals: Sequence[int], overprovisioning: int
) -> tuple[float, ...]:
    """How the traffic of a priority falls on its localities, of which each has a weight.

    A locality whose hosts are partly ill gets less, by the same overprovisioning as a priority.
    """
    effective = [
        weight * min(1.0, overprovisioning / 100 * up / total) if total and up else 0.0
        for weight, up, total in zip(weights, healthy, totals, strict=True)
    ]
    whole = sum(effective)
    return tuple(part / whole if whole else 0.0 for part in effective)


def _in_panic(level: Level, threshold: float) -> bool:
    share = 100.0 * level.usable / level.hosts if level.hosts else 0.0
    return share < threshold


def _by_number(levels: Sequence[Level]) -> tuple[int, ...]:
    """Everything is ill: by the number of hosts; the division's rest goes to the first that has any."""
    everyone = sum(level.hosts for level in levels)
    if not everyone:
        return (100, *(0,) * (len(levels) - 1))
    loads = [100 * level.hosts // everyone for level in levels]
    first = next(place for place, level in enumerate(levels) if level.hosts)
    loads[first] += 100 - sum(loads)
    return tuple(loads)


def _distribute(able: Sequence[tuple[int, int]], total: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """As much as possible to the first priorities; what rounding leaves, to the first that can take any."""
    left = 100
    loads: list[list[int]] = [[], []]
    for kind in (0, 1):
        for pair in able:
            load = min(left, pair[kind] * 100 // total)
            loads[kind].append(load)
            left -= load
    if left:
        kind = 0 if any(healthy for healthy, _ in able) else 1
        first = next(place for place, pair in enumerate(able) if pair[kind])
        loads[kind][first] += left
    return tuple(loads[0]), tuple(loads[1])
