"""Nodes to plain values, each by the type of the field it stands in: text is never taken for a number, nor a
number for text."""

from __future__ import annotations

import base64
import binascii
import difflib
import math
import re
from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction

from mesh.manifests.findings import Findings
from mesh.manifests.message import Position, shown
from mesh.manifests.nodes import Broken, Items, Map, Node, Scalar
from mesh.manifests.plain import PlainKind, plain_kind


class Missing:
    """Stands for a value that could not be read."""


MISSING = Missing()

_UNITS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(10**6),
    "m": Fraction(60 * 10**6),
    "h": Fraction(3600 * 10**6),
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_MAXIMUM = timedelta(days=3650)
_NUMBERS = (PlainKind.INTEGER, PlainKind.DECIMAL)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")


def describe(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Map):
        return "a map"
    if isinstance(node, Scalar) and node.plain:
        return str(plain_kind(node.value).value)
    return "text"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean …?`, or nothing."""
    if len(name) > 64:
        return ""
    known = list(known)
    plain = name.replace("_", "").replace("-", "").lower()
    for candidate in known:
        if candidate.lower() == plain:
            return f": did you mean {candidate}?"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else ""


def text(node: Node, at: Position, findings: Findings) -> str | Missing:
    """Text. Without quotes it must be text to every reader of YAML."""
    if isinstance(node, Scalar):
        if not node.plain or (kind := plain_kind(node.value)) is PlainKind.TEXT:
            return node.value
        if kind is PlainKind.NULL:
            return _refuse(at, findings, "is empty: leave it out, or write a value")
        return _refuse(at, findings, f"must be text, and `{node.value}` is {kind.value}: put it in quotes")
    return _mismatch(node, at, findings, "text")


def boolean(node: Node, at: Position, findings: Findings) -> bool | Missing:
    """`true` or `false`."""
    if isinstance(node, Scalar) and node.plain and plain_kind(node.value) is PlainKind.BOOLEAN:
        return node.value.lower() == "true"
    return _mismatch(node, at, findings, "true or false")


def integer(node: Node, at: Position, findings: Findings, low: int, high: int) -> int | Missing:
    """A whole number in plain decimal digits."""
    if isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.value):
        value = int(node.value)
        if low <= value <= high:
            return value
        return _refuse(at, findings, f"must be from {low} to {high}, not {value}")
    return _mismatch(node, at, findings, "a whole number in plain digits")


def number(node: Node, at: Position, findings: Findings) -> float | Missing:
    """A decimal number."""
    if isinstance(node, Scalar) and node.plain and plain_kind(node.value) in _NUMBERS:
        value = float(node.value)
        if math.isfinite(value):
            return value
    return _mismatch(node, at, findings, "a number")


def duration(node: Node, at: Position, findings: Findings) -> timedelta | Missing:
    """`1.5s`, `1h30m`, as Go has it (https://pkg.go.dev/time#ParseDuration), not negative."""
    if not isinstance(node, Scalar) or len(node.value) > 64:
        return _mismatch(node, at, findings, 'a duration such as "1.5s"')
    if node.plain and plain_kind(node.value) is PlainKind.INTEGER and node.value != "0":
        return _refuse(at, findings, f"must be a duration with its unit, such as {node.value}s")
    microseconds, end = Fraction(0), 0
    while end < len(node.value) and (part := _DURATION_PART.match(node.value, end)):
        microseconds += Fraction("0" + part[1].rstrip(".")) * _UNITS[part[2]]
        end = part.end()
    if node.value != "0" and (end == 0 or end < len(node.value)):
        return _refuse(at, findings, f'must be a duration such as "1.5s", not `{shown(node.value)}`')
    if microseconds.denominator != 1:
        return _refuse(at, findings, "must not be finer than a microsecond")
    if microseconds > _MAXIMUM / timedelta(microseconds=1):
        return _refuse(at, findings, f"must not be longer than {_MAXIMUM.days} days")
    return timedelta(microseconds=int(microseconds))


def octets(node: Node, at: Position, findings: Findings) -> bytes | Missing:
    """Base64."""
    encoded = text(node, at, findings)
    if isinstance(encoded, Missing):
        return encoded
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return _refuse(at, findings, "must be base64")


def json_value(node: Node, at: Position, findings: Findings) -> object | Missing:
    """Any value that JSON has. Plain text that readers of YAML disagree about is refused."""
    if isinstance(node, Map):
        result: dict[str, object] = {}
        for key, entry in node.entries.items():
            inner = Position(entry.file, entry.line, f"{at.path}.{shown(key)}")
            if entry.number:
                findings.refuse(inner, "the key is a number in YAML: put it in quotes")
            value = json_value(entry.value, inner, findings)
            if not isinstance(value, Missing):
                result[key] = value
        return result
    if isinstance(node, Items):
        values = (
            json_value(item, Position(item.file, item.line, f"{at.path}[{index}]"), findings)
            for index, item in enumerate(node.items)
        )
        return [value for value in values if not isinstance(value, Missing)]
    if isinstance(node, Broken):
        return MISSING
    if not node.plain:
        return node.value
    return _plain_json(node, at, findings)


def _plain_json(node: Scalar, at: Position, findings: Findings) -> object | Missing:
    kind = plain_kind(node.value)
    if kind is PlainKind.TEXT:
        return node.value
    if kind is PlainKind.NULL:
        return None
    if kind is PlainKind.BOOLEAN:
        return node.value.lower() == "true"
    if kind is PlainKind.INTEGER and _INTEGER.fullmatch(node.value):
        return int(node.value)
    if kind is PlainKind.DECIMAL and math.isfinite(float(node.value)):
        return float(node.value)
    return _refuse(
        at, findings, f"`{shown(node.value)}` is {kind.value}: put it in quotes or write it plainly"
    )


def _mismatch(node: Node, at: Position, findings: Findings, wanted: str) -> Missing:
    if isinstance(node, Broken):
        findings.refused.append(at.path)
        return MISSING
    if isinstance(node, Scalar) and node.plain and plain_kind(node.value) is PlainKind.NULL:
        return _refuse(at, findings, "is empty: leave it out, or write a value")
    found = describe(node)
    if isinstance(node, Scalar):
        found = f"`{shown(node.value)}`" + ("" if node.plain else " in quotes")
    return _refuse(at, findings, f"must be {wanted}, not {found}")


def mismatch(node: Node, at: Position, findings: Findings, wanted: str) -> Missing:
    """Notes that a node is not what was wanted."""
    return _mismatch(node, at, findings, wanted)


def _refuse(at: Position, findings: Findings, message: str) -> Missing:
    findings.refuse(at, message)
    return MISSING
