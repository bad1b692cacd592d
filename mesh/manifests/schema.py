"""From the dataclasses to what reads them: for each message its fields by YAML name, and for each field the
function that reads its value by the field's type."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from mesh.manifests import values
from mesh.manifests.findings import Findings
from mesh.manifests.message import Bounds, Message, NumberOrText, Place, Position, shown, yaml_name
from mesh.manifests.nodes import Entry, Items, Map, Node, Scalar
from mesh.manifests.plain import PlainKind, plain_kind
from mesh.manifests.values import MISSING, Missing

M = TypeVar("M", bound=Message)
Convert = Callable[[Node, Position, Findings], object]
"""Reads a node; what is wrong is noted, and `MISSING` returned."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is read."""

    name: str
    """In Python."""
    yaml: str
    convert: Convert
    inner: object
    """Its type without `| None`."""
    may_be_empty: bool
    """Empty text means something."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a message may say."""

    fields: Mapping[str, Field]
    """By YAML name."""


def schema_of(message: type[Message]) -> Schema:
    """The schema of a message."""
    key: Any = message  # which mypy does not take for hashable
    return _schema(key)


@functools.cache
def _schema(declared_by: type) -> Schema:
    message: type[Message] = declared_by
    hints = typing.get_type_hints(message, include_extras=True)
    in_one_of = {name for one_of in message.one_ofs for name in one_of.fields}
    fields: dict[str, Field] = {}
    for declared in dataclasses.fields(message):
        if declared.name in ("at", "places"):
            continue
        yaml = yaml_name(declared.name)
        inner = without_none(hints[declared.name])
        refused = message.refused_values.get(declared.name, {})
        fields[yaml] = Field(
            declared.name,
            yaml,
            _converter(inner, refused),
            inner,
            inner is not str or declared.name in in_one_of,
        )
    return Schema(types.MappingProxyType(fields))


