"""Three-valued logic (Kleene's): True, False, and None for what a simulation cannot know."""

from __future__ import annotations

from collections.abc import Iterable

Truth = bool | None


def every(truths: Iterable[Truth]) -> Truth:
    """False when one is, else None when one is not known, else True."""
    unknown = False
    for truth in truths:
        if truth is False:
            return False
        unknown = unknown or truth is None
    return None if unknown else True


def some(truths: Iterable[Truth]) -> Truth:
    """True when one is, else None when one is not known, else False."""
    unknown = False
    for truth in truths:
        if truth is True:
            return True
        unknown = unknown or truth is None
    return None if unknown else False


def negate(truth: Truth) -> Truth:
    """The opposite; what is not known stays so."""
    return None if truth is None else not truth


def flip(truth: Truth, invert: bool) -> Truth:
    """The opposite when `invert`."""
    return negate(truth) if invert else truth
