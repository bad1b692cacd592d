"""What the records mean. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.bench.stats import percentile
from loadtest.drills.records import Answer, Call

SLOW_FACTOR = 10.0
SLOW_SECONDS = 0.25
"""A call is slow when it takes more than ten times the median of undisturbed ones, and more than this."""


@dataclass(frozen=True, slots=True)
class TextFaults:
    """What is wrong with an answer's text, in words of it."""

    lost: int = 0
    repeated: int = 0
    garbled: int = 0
    gaps: int = 0
    """Pieces whose offset does not follow from the text before."""

    def __add__(self, other: TextFaults) -> TextFaults:
        return TextFaults(
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.garbled + other.garbled,
            self.gaps + other.gaps,
        )


def failed(calls: Iterable[Call]) -> list[Call]:
    """Those that were not answered."""
    return [call for call in calls if not call.ok]


def codes(calls: Iterable[Call]) -> str:
    """The failures by status, for a note: "UNAVAILABLE 3"."""
    counted = Counter(call.code for call in calls if not call.ok)
    return ", ".join(f"{code} {count}" for code, count in counted.most_common())


def favourite(calls: Iterable[Call]) -> str:
    """The region that answered most calls; empty when none said."""
    counted = Counter(call.region for call in calls if call.ok and call.region)
    return counted.most_common(1)[0][0] if counted else ""


def moved(calls: Iterable[Call], lost: str) -> float | None:
    """Seconds from the last answer of the lost region to the first answer of another one after it.

    None when one of the two is missing: then nothing can be said.
    """
    answered = sorted((call.ended, call.region) for call in calls if call.ok)
    last = max((at for at, region in answered if region == lost), default=None)
    if last is None:
        return None
    return next((at - last for at, region in answered if at > last and region != lost), None)


def slow_after(calls: Sequence[Call], before: float) -> float:
    """The duration above which a call counts as slow, by those that ended before the fault."""
    undisturbed = [call.seconds for call in calls if call.ok and call.ended < before]
    middle = statistics.median(undisturbed) if undisturbed else 0.0
    return max(SLOW_SECONDS, SLOW_FACTOR * middle)


def settled(calls: Sequence[Call], fault: float) -> float:
    """Seconds from the fault until the last call that was slow or failed was due; 0 when none was."""
    limit = slow_after(calls, fault)
    disturbed = [
        call.started for call in calls if call.started >= fault and (not call.ok or call.seconds > limit)
    ]
    return max(disturbed, default=fault) - fault


def silence(calls: Iterable[Call], since: float, until: float) -> float:
    """The longest time without any answer."""
    moments = sorted(call.ended for call in calls if call.ok and since <= call.ended <= until)
    edges = [since, *moments, until]
    return max(later - earlier for earlier, later in itertools.pairwise(edges))


def longest(calls: Iterable[Call], since: float) -> float:
    """How long the longest call took among those that ended after a moment."""
    return max((call.seconds for call in calls if call.ended >= since), default=0.0)


def latency(calls: Iterable[Call], share: float, since: float, until: float) -> float:
    """A percentile of the answered calls that were due in a span; 0 without any."""
    values = [call.seconds for call in calls if call.ok and since <= call.started < until]
    return percentile(values, share) if values else 0.0


def broken(answers: Iterable[Answer]) -> list[Answer]:
    """Those that did not come to their end."""
    return [answer for answer in answers if answer.finished is None]


def open_in(answers: Iterable[Answer], region: str, at: float) -> list[Answer]:
    """Those that a region had accepted last and that were open at a moment."""
    found = []
    for answer in answers:
        accepted = [where for when, where in answer.regions if when <= at]
        if accepted and accepted[-1] == region and (answer.finished is None or answer.finished > at):
            found.append(answer)
    return found


def came_back(answers: Iterable[Answer]) -> list[Answer]:
    """Those whose caller had to come back, and that ended well."""
    return [answer for answer in answers if answer.breaks and answer.finished is not None]


def pauses(answers: Iterable[Answer], since: float, until: float) -> list[float]:
    """The longest pause in the text of each stream that was open at a moment in the span."""
    found = []
    for answer in answers:
        moments = [piece.at for piece in answer.pieces]
        gaps = [b - a for a, b in itertools.pairwise(moments) if b >= since and a <= until]
        if gaps:
            found.append(max(gaps))
    return found


def text_faults(answer: Answer, *, synthetic: bool = True) -> TextFaults:
    """What was lost or repeated.

    By the offsets for any model; for the synthetic one, whose answer is `word0 word1 …`, word by word too.
    """
    gaps, end = 0, 0
    for piece in answer.pieces:
        gaps += piece.offset != end
        end = piece.offset + len(piece.text)
    if not synthetic:
        return TextFaults(gaps=gaps)
    lost = repeated = garbled = 0
    expected = 0
    for word in answer.text.split():
        number = _number(word)
        if number is None:
            garbled += 1
        elif number < expected:
            repeated += 1
        else:
            lost += number - expected
            expected = number + 1
    if answer.finished is not None:
        lost += max(0, answer.words - expected)
    return TextFaults(lost, repeated, garbled, gaps)


def all_text_faults(answers: Iterable[Answer], *, synthetic: bool = True) -> TextFaults:
    """Of all of them."""
    total = TextFaults()
    for answer in answers:
        total = total + text_faults(answer, synthetic=synthetic)
    return total


def _number(word: str) -> int | None:
    digits = word.removeprefix("word")
    return int(digits) if digits != word and digits.isascii() and digits.isdigit() else None
