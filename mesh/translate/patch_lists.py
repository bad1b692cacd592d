"""Putting filters and routes into lists, and taking them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mesh.ir.patch import Operation, Patch
from mesh.translate.errors import PatchError

T = TypeVar("T")


def edit(items: list[T], patch: Patch, value: T | None, chosen: Callable[[T], bool] | None) -> bool:
    """Changes the list in place, as the patch asks; MERGE is not for here.

    Args:
        value: What is put in; None for REMOVE.
        chosen: Tells which item the patch means; None when the patch names none.

    Returns:
        Whether anything changed.

    Raises:
        PatchError: an operation that has to name an item names none. Istio would do nothing.
    """
    operation = patch.operation
    if operation is Operation.REMOVE:
        return _remove(items, patch, chosen)
    assert value is not None  # noqa: S101 - for the type checker: only REMOVE has none
    if operation is Operation.ADD:
        items.append(value)
        return True
    if operation is Operation.INSERT_FIRST:
        if chosen is None or any(chosen(item) for item in items):
            items.insert(0, value)
            return True
        return False
    if chosen is None:
        return _without_choice(items, patch, value)
    for index, item in enumerate(items):
        if chosen(item):
            if operation is Operation.REPLACE:
                items[index] = value
            else:
                items.insert(index + (operation is Operation.INSERT_AFTER), value)
            return True
    return False


def _without_choice(items: list[T], patch: Patch, value: T) -> bool:
    if patch.operation is Operation.REPLACE:
        raise PatchError(patch.origin, "REPLACE has to say what it replaces")
    items.insert(len(items) if patch.operation is Operation.INSERT_AFTER else 0, value)
    return True


def _remove(items: list[T], patch: Patch, chosen: Callable[[T], bool] | None) -> bool:
    if chosen is None:
        raise PatchError(patch.origin, "REMOVE has to say what it removes")
    kept = [item for item in items if not chosen(item)]
    changed = len(kept) != len(items)
    items[:] = kept
    return changed


def refuse(patch: Patch, *allowed: Operation) -> None:
    """Raises PatchError when the operation is none that Istio has for that kind of object."""
    if patch.operation not in allowed:
        names = ", ".join(operation.value for operation in allowed)
        raise PatchError(
            patch.origin, f"{patch.operation.value} does nothing to a {patch.target.value}; {names} do"
        )
