"""YAML to nodes that remember where they stand. Nothing is constructed, and nothing that YAML can do beyond
JSON is let through: aliases, anchors, tags, merge keys, keys that are not text or there twice are refused.

Sources: https://yaml.org/spec/1.1/, and for what Kubernetes does, https://pkg.go.dev/sigs.k8s.io/yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from mesh.manifests.findings import Findings
from mesh.manifests.limits import Limits
from mesh.manifests.message import Position, shown
from mesh.manifests.plain import PlainKind, plain_kind


@dataclass(slots=True, eq=False)
class Scalar:
    """Text, and whether it was written without quotes, so that YAML may mean something else by it."""

    value: str
    plain: bool
    file: str
    line: int


@dataclass(slots=True, eq=False)
class Items:
    """A list."""

    items: list[Node]
    file: str
    line: int


@dataclass(slots=True, eq=False)
class Entry:
    """A value of a map, and where its key stands."""

    value: Node
    file: str
    line: int
    number: bool = False
    """The key is a number without quotes."""


@dataclass(slots=True, eq=False)
class Map:
    """A map from text."""

    entries: dict[str, Entry]
    file: str
    line: int


@dataclass(slots=True, eq=False)
class Broken:
    """Stands where something was refused, so that it is not complained about twice."""

    file: str
    line: int


Node = Scalar | Items | Map | Broken


class TooMuch(Exception):
    """A limit was passed; the rest of the file is not read."""


@dataclass(slots=True)
class _Composer:
    """Reads the events of one file."""

    events: Any  # the types of PyYAML's two loaders have nothing in common
    file: str
    limits: Limits
    findings: Findings
    lines_before: int = 0
    path: list[str | int] = field(default_factory=list)
    """Keys of maps and indices of lists, outermost first."""
    nodes: int = 0
    most: int = 0
    """Nodes of the document at hand that are let through."""
    all_nodes: int = 0

    def here(self, line: int) -> Position:
        """The place that is being read."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in self.path)
        return Position(self.file, line, "".join(steps).removeprefix("."))

    def documents(self) -> Iterator[Node]:
        """All documents that are not empty."""
        count = 0
        while (kind := type(event := self.events.get_event())) is not StreamEndEvent:
            if kind is DocumentStartEvent:
                count += 1
                line = event.start_mark.line + 1 + self.lines_before
                if count > self.limits.documents:
                    self.findings.add(
                        self.here(line), f"more than {self.limits.documents} documents in one file"
                    )
                    raise TooMuch
                if event.tags:
                    self.findings.add(self.here(line), "%TAG directives are not allowed")
                self.all_nodes += self.nodes
                self.nodes = 0
                self.most = min(self.limits.nodes, self.limits.file_nodes - self.all_nodes)
                self.path.clear()
                node = self.node(self.events.get_event(), 0)
                if not (isinstance(node, Scalar) and node.plain and not node.value):
                    yield node

    def node(self, event: Any, depth: int) -> Node:
        """The node that an event begins."""
        kind = type(event)
        line = event.start_mark.line + 1 + self.lines_before
        self.nodes += 1
        if self.nodes > self.most:
            self._refuse_more(line)
        if kind is ScalarEvent and event.anchor is None and event.tag is None:
            return self._scalar(event, line)
        if kind is AliasEvent:
            self.findings.add(self.here(line), "YAML aliases are not allowed: write the value out")
            return Broken(self.file, line)
        refused = event.anchor is not None or event.tag is not None
        if event.anchor is not None:
            self.findings.add(
                self.here(line), "YAML anchors are not allowed: write the value where it is used"
            )
        if event.tag is not None:
            self.findings.add(self.here(line), "YAML tags are not allowed")
        node: Node
        if kind is ScalarEvent:
            node = self._scalar(event, line)
        elif depth >= self.limits.depth:
            self.findings.add(self.here(line), f"nested more than {self.limits.depth} deep")
            raise TooMuch
        elif kind is SequenceStartEvent:
            node = self._items(line, depth)
        else:
            node = self._map(line, depth)
        return Broken(self.file, line) if refused else node

    def _refuse_more(self, line: int) -> NoReturn:
        limits = self.limits
        what, most = ("document", limits.nodes) if self.nodes > limits.nodes else ("file", limits.file_nodes)
        self.findings.add(self.here(line), f"the {what} has more than {most} values")
        raise TooMuch

    def _scalar(self, event: Any, line: int) -> Scalar:
        text = event.value
        if len(text) > self.limits.scalar_characters:
            self.findings.add(self.here(line), f"longer than {self.limits.scalar_characters} characters")
            raise TooMuch
        return Scalar(text, event.implicit[0], self.file, line)

    def _items(self, line: int, depth: int) -> Items:
        items: list[Node] = []
        while type(event := self.events.get_event()) is not SequenceEndEvent:
            self.path.append(len(items))
            items.append(self.node(event, depth + 1))
            self.path.pop()
        return Items(items, self.file, line)

    def _map(self, line: int, depth: int) -> Map:
        entries: dict[str, Entry] = {}
        get_event, path, file = self.events.get_event, self.path, self.file
        while type(event := get_event()) is not MappingEndEvent:
            key = self.node(event, depth + 1)
            name = key.value if type(key) is Scalar else "?"
            path.append(name)
            value = self.node(get_event(), depth + 1)
            number = self._check_key(key, entries)
            if type(key) is Scalar and name not in entries:
                entries[name] = Entry(value, file, key.line, number)
            path.pop()
        return Map(entries, file, line)

    def _check_key(self, key: Node, entries: dict[str, Entry]) -> bool:
        """Whether the key is a number; what is wrong with it is noted."""
        if type(key) is Scalar and key.value not in entries and key.value != "<<":
            kind = plain_kind(key.value) if key.plain else PlainKind.TEXT
            if kind is PlainKind.TEXT:
                return False
        if isinstance(key, Broken):
            return False
        if not isinstance(key, Scalar):
            self.findings.add(self.here(key.line), "a key must be text")
            return False
        first = entries.get(key.value)
        if first is not None:
            self.findings.add(
                self.here(key.line), f"the key is there twice; the first is in line {first.line}"
            )
        if not key.plain:
            return False
        if key.value == "<<":
            self.findings.add(self.here(key.line), "YAML merge keys are not allowed: write the values out")
            return False
        kind = plain_kind(key.value)
        if kind in (PlainKind.TEXT, PlainKind.INTEGER):
            return kind is PlainKind.INTEGER
        self.findings.add(self.here(key.line), f"the key is {kind.value} in YAML: put it in quotes")
        return False


