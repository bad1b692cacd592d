"""Fusing rankings, and keeping one document from filling the result. Pure.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods", SIGIR 2009: score(d) = Σ 1 / (k + rank(d)) over the rankings that hold d, ranks from 1, k = 60.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

K = 60
"""The paper's constant; results change little around it."""

Item = TypeVar("Item", bound=Hashable)


def fuse(rankings: Sequence[Sequence[Item]], k: int = K) -> list[tuple[Item, float]]:
    """Items of all rankings with their fused scores, best first.

    Each ranking is best first; an item that a ranking repeats counts at its best rank. Equal scores keep the
    order in which the rankings name the items, so that the result is determined by the input.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


def spread(
    ranked: Sequence[tuple[Item, float]], group: Callable[[Item], Hashable], share: float
) -> list[tuple[Item, float]]:
    """The ranking with each further item of a group counting ``share`` of what the one before it did.

    Long documents, and documents that repeat each other, would otherwise take all places near the top with
    passages that say the same. Within a group the order stays.
    """
    seen: dict[Hashable, int] = {}
    spread_out: list[tuple[Item, float]] = []
    for item, score in ranked:
        key = group(item)
        spread_out.append((item, score * share ** seen.get(key, 0)))
        seen[key] = seen.get(key, 0) + 1
    return sorted(spread_out, key=lambda pair: -pair[1])
