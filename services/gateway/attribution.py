"""Which passage a sentence of the answer rests on.

A small model seldom cites dependably, so the gateway looks for itself: a sentence rests on the passage that
holds most of the sentence's meaning-bearing words, rare ones counting more, and holds them in the same order.
Below a threshold it rests on none. The thresholds were chosen by reading some hundred sentences that the
bundled model wrote; a false citation was held to be worse than a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.gateway.lexical import Weights, terms
from services.gateway.model import Passage

SUPPORTED = 0.6
"""Support from which a passage is cited of the gateway's own accord."""
BACKED = 0.35
"""Support from which a citation that the model itself wrote is believed."""
LEAST_TERMS = 4
"""A sentence with fewer meaning-bearing words says too little to be traced."""
_ORDER_SHARE = 0.35
"""How much of the support comes from words being neighbours in the passage, too."""


@dataclass(frozen=True, slots=True)
class _Indexed:
    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]


class Attribution:
    """Traces sentences to passages."""

    def __init__(self, passages: Sequence[Passage], found: Sequence[Passage]) -> None:
        """``passages``: those before the model, in the order of their numbers.

        ``found``: all that the search found; they tell rare words from common ones.
        """
        self._passages = [_index(passage) for passage in passages]
        self._weights = Weights(_index(passage).words for passage in found)

    def __len__(self) -> int:
        return len(self._passages)

    def support(self, sentence: str, index: int) -> float:
        """How far a passage holds what a sentence says, from 0 to 1."""
        wanted = terms(sentence)
        if not wanted:
            return 0.0
        passage = self._passages[index]
        coverage = self._weights.coverage(wanted, passage.words)
        pairs = set(pairwise(wanted))
        order = len(pairs & passage.pairs) / len(pairs) if pairs else coverage
        return (1 - _ORDER_SHARE) * coverage + _ORDER_SHARE * order

    def best(self, sentence: str) -> int | None:
        """Index of the passage that a sentence rests on; None when there is none."""
        if len(set(terms(sentence))) < LEAST_TERMS or not self._passages:
            return None
        scores = [self.support(sentence, index) for index in range(len(self._passages))]
        best = max(range(len(scores)), key=scores.__getitem__)
        return best if scores[best] >= SUPPORTED else None


def _index(passage: Passage) -> _Indexed:
    found = terms(f"{passage.title}\n{passage.text}")
    return _Indexed(frozenset(found), frozenset(pairwise(found)))
