"""Which of the engine's slots serves which request, so that no prompt work is shared between cache keys.

The engine keeps each slot's last prompt and skips the part a new prompt has in common with it. Left alone it
looks for the best match among all slots, and the time to the first token then tells a caller what somebody
else has asked. Here every request is pinned to a slot, and may reuse its prompt only if the request before
it on that slot carried the same, non-empty cache key.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lease:
    """One slot, held by one request."""

    slot: int
    reuse: bool
    """Whether the engine may keep what the slot remembers."""


@dataclass(slots=True)
class _Slot:
    cache_key: str = ""
    text: str = ""
    used: int = 0
    busy: bool = field(default=False)


class SlotTable:
    """Slots and what they remember. Not thread-safe: the caller holds its own lock."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._clock = 0

    def acquire(self, cache_key: str, text: str) -> Lease | None:
        """A free slot for a prompt, or ``None`` when all are busy.

        Prefers the slot that remembers the longest beginning of ``text`` under the same key, and else the one
        unused for longest, so that what other keys could still reuse is lost last.
        """
        free = [index for index, slot in enumerate(self._slots) if not slot.busy]
        if not free:
            return None
        own = [index for index in free if cache_key and self._slots[index].cache_key == cache_key]
        if own:
            best = max(own, key=lambda index: common_prefix(self._slots[index].text, text))
        else:
            best = min(free, key=lambda index: self._slots[index].used)
        slot = self._slots[best]
        slot.busy = True
        # Until the request is over, nobody knows what the slot holds.
        slot.cache_key, slot.text = "", ""
        return Lease(best, reuse=bool(own))

    def release(self, lease: Lease, cache_key: str, text: str) -> None:
        """Frees the slot, which now remembers ``text`` (prompt and answer) under ``cache_key``."""
        slot = self._slots[lease.slot]
        if not slot.busy:
            raise ValueError(f"slot {lease.slot} is not leased")
        self._clock += 1
        slot.busy, slot.cache_key, slot.text, slot.used = False, cache_key, text, self._clock

    @property
    def busy(self) -> int:
        """How many slots are leased."""
        return sum(slot.busy for slot in self._slots)


def common_prefix(first: str, second: str) -> int:
    """Length of the longest common beginning, by halving: string comparison runs in C, a loop would not."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
