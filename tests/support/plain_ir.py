"""Dataclasses as plain YAML can hold them, for records of what proxies are to do."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from functools import cache
from typing import Any


def plain(value: object) -> Any:
    """Fields in the order they are declared, without those that hold their default, or that `repr` keeps to
    itself, as it does with secrets. What says itself in a line of its own (an Origin, a Locality) is that
    line; durations are seconds.

    Raises:
        TypeError: the value, or something in it, is of a kind that nobody has thought of.
    """
    if is_dataclass(value) and not isinstance(value, type):
        if "__str__" in type(value).__dict__:
            return str(value)
        return dict(_said(value))
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


def _said(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        held = getattr(value, field.name)
        if not field.repr or _is_default(field, held):
            continue
        said = plain(held)
        # Of several kinds that a field may hold, the name tells which.
        yield field.name, {type(held).__name__: said} if field.name in _of_several(type(value)) else said


def _is_default(field: Field[Any], held: object) -> bool:
    if field.default is not MISSING:
        return bool(held == field.default)
    return field.default_factory is not MISSING and bool(held == field.default_factory())


@cache
def _of_several(kind: type) -> frozenset[str]:
    """Fields that may hold one of several dataclasses."""
    hints = typing.get_type_hints(kind)
    return frozenset(
        name
        for name, hint in hints.items()
        if isinstance(hint, types.UnionType) and sum(is_dataclass(one) for one in typing.get_args(hint)) > 1
    )
