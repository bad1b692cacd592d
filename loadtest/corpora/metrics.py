"""How well a search ranks: the usual measures, on labels. Pure."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence


def reciprocal_rank(ranked: Sequence[Hashable], right: Collection[Hashable]) -> float:
    """1 / rank of the first right item, ranks from 1; 0 when there is none.

    Its mean over questions is the MRR (Voorhees, "The TREC-8 Question Answering Track Report", 1999).
    """
    return next((1.0 / rank for rank, item in enumerate(ranked, start=1) if item in right), 0.0)


def hit_at(ranked: Sequence[Hashable], right: Collection[Hashable], k: int) -> float:
    """1 when a right item is among the first ``k``, else 0.

    Every right item of our questions answers the whole question by itself, so that one is enough; the mean
    over questions is what is reported as recall@k.
    """
    return float(any(item in right for item in ranked[:k]))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
