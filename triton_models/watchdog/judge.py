"""Decides from what the canaries saw whether a model is well, busy or to be replaced. No I/O, no clock.

Rules:

* A dead process is certain at once: Triton says so by name. So is a model that is not loaded.
* An overloaded model is alive. It refuses canaries or keeps them waiting; what counts is whether it still
  makes progress, so it is busy, and left alone.
* No answer and no progress twice in a row is a hang. Once may be a long step or a stalled machine.
* When Triton itself cannot be reached nothing is known, and nothing can be done here: it has a supervisor.
* A replacement that did not help is repeated ever more slowly, so that a model which cannot run does not keep
  the machine busy loading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_HANGS_BEFORE_HEALING = 2
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_FORGIVEN_AFTER = 60.0


class Sight(StrEnum):
    """What one round of canaries saw."""

    ANSWERED = "answered"
    PROGRESSING = "progressing"
    """No answer in time, or refused as overloaded, but the model is at work."""
    STUCK = "stuck"
    """No answer and no progress."""
    DEAD = "dead"
    """Its process is gone, or it is not loaded."""
    LOADING = "loading"
    UNREACHABLE = "unreachable"
    """Triton itself does not answer."""


class State(StrEnum):
    """What the status file says of a model."""

    READY = "ready"
    BUSY = "busy"
    DOWN = "down"
    HEALING = "healing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The model's state, and whether to replace it now."""

    state: State
    heal: bool = False


class Judge:
    """One model's history. Times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._stuck = 0
        self._heals = 0
        self._failures = 0
        self._next_heal = 0.0
        self._well_since: float | None = None

    @property
    def heals(self) -> int:
        """Replacements so far."""
        return self._heals

    def see(self, sight: Sight, now: float) -> Verdict:
        """The verdict after one more look."""
        self._stuck = self._stuck + 1 if sight is Sight.STUCK else 0
        if sight in (Sight.ANSWERED, Sight.PROGRESSING):
            self._well(now)
            return Verdict(State.READY if sight is Sight.ANSWERED else State.BUSY)
        self._well_since = None
        if sight is Sight.UNREACHABLE:
            return Verdict(State.UNKNOWN)
        if sight is Sight.LOADING:
            return Verdict(State.HEALING)
        certain = sight is Sight.DEAD or self._stuck >= _HANGS_BEFORE_HEALING
        return Verdict(State.DOWN, heal=certain and now >= self._next_heal)

    def healed(self, now: float) -> None:
        """A replacement was tried at ``now``, whether or not it worked."""
        self._heals += 1
        self._stuck = 0
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures += 1
        self._next_heal = now + pause

    def _well(self, now: float) -> None:
        if self._well_since is None:
            self._well_since = now
        elif now - self._well_since >= _FORGIVEN_AFTER:
            self._failures = 0
