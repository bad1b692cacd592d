"""What every typed message has: where it was written, what of Istio's it refuses, its fields' names."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the input."""

    file: str
    """As it was given; empty for what nobody wrote."""
    line: int
    """1-based; 0 for the whole file."""
    path: str
    """The field, as in `spec.http[0].retries.attempts`; empty for the whole document."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} {self.path}" if self.path else place


NOWHERE = Position("", 0, "")


@dataclass(frozen=True, slots=True)
class OneOf:
    """Fields of which at most one is set, or exactly one."""

    fields: tuple[str, ...]
    """Python names."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which whole numbers a field holds."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class NumberOrText:
    """Marks text that may also be written as a number."""


UInt32 = Annotated[int, Bounds(0, 2**32 - 1)]
UInt64 = Annotated[int, Bounds(0, 2**63 - 1)]
Int32 = Annotated[int, Bounds(-(2**31), 2**31 - 1)]
IntOrString = Annotated[str, NumberOrText()]

Place = int | tuple[str, int]
"""A line of the message's own file, or file and line when an overlay's patch wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of Istio's API, as a manifest says it.

    An absent scalar or message is None, an absent list is (), an absent map is empty. A field's YAML name is
    its camelCase. Messages compare by what they say, not by where they stand.
    """

    rejected: ClassVar[Mapping[str, str]] = {}
    """Fields (YAML names) that Istio has and this mesh does not carry out, with the reason."""
    refused_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Values of enum fields (Python names) that Istio has and this mesh does not carry out."""
    passed_over: ClassVar[Mapping[str, str]] = {}
    """Fields (Python names) that are read and checked and change no proxy, with the reason."""
    one_ofs: ClassVar[tuple[OneOf, ...]] = ()
    open_ended: ClassVar[bool] = False
    """Whether fields that are not named here are passed over; only of what is not Istio's."""

    at: Position = field(default=NOWHERE, compare=False, repr=False)
    """Where the message begins."""
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)
    """Where its fields begin, by Python name; elements of lists by `name[2]`, of maps by `name.key`.
    Ask `position_of`."""


def shown(text: str) -> str:
    """Text as a message has it: short, and on one line."""
    if not text.isprintable():
        text = text[:64].encode("unicode_escape").decode("ascii")
    return text if len(text) <= 64 else text[:61] + "…"


@functools.lru_cache(maxsize=4096)
def yaml_name(name: str) -> str:
    """The YAML name of a field: `consecutive_5xx_errors` is `consecutive5xxErrors`, `from_` is `from`."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def position_of(message: Message, name: str, key: int | str | None = None) -> Position:
    """Where a field of a message was written; of an absent field, where it would belong.

    `name` is the Python name; `key` an index into a list or a key of a map.
    """
    path = f"{message.at.path}.{yaml_name(name)}" if message.at.path else yaml_name(name)
    place: Place | None = message.places.get(name)
    if key is not None:
        path += f"[{key}]" if isinstance(key, int) else f".{shown(key)}"
        place = message.places.get(f"{name}[{key}]" if isinstance(key, int) else f"{name}.{key}", place)
    if place is None:
        return Position(message.at.file, message.at.line, path)
    if isinstance(place, int):
        return Position(message.at.file, place, path)
    return Position(place[0], place[1], path)