def without_none(hint: object) -> object:
    """`X | None` → `X`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return hint


def _converter(hint: object, refused: Mapping[str, str]) -> Convert:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _list_of(_converter(arguments[0], {}))
    if origin is Mapping:
        if arguments[1] is object:
            return _struct
        return _map_of(_converter(arguments[1], {}), numbers=arguments[0] is not str)
    if origin is typing.Annotated:
        marker = arguments[1]
        if isinstance(marker, Bounds):
            return _integer(marker)
        if isinstance(marker, NumberOrText):
            return _number_or_text
    if isinstance(hint, type):
        if issubclass(hint, Message):
            return functools.partial(read_message, hint)
        if issubclass(hint, enum.Enum):
            return _enum(hint, refused)
        simple = _SIMPLE.get(hint)
        if simple is not None:
            return simple
    raise TypeError(f"no way to read {hint}")


_SIMPLE: Mapping[type, Convert] = types.MappingProxyType(
    {
        str: values.text,
        bool: values.boolean,
        float: values.number,
        timedelta: values.duration,
        bytes: values.octets,
    }
)


def read_message(message: type[M], node: Node, at: Position, findings: Findings) -> M | Missing:
    """Reads a message and everything in it."""
    if not isinstance(node, Map):
        return values.mismatch(node, at, findings, f"a map with the fields of {message.__name__}")
    schema = schema_of(message)
    found: dict[str, object] = {}
    places: dict[str, Place] = {}
    prefix = f"{at.path}." if at.path else ""
    for key, entry in node.entries.items():
        field = schema.fields.get(key)
        if field is None:
            _not_read(message, schema, key, Position(entry.file, entry.line, prefix + shown(key)), findings)
            continue
        position = Position(entry.file, entry.line, prefix + key)
        value = field.convert(entry.value, position, findings)
        if value is MISSING:
            continue
        if value == "" and not field.may_be_empty:
            findings.refuse(position, "is empty: leave it out, or write a value")
            continue
        found[field.name] = value
        if field.convert is _struct:
            _note_every_place(field.name, entry, at, places)
        else:
            _note_places(field.name, entry.file, entry.line, entry.value, at, places)
    result = message(at=at, places=places, **found)
    for one_of in message.one_ofs:
        _check_one_of(result, [name for name in found if name in one_of.fields], one_of.fields, findings)
        if one_of.required and not any(name in found for name in one_of.fields):
            findings.check(at, f"must have one of {_names(one_of.fields)}")
    return result


def _note_places(
    name: str, file: str, line: int, value: Node, at: Position, places: dict[str, Place]
) -> None:
    places[name] = line if file == at.file else (file, line)
    if isinstance(value, Items):
        for index, item in enumerate(value.items):
            places[f"{name}[{index}]"] = item.line if item.file == at.file else (item.file, item.line)
    elif isinstance(value, Map):
        for key, entry in value.entries.items():
            places[f"{name}.{key}"] = entry.line if entry.file == at.file else (entry.file, entry.line)


def _note_every_place(name: str, entry: Entry, at: Position, places: dict[str, Place]) -> None:
    """Of JSON, which has no messages that would know their own places."""

    def note(name: str, file: str, line: int, value: Node) -> None:
        places[name] = line if file == at.file else (file, line)
        if isinstance(value, Items):
            for index, item in enumerate(value.items):
                note(f"{name}[{index}]", item.file, item.line, item)
        elif isinstance(value, Map):
            for key, inner in value.entries.items():
                note(f"{name}.{shown(key)}", inner.file, inner.line, inner.value)

    note(name, entry.file, entry.line, entry.value)


def _check_one_of(message: Message, present: list[str], names: tuple[str, ...], findings: Findings) -> None:
    if len(present) > 1:
        findings.field(message, present[1], f"only one of {_names(names)} may be there")


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(yaml_name(name) for name in names)


def _not_read(message: type[Message], schema: Schema, key: str, at: Position, findings: Findings) -> None:
    reason = message.rejected.get(key)
    if reason is not None:
        findings.refuse(at, f"is not supported: {reason}")
    elif not message.open_ended:
        hint = "" if findings.full else values.did_you_mean(key, [*schema.fields, *message.rejected])
        findings.refuse(at, f"{message.__name__} has no field {shown(key)}{hint}")


def _list_of(convert: Convert) -> Convert:
    def read(node: Node, at: Position, findings: Findings) -> object:
        if not isinstance(node, Items):
            return values.mismatch(node, at, findings, "a list")
        result = []
        for index, item in enumerate(node.items):
            value = convert(item, Position(item.file, item.line, f"{at.path}[{index}]"), findings)
            if value is not MISSING:
                result.append(value)
        return tuple(result)

    return read


def _map_of(convert: Convert, *, numbers: bool) -> Convert:
    def read(node: Node, at: Position, findings: Findings) -> object:
        if not isinstance(node, Map):
            return values.mismatch(node, at, findings, "a map")
        result: dict[str | int, object] = {}
        for key, entry in node.entries.items():
            position = Position(entry.file, entry.line, f"{at.path}.{shown(key)}")
            if not numbers and entry.number:
                findings.refuse(position, f"the key `{shown(key)}` is a number in YAML: put it in quotes")
                continue
            if numbers and not (key.isascii() and key.isdigit() and len(key) <= 10):
                findings.refuse(position, "the key must be a whole number")
                continue
            value = convert(entry.value, position, findings)
            if value is not MISSING:
                result[int(key) if numbers else key] = value
        return types.MappingProxyType(result)

    return read


def _struct(node: Node, at: Position, findings: Findings) -> object:
    if not isinstance(node, Map):
        return values.mismatch(node, at, findings, "a map")
    return values.json_value(node, at, findings)


def _integer(bounds: Bounds) -> Convert:
    def read(node: Node, at: Position, findings: Findings) -> object:
        return values.integer(node, at, findings, bounds.low, bounds.high)

    return read


def _number_or_text(node: Node, at: Position, findings: Findings) -> object:
    if isinstance(node, Scalar) and node.plain and plain_kind(node.value) is PlainKind.INTEGER:
        return node.value
    return values.text(node, at, findings)


def _enum(choices: type[enum.Enum], refused: Mapping[str, str]) -> Convert:
    members = choices.__members__
    names = ", ".join(members)

    def read(node: Node, at: Position, findings: Findings) -> object:
        name = values.text(node, at, findings)
        if isinstance(name, Missing):
            return name
        if name in refused:
            findings.refuse(at, f"{name} is not supported: {refused[name]}")
        elif name in members:
            return members[name]
        else:
            hint = "" if findings.full else values.did_you_mean(name, members)
            findings.refuse(at, f"must be one of {names}, not `{shown(name)}`{hint}")
        return MISSING

    return read
