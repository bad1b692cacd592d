"""Words as evidence: which words of one text stand in another, weighed by how rare they are.

Weights are inverse document frequencies (Spärck Jones, 1972, in the form of Robertson and Zaragoza, 2009)
over the passages that one search found, which are all that the gateway knows of the corpus.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from services.gateway.stopwords import STOP_WORDS

_WORD = re.compile(r"[^\W_]+(?:[_'\u2019][^\W_]+)*|__\w+__", re.UNICODE)
_VOWELS = frozenset("aeiouy")


def words(text: str) -> list[str]:
    """The words of a text in lower case, as they stand."""
    return [match[0].lower() for match in _WORD.finditer(text)]


def stem(word: str) -> str:
    """The word without its commonest English endings, so that "statements" meets "statement".

    A few rules of Porter's first step (1980); a stem is compared with other stems only, never shown.
    """
    word = word.replace("\u2019", "'").removesuffix("'s").strip("_") or word
    if len(word) <= 3 or not word.isascii():
        return word
    for ending, replacement in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("ed", ""),
        ("es", "e"),
        ("s", ""),
    ):
        if not word.endswith(ending) or (ending == "s" and word.endswith(("ss", "us", "is"))):
            continue
        base = word[: -len(ending)] + replacement
        if len(base) < 3 or _VOWELS.isdisjoint(base):
            continue
        if ending in ("ing", "ed") and base[-1] == base[-2] and base[-1] not in "lsz":
            base = base[:-1]
        word = base
        break
    # "define", "defined" and "defining" meet without their last e.
    return word.removesuffix("e") if len(word) > 4 else word


def terms(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order, repeated as they are."""
    return [
        stem(word) for word in words(text) if word not in STOP_WORDS and (len(word) > 1 or word.isdecimal())
    ]


class Weights:
    """How much each term tells, given the passages of one search."""

    def __init__(self, passages: Iterable[Collection[str]]) -> None:
        """``passages``: the set of terms of each passage."""
        sets = [frozenset(passage) for passage in passages]
        self._size = len(sets)
        self._frequency = Counter(term for passage in sets for term in passage)

    def __getitem__(self, term: str) -> float:
        """Positive; largest for a term that no passage has."""
        frequency = self._frequency[term]
        return math.log(1 + (self._size - frequency + 0.5) / (frequency + 0.5))

    def coverage(self, wanted: Iterable[str], found: Collection[str]) -> float:
        """The share of ``wanted``'s weight that stands in ``found``, from 0 to 1; 0 when nothing is
        wanted."""
        wanted = set(wanted)
        total = sum(self[term] for term in wanted)
        return sum(self[term] for term in wanted if term in found) / total if total else 0.0


def similar(one: Collection[str], other: Collection[str]) -> float:
    """The share of the smaller set of terms that stands in the larger one, from 0 to 1."""
    smaller, larger = sorted((set(one), set(other)), key=len)
    return len(smaller & larger) / len(smaller) if smaller else 0.0


def trigrams(sequence: Sequence[str]) -> list[tuple[str, ...]]:
    """Every three neighbours."""
    return [tuple(sequence[start : start + 3]) for start in range(len(sequence) - 2)]
