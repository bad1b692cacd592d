"""Puts the passages of a search in the order in which they go before the model.

A search by fused ranks knows which passages are the best, less well which of them is best of all: a passage
that only the lexical search found, by some common word, can stand first. The gateway sees each passage's
cosine and its words, and has room for a few passages only, so it orders them by the same evidence by which it
judges whether they hold the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.gateway.answerability import COVERAGE_WEIGHT
from services.gateway.lexical import terms
from services.gateway.model import Passage


def by_relevance(question: str, found: Sequence[Passage]) -> list[Passage]:
    """The passages, most relevant first; as they came when a search gave no cosines."""
    wanted = set(terms(question))

    def relevance(passage: Passage) -> float:
        have = wanted.intersection(terms(f"{passage.title}\n{passage.text}"))
        coverage = len(have) / len(wanted) if wanted else 0.0
        return (passage.cosine or 0.0) + COVERAGE_WEIGHT * coverage

    if any(passage.cosine is None for passage in found):
        return list(found)
    return sorted(found, key=relevance, reverse=True)
