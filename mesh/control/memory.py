"""When Python looks for objects that only point at one another."""

from __future__ import annotations

import gc

_YOUNG = 50_000
"""Objects that come into being between two looks at the youngest (Python: 700)."""
_OLDER = 10
"""Looks at one generation between two looks at the next (Python: 10)."""


def collect_seldom() -> None:
    """For a process that makes millions of objects, keeps nearly all of them, and makes hardly any that point
    at one another: looking through them again and again while they are made takes up to a quarter of the time
    (with 5,000 workloads) and finds nothing."""
    gc.set_threshold(_YOUNG, _OLDER, _OLDER)
