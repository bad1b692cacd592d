"""Writes plain data as YAML that people can read. Strings are quoted as JSON quotes them, which YAML 1.2
accepts, so that none can turn into a number, a date or a boolean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

Plain = Mapping[str, "Plain"] | Sequence["Plain"] | str | int | float | bool | None

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def documents(items: Iterable[Mapping[str, Plain]], comment: str = "") -> str:
    """A stream of YAML documents, with a comment on top."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "---\n".join(_block(item, 0) for item in items)


def _block(value: Plain, depth: int) -> str:
    """`value` as lines, each indented by `depth` levels."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        return "".join(f"{pad}{_key(key)}:{_after_key(item, depth)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(f"{pad}- {_block(item, depth + 1).lstrip()}" for item in value)
    return f"{pad}{json.dumps(value)}\n"


def _after_key(value: Plain, depth: int) -> str:
    if isinstance(value, Mapping):
        return "\n" + _block(value, depth + 1) if value else " {}\n"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n" + _block(value, depth) if value else " []\n"
    return f" {json.dumps(value)}\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) and key.lower() not in _WORDS else json.dumps(key)


_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
