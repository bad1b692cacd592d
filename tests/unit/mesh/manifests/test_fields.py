"""Every field of the table: supported ones are read into their place, rejected ones refused with reason."""

from __future__ import annotations

import base64
import enum
import sys
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from mesh.manifests import ManifestErrors, Position, Text, position_of, read
from mesh.manifests.findings import Findings
from mesh.manifests.limits import LIMITS
from mesh.manifests.message import Message, NumberOrText, yaml_name
from mesh.manifests.nodes import compose
from mesh.manifests.schema import Field, read_message, schema_of, without_none
from mesh.manifests.table import FILE, Root, Row, inner_message, markdown, messages, roots, rows

EXAMPLES = Path(__file__).parent / "examples"


def all_rows() -> Iterator[tuple[Root, tuple[Field, ...], Row]]:
    """Every row once, with a way to it."""
    seen: set[type[Message]] = set()
    for root in roots():
        for message, way in messages(root.message).items():
            if message not in seen:
                seen.add(message)
                for row in rows(message):
                    yield root, way, row


def cases(*, supported: bool) -> list[object]:
    """The rows as parameters."""
    return [
        pytest.param(root, way, row, id=row.name)
        for root, way, row in all_rows()
        if (row.reason == "") is supported
    ]


def sample(hint: object) -> tuple[object, object]:
    """A value as YAML has it, and as it is read."""
    hint = without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        written, expected = sample(arguments[0])
        return [written], (expected,)
    if origin is Mapping:
        if arguments[1] is object:
            return {"a": {"b": [1, 1.5, None, True]}}, {"a": {"b": [1, 1.5, None, True]}}
        written, expected = sample(arguments[1])
        key: object = "key" if arguments[0] is str else 8080
        return {key: written}, {key: expected}
    if origin is typing.Annotated:
        return ("http", "http") if isinstance(arguments[1], NumberOrText) else (7, 7)
    assert isinstance(hint, type)
    if issubclass(hint, Message):
        return {}, hint()
    if issubclass(hint, enum.Enum):
        member = list(hint)[-1]
        return member.name, member
    simple: dict[type, tuple[object, object]] = {
        str: ("text", "text"),
        bool: (True, True),
        float: (1.5, 1.5),
        timedelta: ("1m30s", timedelta(seconds=90)),
        bytes: (base64.b64encode(b"\0body").decode(), b"\0body"),
    }
    return simple[hint]


def nested(way: tuple[Field, ...], innermost: object) -> object:
    """YAML that leads to a message."""
    for field in reversed(way):
        origin = typing.get_origin(field.inner)
        if origin is tuple:
            innermost = [innermost]
        elif origin is Mapping:
            innermost = {"key" if typing.get_args(field.inner)[0] is str else 8080: innermost}
        innermost = {field.yaml: innermost}
    return innermost


def path_of(way: tuple[Field, ...], last: str) -> str:
    """The path to a field of the message that a way leads to."""
    path = ""
    for field in way:
        origin = typing.get_origin(field.inner)
        key = "" if origin is not Mapping else (".key" if typing.get_args(field.inner)[0] is str else ".8080")
        path += f".{field.yaml}" + ("[0]" if origin is tuple else key)
    return f"{path}.{last}".removeprefix(".")


def follow(message: Message, way: tuple[Field, ...]) -> Message:
    """The message that a way leads to."""
    for field in way:
        value = getattr(message, field.name)
        if isinstance(value, tuple):
            value = value[0]
        elif isinstance(value, Mapping):
            value = next(iter(value.values()))
        assert isinstance(value, Message)
        message = value
    return message


def read_root(root: Root, content: object) -> tuple[Message, Findings, str]:
    """Reads a root alone, with a line before it."""
    findings = Findings(LIMITS.errors)
    text = "# a comment\n" + yaml.safe_dump(content, default_flow_style=False)
    (node,) = compose(text, "given.yaml", LIMITS, findings)
    message = read_message(root.message, node, Position("given.yaml", 2, ""), findings)
    assert isinstance(message, Message)
    return message, findings, text


