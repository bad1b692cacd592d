"""The newest snapshot of each client, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from mesh.xds.snapshot import Inconsistency, Snapshot


class InconsistentSnapshot(Exception):
    """A snapshot points at what it does not have, or has what nothing points at. It was not published."""

    def __init__(self, found: list[Inconsistency]) -> None:
        shown = "; ".join(str(item) for item in found[:5])
        super().__init__(shown + (f"; and {len(found) - 5} more" if len(found) > 5 else ""))
        self.found = found


class Watch:
    """One reader's way to the snapshots of one client.

    It holds no queue: `changed` says that there is something newer, and a reader that was slow finds only the
    newest (back-pressure without memory).
    """

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        """The newest; None until there is one."""
        self.changed = asyncio.Event()
        """Set when `snapshot` was replaced. The reader clears it, and may set it for reasons of its own."""


class SnapshotCache:
    """Snapshots by client. A key is whatever tells clients apart."""

    def __init__(self) -> None:
        self._snapshots: dict[Hashable, Snapshot] = {}
        self._watches: dict[Hashable, set[Watch]] = {}

    def publish(self, key: Hashable, snapshot: Snapshot) -> bool:
        """Make it the newest; whether anything in it differs from the one before.

        Raises:
            InconsistentSnapshot: it is not consistent; the one before stays.
        """
        before = self._snapshots.get(key)
        if before is not None and _same(before, snapshot):
            return False
        found = snapshot.inconsistencies()
        if found:
            raise InconsistentSnapshot(found)
        self._snapshots[key] = snapshot
        for watch in self._watches.get(key, ()):
            watch.snapshot = snapshot
            watch.changed.set()
        return True

    def get(self, key: Hashable) -> Snapshot | None:
        """The newest snapshot of a client."""
        return self._snapshots.get(key)

    def forget(self, key: Hashable) -> None:
        """Drop a client that is no more. Its readers keep what they have."""
        self._snapshots.pop(key, None)

    @contextmanager
    def watch(self, key: Hashable) -> Iterator[Watch]:
        """Follow a client's snapshots."""
        watch = Watch(self._snapshots.get(key))
        self._watches.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[key]
            watches.discard(watch)
            if not watches:
                del self._watches[key]

    def watched(self) -> set[Hashable]:
        """The clients that somebody reads."""
        return set(self._watches)


def _same(before: Snapshot, after: Snapshot) -> bool:
    return before.by_type.keys() == after.by_type.keys() and all(
        before.versions(type_url) == after.versions(type_url) for type_url in after.by_type
    )
