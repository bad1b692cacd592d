"""Notices when a model has begun to go round in circles, as small ones do under greedy decoding.

A sentence that was there before is worth nothing to the reader, and what follows it will be the same again.
"""

from __future__ import annotations

import re
from collections import Counter

from services.gateway.lexical import trigrams, words

_LEADING = re.compile(r"^(?:\s|\d{1,3}[.)]\s|[-*•>#\"“'`]+)*")
_MARKS = re.compile('["“”`*]')
_ONLY_LEADING = re.compile(r"^\s*(?:\d{1,3}[.)]?|[-*•>#]+)?\s*$")
_LEAST_WORDS = 4
_LEAST_TRIGRAMS = 5
_KNOWN_SHARE = 0.85
_SLACK = 16
_LOOP_WORDS = 24
_LOOP_CHARS = 1_000
_LOOP_COUNT = 3
_LOOP_LENGTH = 4


class Repetition:
    """Remembers the sentences of one answer."""

    def __init__(self) -> None:
        self._sentences: set[str] = set()
        self._longest = 0
        self._trigrams: set[tuple[str, ...]] = set()

    def add(self, sentence: str) -> None:
        """Remembers a sentence that was given out."""
        plain = _plain(sentence)
        if len(plain.split()) >= _LEAST_WORDS:
            self._sentences.add(plain)
            self._longest = max(self._longest, len(sentence))
        self._trigrams.update(trigrams(words(sentence)))

    def may_repeat(self, beginning: str) -> bool:
        """Whether a sentence that begins so may turn out to be one that was there."""
        # Blanks and list numbers apart, what is longer than every sentence repeats none.
        if not self._sentences or len(beginning) > self._longest + _SLACK:
            return False
        if _ONLY_LEADING.match(beginning):
            return True
        plain = _plain(beginning)
        return any(sentence.startswith(plain) for sentence in self._sentences)

    def repeats(self, sentence: str) -> bool:
        """Whether a sentence, list number and marks aside, was there before."""
        return _plain(sentence) in self._sentences

    def tells_nothing_new(self, sentence: str) -> bool:
        """Whether nearly all of a sentence was said before, if in other sentences."""
        found = trigrams(words(sentence))
        known = sum(trigram in self._trigrams for trigram in found)
        return len(found) >= _LEAST_TRIGRAMS and known >= _KNOWN_SHARE * len(found)

    @staticmethod
    def circles(sentence: str) -> bool:
        """Whether an unfinished sentence says the same few words again and again."""
        found = words(sentence[-_LOOP_CHARS:])
        if len(found) < _LOOP_WORDS:
            return False
        runs = zip(*(found[start:] for start in range(_LOOP_LENGTH)), strict=False)
        return Counter(runs)[tuple(found[-_LOOP_LENGTH:])] >= _LOOP_COUNT


def _plain(sentence: str) -> str:
    """The sentence in lower case, with single blanks, without list number and quotation marks."""
    return " ".join(_MARKS.sub("", _LEADING.sub("", sentence)).lower().split())
