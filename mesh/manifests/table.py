"""The table of every field: supported, or rejected and why, and the test that shows it.

`python -m mesh.manifests.table` prints it; with `--write` it becomes FIELDS.md.
"""

from __future__ import annotations

import argparse
import enum
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.manifests.kinds import KINDS, REFUSED, Kind
from mesh.manifests.kustomization import Kustomization
from mesh.manifests.message import Message, NumberOrText, yaml_name
from mesh.manifests.metadata import Metadata
from mesh.manifests.schema import Field, schema_of, without_none

FILE = Path(__file__).with_name("FIELDS.md")
TESTS = "tests/unit/mesh/manifests/test_fields.py"


@dataclass(frozen=True, slots=True)
class Row:
    """A field, or a value of one."""

    message: type[Message]
    field: str
    """YAML name."""
    value: str = ""
    """Of an enum, when the row is about one value."""
    reason: str = ""
    """Why it is rejected; empty: it is supported."""
    type: str = ""
    passed_over: str = ""
    """Why a supported field changes no proxy's configuration."""

    @property
    def name(self) -> str:
        """`HTTPRoute.delegate`; also the test's."""
        return f"{self.message.__name__}.{self.field}" + (f"={self.value}" if self.value else "")


@dataclass(frozen=True, slots=True)
class Root:
    """A message that a document begins with."""

    title: str
    message: type[Message]
    at: str
    """Where in the document: `spec`."""
    kind: Kind | None = None


def roots() -> tuple[Root, ...]:
    """All of them, in the order of the table."""
    kinds = tuple(
        Root(f"{kind.name} ({kind.group or 'core'}/{', '.join(kind.versions)})", kind.spec, "spec", kind)
        for kind in KINDS
    )
    return (
        *kinds,
        Root("metadata of every kind", Metadata, "metadata"),
        Root("kustomization.yaml", Kustomization, ""),
    )


def inner_message(hint: object) -> type[Message] | None:
    """The message that a field holds, itself, in a list or in a map."""
    hint = without_none(hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return inner_message(arguments[0])
    if typing.get_origin(hint) is Mapping:
        return inner_message(arguments[1])
    return hint if isinstance(hint, type) and issubclass(hint, Message) else None


def messages(root: type[Message]) -> dict[type[Message], tuple[Field, ...]]:
    """Every message in a root, with the fields that lead to it; the root first."""
    found: dict[type[Message], tuple[Field, ...]] = {root: ()}
    waiting = [root]
    while waiting:
        message = waiting.pop(0)
        for field in schema_of(message).fields.values():
            inner = inner_message(field.inner)
            if inner is not None and inner not in found:
                found[inner] = (*found[message], field)
                waiting.append(inner)
    return found


def rows(message: type[Message]) -> Iterator[Row]:
    """The fields of one message, supported ones first."""
    names = {field.name: field.yaml for field in schema_of(message).fields.values()}
    for field in schema_of(message).fields.values():
        passed_over = message.passed_over.get(field.name, "")
        yield Row(message, field.yaml, type=type_name(field.inner), passed_over=passed_over)
    for name, reason in sorted(message.rejected.items()):
        yield Row(message, name, reason=reason)
    for name, values in message.refused_values.items():
        for value, reason in values.items():
            yield Row(message, names[name], value, reason)


def type_name(hint: object) -> str:
    """A type in words."""
    hint = without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is Mapping:
        return "JSON" if arguments[1] is object else f"map of {type_name(arguments[1])}"
    if origin is typing.Annotated:
        return "text or number" if isinstance(arguments[1], NumberOrText) else "number"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return ", ".join(hint.__members__)
    words: dict[object, str] = {
        str: "text",
        bool: "true or false",
        float: "number",
        timedelta: "duration",
        bytes: "base64",
    }
    return words.get(hint, getattr(hint, "__name__", ""))


def markdown() -> str:
    """The whole table."""
    lines = [
        "# Fields of Istio's API",
        "",
        "Made by `python -m mesh.manifests.table --write`; a test compares it with the code. A field that is",
        "in none of these tables is unknown, and an error as a rejected one is: with file, line and path.",
        "",
        f"Tests: `{TESTS}`, `test_supported[…]` and `test_rejected[…]` by the name of the field.",
    ]
    shown: set[type[Message]] = set()
    for root in roots():
        lines += ["", f"## {root.title}"]
        for message in messages(root.message):
            if message not in shown:
                shown.add(message)
                lines += _section(message)
    lines += ["", "## Kinds that are refused", "", "| Kind | Reason |", "|---|---|"]
    lines += [f"| {name} ({group or 'core'}) | {reason} |" for (group, name), reason in REFUSED.items()]
    lines += [
        "| every kind of gateway.networking.k8s.io | write Istio's Gateway and VirtualService |",
        "| every other kind of a group of istio.io | there is none |",
        "",
        "Other kinds of Kubernetes' own groups are passed over; the ConfigMap `istio` with a `mesh` in it is",
        "refused, since MeshConfig is read from an IstioOperator.",
    ]
    return "\n".join(lines) + "\n"


def _section(message: type[Message]) -> list[str]:
    lines = ["", f"### {message.__name__}", ""]
    if message.open_ended:
        lines += ["What is not named here is passed over.", ""]
    for one_of in message.one_ofs:
        names = ", ".join(f"`{yaml_name(name)}`" for name in one_of.fields)
        lines += [f"{'Exactly' if one_of.required else 'At most'} one of {names}.", ""]
    found = list(rows(message))
    if not found:
        return [*lines, "No fields."]
    lines += ["| Field | | Test |", "|---|---|---|"]
    for row in found:
        field = f"`{row.field}`" + (f" = `{row.value}`" if row.value else "")
        state = f"**rejected**: {row.reason}" if row.reason else row.type
        if row.passed_over:
            state += f"; read and **passed over**: {row.passed_over}"
        lines.append(
            f"| {field} | {state} | `{'test_rejected' if row.reason else 'test_supported'}[{row.name}]` |"
        )
    return lines


def main(arguments: list[str]) -> int:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(prog="python -m mesh.manifests.table", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} instead of printing")
    if parser.parse_args(arguments).write:
        FILE.write_text(markdown(), encoding="utf-8")
    else:
        sys.stdout.write(markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