@pytest.mark.parametrize("root,way,row", cases(supported=True))
def test_supported(root: Root, way: tuple[Field, ...], row: Row) -> None:
    found = {field.yaml: field for field in _fields(row.message)}[row.field]
    written, expected = sample(found.inner)
    message, findings, text = read_root(root, nested(way, {row.field: written}))
    path = path_of(way, row.field)
    assert [
        error for error in findings.errors if error.path == path and "must have one of" not in str(error)
    ] == []
    holder = follow(message, way)
    assert getattr(holder, found.name) == expected
    line = position_of(holder, found.name).line
    assert text.splitlines()[line - 1].strip(" -").startswith(f"{row.field}:")
    assert position_of(holder, found.name).path == path


@pytest.mark.parametrize("root,way,row", cases(supported=False))
def test_rejected(root: Root, way: tuple[Field, ...], row: Row) -> None:
    _, findings, text = read_root(root, nested(way, {row.field: row.value or {}}))
    path = path_of(way, row.field)
    (error,) = [error for error in findings.errors if error.path == path]
    assert error.file == "given.yaml"
    assert text.splitlines()[error.line - 1].strip(" -").startswith(f"{row.field}:")
    assert error.message.endswith(row.reason)
    assert "not supported" in error.message


@pytest.mark.parametrize("root,way,row", cases(supported=False))
def test_a_rejected_field_has_a_reason_in_one_plain_sentence(
    root: Root, way: tuple[Field, ...], row: Row
) -> None:
    assert 12 <= len(row.reason) <= 120
    assert not row.reason.endswith(".")


@pytest.mark.parametrize("message", sorted({row.message for _, _, row in all_rows()}, key=str))
def test_an_unknown_field_is_an_error_with_its_place(message: type[Message]) -> None:
    findings = Findings(LIMITS.errors)
    (node,) = compose("\nnoSuchField: 1\n", "given.yaml", LIMITS, findings)
    read_message(message, node, Position("given.yaml", 2, "spec"), findings)
    found = [str(error) for error in findings.errors if "noSuchField" in str(error)]
    if message.open_ended:
        assert found == []
    else:
        assert found == [f"given.yaml:2 spec.noSuchField: {message.__name__} has no field noSuchField"]


def test_only_fields_that_are_read_are_passed_over() -> None:
    passed_over = {row.name for _, _, row in all_rows() if row.passed_over}
    declared = {
        f"{row.message.__name__}.{yaml_name(name)}"
        for _, _, row in all_rows()
        for name in row.message.passed_over
    }
    assert passed_over == declared
    assert "ProxyConfig.terminationDrainDuration" in passed_over


def test_no_field_is_both_supported_and_rejected() -> None:
    for _, _, row in all_rows():
        supported = {field.yaml for field in _fields(row.message)}
        assert not supported & row.message.rejected.keys(), row.message


def test_the_committed_table_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == markdown(), "run python -m mesh.manifests.table --write"


def test_the_examples_use_every_supported_field() -> None:
    used: set[str] = set()
    for message in _everything_in(read([EXAMPLES]).all):
        fields = {field.name: field.yaml for field in _fields(type(message))}
        used |= {f"{type(message).__name__}.{fields[name]}" for name in message.places if name in fields}
    roots_read = {root.message for root in roots() if root.at == "spec"}
    wanted = {row.name for root, _, row in all_rows() if root.message in roots_read and row.reason == ""}
    assert sorted(wanted - used) == []


def test_an_example_is_refused_when_it_is_not_utf_8_or_yaml() -> None:
    with pytest.raises(ManifestErrors, match="is not UTF-8"):
        read([Text("latin.yaml", "kind: Größe".encode("latin-1"))])
    with pytest.raises(ManifestErrors, match=r"broken.yaml:2: is not YAML"):
        read([Text("broken.yaml", "a: b\n  c: d\n")])


def _fields(message: type[Message]) -> list[Field]:
    return list(schema_of(message).fields.values())


def _everything_in(manifests: typing.Iterable[object]) -> Iterator[Message]:
    """All messages in all manifests."""
    waiting = [getattr(manifest, "spec") for manifest in manifests]  # noqa: B009
    while waiting:
        value = waiting.pop()
        if isinstance(value, Message):
            yield value
            waiting.extend(getattr(value, field.name) for field in _fields(type(value)))
        elif isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())


def test_every_message_is_reached_from_a_root() -> None:
    reached = {message for root in roots() for message in messages(root.message)}
    modules = [module for name, module in sys.modules.items() if name.startswith("mesh.manifests.")]
    declared = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Message) and each is not Message
    }
    assert declared == reached
    assert all(inner_message(message) is message for message in declared)