def compose(
    content: bytes | str, file: str, limits: Limits, findings: Findings, *, lines_before: int = 0
) -> list[Node]:
    """The documents of a file, or of a text that begins after so many lines of it.

    What is wrong is noted; documents before a syntax error are still returned.
    """
    documents: list[Node] = []
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        size = len(text.encode("utf-8")) if isinstance(content, str) else len(content)
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        findings.add(Position(file, 0, ""), f"is not UTF-8: {error.reason} at {error.start}")
        return documents
    if size > limits.file_bytes:
        findings.add(Position(file, 0, ""), f"is larger than {limits.file_bytes} bytes")
        return documents
    loader: Any = None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        composer = _Composer(loader, file, limits, findings, lines_before)
        for document in composer.documents():  # one by one: those before a syntax error are kept
            documents.append(document)  # noqa: PERF402
    except TooMuch:
        pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        findings.add(
            Position(file, mark.line + 1 + lines_before if mark else 0, ""), f"is not YAML: {_problem(error)}"
        )
    except yaml.YAMLError as error:
        findings.add(Position(file, 0, ""), f"is not YAML: {shown(str(error).splitlines()[0])}")
    finally:
        if loader is not None:
            loader.dispose()
    return documents


def _problem(error: yaml.MarkedYAMLError) -> str:
    return " ".join(str(part) for part in (error.context, error.problem) if part)
