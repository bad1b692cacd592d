"""Patches of nodes: the merge that kustomize does for kinds it has no schema of (RFC 7386: maps are merged,
lists replaced, null deletes), and JSON patches (RFC 6902). What a patch wrote remembers where."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.manifests.findings import Findings
from mesh.manifests.message import Position, shown
from mesh.manifests.nodes import Broken, Entry, Items, Map, Node, Scalar
from mesh.manifests.plain import PlainKind, plain_kind

_IDENTITY = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))
"""What says which resource it is; a patch names it and does not change it."""
_MEMBERS = frozenset({"op", "path", "value", "from"})


class PatchFailed(Exception):
    """A patch does not fit what it is applied to."""


def copied(node: Node) -> Node:
    """A node of its own, from the same place."""
    if isinstance(node, Map):
        return Map(
            {
                key: Entry(copied(entry.value), entry.file, entry.line, entry.number)
                for key, entry in node.entries.items()
            },
            node.file,
            node.line,
        )
    if isinstance(node, Items):
        return Items([copied(item) for item in node.items], node.file, node.line)
    return node


def is_null(node: Node) -> bool:
    """Whether it is `null`."""
    return isinstance(node, Scalar) and node.plain and plain_kind(node.value) is PlainKind.NULL


def merge(
    target: Map, patch: Map, findings: Findings, *, keep_lists: bool, path: tuple[str, ...] = ()
) -> None:
    """Merges a patch into a target. With `keep_lists`, lists (merged by keys) are refused."""
    for key, entry in patch.entries.items():
        here = (*path, key)
        if here in _IDENTITY:
            continue
        at = Position(entry.file, entry.line, ".".join(shown(part) for part in here))
        if key.startswith("$"):
            findings.add(at, f"{shown(key)} is not supported here: write a JSON patch")
        elif is_null(entry.value):
            target.entries.pop(key, None)
        elif isinstance(entry.value, Items) and keep_lists:
            findings.add(at, "lists of Kubernetes' own kinds are merged by keys: write a JSON patch")
        elif isinstance(entry.value, Map) and isinstance(inner := _value(target, key), Map):
            merge(inner, entry.value, findings, keep_lists=keep_lists, path=here)
        else:
            target.entries[key] = Entry(_without_nulls(entry.value), entry.file, entry.line, entry.number)


def _value(node: Map, key: str) -> Node | None:
    entry = node.entries.get(key)
    return entry.value if entry is not None else None


def _without_nulls(node: Node) -> Node:
    node = copied(node)
    if isinstance(node, Map):
        for key in [key for key, entry in node.entries.items() if is_null(entry.value)]:
            del node.entries[key]
        for entry in node.entries.values():
            entry.value = _without_nulls(entry.value)
    return node


def apply_operations(target: Map, operations: Items, findings: Findings) -> None:
    """Applies a JSON patch; the first operation that does not fit ends it."""
    for item in operations.items:
        at = Position(item.file, item.line, "")
        try:
            _apply(target, item)
        except PatchFailed as failed:
            findings.add(at, str(failed))
            return


def _apply(target: Map, item: Node) -> None:
    if not isinstance(item, Map):
        raise PatchFailed("an operation of a JSON patch must be a map with op and path")
    unknown = item.entries.keys() - _MEMBERS
    if unknown:
        raise PatchFailed(f"an operation of a JSON patch has no {shown(min(unknown))}")
    operation, pointer = _text(item, "op"), _pointer(_text(item, "path"))
    if tuple(pointer) in _IDENTITY or not pointer:
        raise PatchFailed("a patch does not change which resource it is")
    if operation in ("add", "replace", "test"):
        if "value" not in item.entries:
            raise PatchFailed(f"{operation} needs a value")
        value = item.entries["value"].value
        if operation == "add":
            _add(target, pointer, copied(value))
        elif operation == "replace":
            _remove(target, pointer, replaced_by=copied(value))
        elif not _equal(_find(target, pointer), value):
            raise PatchFailed(f"test: /{'/'.join(pointer)} is something else")
    elif operation == "remove":
        _remove(target, pointer)
    elif operation in ("move", "copy"):
        source = _pointer(_text(item, "from"))
        if operation == "move" and (tuple(source) in _IDENTITY or pointer[: len(source)] == source):
            raise PatchFailed("move: from must be another place, and not which resource it is")
        value = copied(_find(target, source))
        if operation == "move":
            _remove(target, source)
        _add(target, pointer, value)
    else:
        raise PatchFailed(f"`{shown(operation)}` is not an operation of a JSON patch")


def _text(item: Map, key: str) -> str:
    entry = item.entries.get(key)
    if entry is None or not isinstance(entry.value, Scalar):
        raise PatchFailed(f"an operation of a JSON patch needs {key}")
    return entry.value.value


def _pointer(text: str) -> list[str]:
    """RFC 6901."""
    if text and not text.startswith("/"):
        raise PatchFailed(f"a path begins with `/`, not `{shown(text)}`")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _find(node: Node, pointer: Sequence[str]) -> Node:
    for part in pointer:
        if isinstance(node, Map) and part in node.entries:
            node = node.entries[part].value
        elif (
            isinstance(node, Items) and part.isascii() and part.isdigit() and int(part[:6]) < len(node.items)
        ):
            node = node.items[int(part[:6])]
        else:
            raise PatchFailed(f"there is no /{shown('/'.join(pointer))}")
    return node


def _add(target: Map, pointer: list[str], value: Node) -> None:
    parent, last = _find(target, pointer[:-1]), pointer[-1]
    if isinstance(parent, Map):
        parent.entries[last] = Entry(value, value.file, value.line)
    elif isinstance(parent, Items) and last == "-":
        parent.items.append(value)
    elif (
        isinstance(parent, Items) and last.isascii() and last.isdigit() and int(last[:6]) <= len(parent.items)
    ):
        parent.items.insert(int(last[:6]), value)
    else:
        raise PatchFailed(f"there is no /{shown('/'.join(pointer))} to add to")


def _remove(target: Map, pointer: list[str], replaced_by: Node | None = None) -> None:
    _find(target, pointer)
    parent, last = _find(target, pointer[:-1]), pointer[-1]
    if isinstance(parent, Map):
        if replaced_by is None:
            del parent.entries[last]
        else:
            parent.entries[last] = Entry(replaced_by, replaced_by.file, replaced_by.line)
    elif isinstance(parent, Items):
        parent.items[int(last) : int(last) + 1] = [] if replaced_by is None else [replaced_by]


def _equal(first: Node, second: Node) -> bool:
    if isinstance(first, Map) and isinstance(second, Map):
        return first.entries.keys() == second.entries.keys() and all(
            _equal(entry.value, second.entries[key].value) for key, entry in first.entries.items()
        )
    if isinstance(first, Items) and isinstance(second, Items):
        return len(first.items) == len(second.items) and all(map(_equal, first.items, second.items))
    if isinstance(first, Scalar) and isinstance(second, Scalar):
        return first.value == second.value and _kind(first) is _kind(second)
    return isinstance(first, Broken) or isinstance(second, Broken)


def _kind(node: Scalar) -> PlainKind:
    return plain_kind(node.value) if node.plain else PlainKind.TEXT
