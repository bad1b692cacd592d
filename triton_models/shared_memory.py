"""Removes what a crashed Triton left in shared memory."""

from __future__ import annotations

from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the place itself, not a temporary file in it


def leftovers(prefix: str) -> list[str]:
    """Names in ``/dev/shm`` that begin with ``prefix``."""
    return sorted(entry.name for entry in _SHARED_MEMORY.glob("*") if entry.name.startswith(prefix))


def sweep(prefix: str) -> list[str]:
    """Removes those names and returns them. Only for a platform whose Triton and stubs are gone."""
    if not prefix.startswith("causeway_") or len(prefix) < len("causeway_") + 8:
        raise ValueError(f"refusing to sweep by the prefix {prefix!r}: it is not one platform's")
    removed = []
    for name in leftovers(prefix):
        (_SHARED_MEMORY / name).unlink(missing_ok=True)
        removed.append(name)
    return removed
