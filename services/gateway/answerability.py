"""Decides whether the documents can answer a question, from what the search found.

Two kinds of evidence are added up:

- the best passage's cosine with the question: whether the documents speak of the same things;
- the share of the question's meaning-bearing words that stand in the passages: a question about the Java
  garbage collector is close to a passage about Python's, but "Java" is nowhere. A name that no passage has
  weighs more than another word, because names have no synonyms.

The weights and the threshold were chosen on the 102 questions of
tests/unit/gateway/answerability_questions.json over the Python language reference, with all-MiniLM-L6-v2; on
those, it refuses none of the 60 that can be answered and none of the 42 others gets by. They hold for other
documents as far as that model's cosines do; CAUSEWAY_CHAT_EVIDENCE moves the threshold, and 0 turns the
decision off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.lexical import stem, terms
from services.gateway.model import Passage

THRESHOLD = 0.6
"""Evidence from which a question is answered."""
COVERAGE_WEIGHT = 0.25
"""What full coverage counts beside the cosine."""
_UNKNOWN_NAME_COST = 0.15
_COVERAGE_ALONE = 0.75
"""Coverage that stands for full evidence when a search gave no cosines."""

_NAME = re.compile(r"(?<=[\w,;:)\"'”\u2019] )(?:[A-Z][\w+#.-]*|\w*\d\w*[A-Za-z]\w*)")
_NOT_NAMES = frozenset({"I", "I'm", "I'd", "A"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for the documents knowing the answer."""

    cosine: float | None
    """Of the best passage; None when the search gave none."""
    coverage: float
    """Share of the question's words that the passages have, from 0 to 1; 1 when it has no such words."""
    unknown_name: bool
    """The question names something that no passage has."""

    @property
    def total(self) -> float:
        """Comparable with THRESHOLD."""
        cosine = self.cosine
        if cosine is None:
            cosine = THRESHOLD if self.coverage >= _COVERAGE_ALONE else 0.0
            return cosine - _UNKNOWN_NAME_COST * self.unknown_name
        return cosine + COVERAGE_WEIGHT * self.coverage - _UNKNOWN_NAME_COST * self.unknown_name


def weigh(question: str, found: Sequence[Passage]) -> Evidence:
    """The evidence that a search gives for a question."""
    have = {term for passage in found for term in terms(f"{passage.title}\n{passage.text}")}
    wanted = set(terms(question))
    cosines = [passage.cosine for passage in found if passage.cosine is not None]
    return Evidence(
        cosine=max(cosines, default=None),
        coverage=len(wanted & have) / len(wanted) if wanted else float(bool(found)),
        unknown_name=any(
            stem(name.lower()) not in have and name not in _NOT_NAMES
            for name in (match[0].rstrip(".-") for match in _NAME.finditer(question))
        ),
    )


def answerable(question: str, found: Sequence[Passage], threshold: float = THRESHOLD) -> bool:
    """Whether to let the model answer."""
    return bool(found) and weigh(question, found).total >= threshold if threshold > 0 else True
