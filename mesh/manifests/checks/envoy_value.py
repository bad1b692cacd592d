"""The value of an EnvoyFilter's patch: Envoy's own JSON, read against Envoy's own protos.

What is wrong in it is told field by field. A proxy whose configuration cannot be put together for it would
get nothing new at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mesh.manifests.envoy_filter import Patch
from mesh.manifests.findings import Findings
from mesh.manifests.message import Position, position_of, shown
from mesh.manifests.values import did_you_mean
from mesh.xds.protos import message_class

_TYPE = "@type"
_ANY = any_pb2.Any.DESCRIPTOR.full_name
_WELL_KNOWN = "google.protobuf."
"""Durations, wrappers, structs: their JSON is not made of their fields."""

_WORDS: Mapping[int, str] = {
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits that is not negative",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits that is not negative",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
}
_WHERE = re.compile(r"^(Failed to parse \w+ field: )+|( at [\w.\[\]]+)?\.*$")
"""What the parser says around the reason: where, in words of its own."""


def check_value(patch: Patch, kind: type[Message], findings: Findings) -> None:
    """Notes what keeps the value from being a message of that class."""
    for fault in _message(patch.value, kind.DESCRIPTOR, ""):
        findings.check(_place(patch, fault.path), fault.message)


@dataclass(frozen=True, slots=True)
class _Fault:
    path: str
    """Within the value, as in `.typed_config.rules[0]`; empty for all of it."""
    message: str


def _place(patch: Patch, path: str) -> Position:
    """Where that part of the value was written, or the part around it that was."""
    whole = position_of(patch, "value")
    known, place = path, None
    while known and place is None:
        place = patch.places.get(f"value{known}")
        known = known[: max(known.rfind("."), known.rfind("["), 0)]
    if place is None:
        return Position(whole.file, whole.line, whole.path + path)
    file, line = (patch.at.file, place) if isinstance(place, int) else place
    return Position(file, line, whole.path + path)


def _message(value: object, kind: Any, path: str) -> Iterator[_Fault]:
    if not isinstance(value, Mapping):
        yield _Fault(path, f"must be a map with the fields of {kind.full_name}")
    elif kind.full_name == _ANY:
        yield from _any(value, path)
    else:
        faults = list(_fields(value, kind, path))
        # What concerns several fields together, such as those of which one may be there, comes last.
        yield from faults or _parsed(value, message_factory.GetMessageClass(kind), path)


def _fields(value: Mapping[str, object], kind: Any, path: str) -> Iterator[_Fault]:
    known: dict[str, Any] = {}
    for field in kind.fields:
        known[field.name] = known[field.json_name] = field
    seen: dict[str, str] = {}
    for key, inner in value.items():
        here = f"{path}.{shown(key)}"
        said = known.get(key)
        if said is None:
            names = [field.name for field in kind.fields]
            yield _Fault(here, f"{kind.full_name} has no field {shown(key)}{did_you_mean(key, names)}")
        elif seen.setdefault(said.name, key) != key:
            yield _Fault(here, f"is {seen[said.name]}, which is there already")
        elif inner is not None:
            yield from _field(inner, said, here)


def _field(value: object, field: Any, path: str) -> Iterator[_Fault]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            yield _Fault(path, "must be a map")
            return
        for key, inner in value.items():
            yield from _single(inner, kind.fields_by_name["value"], f"{path}.{shown(key)}")
    elif field.is_repeated:
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield _Fault(path, "must be a list")
            return
        for index, inner in enumerate(value):
            yield from _single(inner, field, f"{path}[{index}]")
    else:
        yield from _single(value, field, path)


def _single(value: object, field: Any, path: str) -> Iterator[_Fault]:
    """One value: the field's, or one of the field's list or map."""
    kind = field.message_type
    if value is None:
        yield _Fault(path, "is empty: leave it out, or write a value")
    elif field.enum_type is not None:
        names = field.enum_type.values_by_name
        if not isinstance(value, str | int | float):
            yield _Fault(path, f"must be one of {field.enum_type.full_name}, not `{shown(str(value))}`")
        elif value not in names and (
            isinstance(value, bool) or value not in field.enum_type.values_by_number
        ):
            hint = did_you_mean(value, names) if isinstance(value, str) else ""
            yield _Fault(path, f"`{shown(str(value))}` is no {field.enum_type.full_name}{hint}")
    elif kind is None:
        holder = message_factory.GetMessageClass(field.containing_type)
        alone = [value] if field.is_repeated else value
        if list(_parsed({field.name: alone}, holder, path)):
            yield _Fault(path, f"must be {_WORDS[field.cpp_type]}, not `{shown(str(value))}`")
    elif kind.full_name.startswith(_WELL_KNOWN) and kind.full_name != _ANY:
        yield from _parsed(value, message_factory.GetMessageClass(kind), path)
    else:
        yield from _message(value, kind, path)


def _any(value: Mapping[str, object], path: str) -> Iterator[_Fault]:
    type_url = value.get(_TYPE)
    if not value:
        return
    if not isinstance(type_url, str):
        yield _Fault(path, f"has no {_TYPE}, by which Envoy knows what it is")
        return
    kind = message_class(type_url)
    if kind is None:
        yield _Fault(
            f"{path}.{_TYPE}",
            f"type {shown(type_url)} is not known here; xds.type.v3.TypedStruct carries any type of Envoy's",
        )
    elif kind.DESCRIPTOR.full_name.startswith(_WELL_KNOWN):
        yield from _parsed(value, any_pb2.Any, path)
    else:
        inner = {key: said for key, said in value.items() if key != _TYPE}
        yield from _message(inner, kind.DESCRIPTOR, path)


def _parsed(value: Any, kind: type[Message], path: str) -> Iterator[_Fault]:
    try:
        json_format.ParseDict(value, kind())
    except KeyError as error:
        yield _Fault(path, f"is no {kind.DESCRIPTOR.full_name}: it lacks {error}")
    except (json_format.ParseError, TypeError, ValueError) as error:
        reason = _WHERE.sub("", str(error).partition("\n")[0])
        yield _Fault(path, f"is no {kind.DESCRIPTOR.full_name}: {reason}")
