"""A folder with a kustomization, rendered as `kustomize build` does it: resources, then components, patches,
namespace, labels and annotations. What it cannot do is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.manifests.findings import Findings
from mesh.manifests.kinds import group_and_version, is_kubernetes
from mesh.manifests.kustomization import Kustomization, KustomizationPatch, PatchTarget
from mesh.manifests.limits import Limits
from mesh.manifests.message import Message, Position, position_of, shown
from mesh.manifests.nodes import Broken, Entry, Items, Map, Node, Scalar, compose
from mesh.manifests.patches import apply_operations, merge
from mesh.manifests.schema import read_message

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KINDS = {
    "Kustomization": ("kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1"),
    "Component": ("kustomize.config.k8s.io/v1alpha1",),
}
_LOADS = 1000
"""Files and folders of one kustomization, each counted as often as it is named."""
_PATTERN = re.compile(r"[A-Za-z0-9.*|_-]{1,512}")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._/-]+)\s*(?:==?\s*([A-Za-z0-9._-]*)\s*)?")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which resource it is."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}")


@dataclass(slots=True, eq=False)
class Resource:
    """A document on its way through the overlays, and what it was called on the way."""

    node: Map
    known_as: list[Identity]

    @property
    def identity(self) -> Identity:
        """What it is called now."""
        return self.known_as[-1]


def render(folder: Path, limits: Limits, findings: Findings) -> tuple[list[Node], Mapping[str, bytes]]:
    """The documents, and the content of all files that were read for them."""
    build = _Build(limits, findings)
    resources = build.folder(os.path.normpath(folder), "Kustomization", [], ())
    return [resource.node for resource in resources], build.files


@dataclass(slots=True)
class _Build:
    limits: Limits
    findings: Findings
    files: dict[str, bytes] = field(default_factory=dict)
    loads: int = 0

    def folder(
        self, folder: str, kind: str, resources: list[Resource], parents: tuple[str, ...]
    ) -> list[Resource]:
        """What a folder makes, of nothing or (a component) of the resources that are there already."""
        file = next((name for name in NAMES if (Path(folder) / name).is_file()), None)
        if file is None:
            self.findings.add(Position(folder, 0, ""), "has no kustomization.yaml")
            return resources
        kustomization = self._kustomization(os.path.join(folder, file), kind)  # noqa: PTH118
        if kustomization is None:
            return resources
        parents = (*parents, os.path.realpath(folder))
        for index in range(len(kustomization.resources)):
            resources = resources + self._resource(folder, kustomization, index, parents)
            _check_unique(resources, position_of(kustomization, "resources", index), self.findings)
        for index in range(len(kustomization.components)):
            path = self._path(folder, kustomization, "components", index, parents)
            if path is not None:
                resources = self.folder(path, "Component", resources, parents)
        for patch in kustomization.patches:
            resources = self._patch(folder, patch, resources)
        _transform(kustomization, resources)
        return resources

    def _kustomization(self, file: str, kind: str) -> Kustomization | None:
        documents = self._load(file, Position(file, 0, ""))
        if len(documents) != 1 or isinstance(documents[0], Broken):
            self.findings.add(Position(file, 0, ""), "must have one document")
            return None
        at = Position(file, documents[0].line, "")
        self.findings.refused.clear()
        before = len(self.findings.errors)
        kustomization = read_message(Kustomization, documents[0], at, self.findings)
        if not isinstance(kustomization, Kustomization):
            return None
        if (kustomization.kind or "Kustomization") != kind:
            self.findings.field(kustomization, "kind", f"must be {kind} here")
        elif kustomization.api_version is not None and kustomization.api_version not in _KINDS[kind]:
            self.findings.field(kustomization, "api_version", f"must be {' or '.join(_KINDS[kind])}")
        return kustomization if len(self.findings.errors) == before else None

    def _load(self, file: str, named_at: Position) -> list[Node]:
        """The documents of a file."""
        self.loads += 1
        if self.loads > _LOADS:
            if self.loads == _LOADS + 1:
                self.findings.add(named_at, f"the kustomization reads more than {_LOADS} files")
            return []
        try:
            with Path(file).open("rb") as opened:
                content = opened.read(self.limits.file_bytes + 1)
        except OSError as error:
            self.findings.add(named_at, f"{shown(file)} cannot be read: {error.strerror}")
            return []
        self.files[file] = content
        return compose(content, file, self.limits, self.findings)

    def _path(
        self, folder: str, kustomization: Kustomization, name: str, index: int, parents: tuple[str, ...]
    ) -> str | None:
        """The file or folder that an entry names; outside the folder only a folder with a kustomization."""
        entry: str = getattr(kustomization, name)[index]
        at = position_of(kustomization, name, index)
        if "://" in entry or "?ref=" in entry or entry.startswith("git@"):
            self.findings.add(at, "nothing is fetched from elsewhere: name a file or folder")
            return None
        path = os.path.normpath(os.path.join(folder, entry))  # noqa: PTH118
        if os.path.isabs(entry) or "\0" in entry or not Path(path).exists():  # noqa: PTH117
            self.findings.add(at, f"there is no `{shown(entry)}` beside the kustomization")
            return None
        real = Path(os.path.realpath(path))
        if real.is_dir():
            if str(real) in parents:
                self.findings.add(at, f"`{shown(entry)}` contains this kustomization itself")
                return None
            if not any((real / candidate).is_file() for candidate in NAMES):
                self.findings.add(at, f"`{shown(entry)}` is a folder without a kustomization")
                return None
        elif not real.is_file() or not real.is_relative_to(os.path.realpath(folder)):
            self.findings.add(
                at, f"`{shown(entry)}` must be a file in the kustomization's folder or below it"
            )
            return None
        return path

    def _resource(
        self, folder: str, kustomization: Kustomization, index: int, parents: tuple[str, ...]
    ) -> list[Resource]:
        path = self._path(folder, kustomization, "resources", index, parents)
        if path is None:
            return []
        at = position_of(kustomization, "resources", index)
        if Path(path).is_dir():
            self.loads += 1
            return self.folder(path, "Kustomization", [], parents) if self.loads <= _LOADS else []
        resources = []
        for node in self._load(path, at):
            if isinstance(node, Map):
                resources.append(Resource(node, [_identity(node)]))
            elif not isinstance(node, Broken):
                self.findings.add(Position(node.file, node.line, ""), "a document must be a map")
        return resources

    def _patch(self, folder: str, patch: KustomizationPatch, resources: list[Resource]) -> list[Resource]:
        """The resources after a patch."""
        if patch.path is not None:
            at = position_of(patch, "path")
            path = os.path.normpath(os.path.join(folder, patch.path))  # noqa: PTH118
            if (
                not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
                or "\0" in patch.path
            ):
                self.findings.add(at, "must be a file in the kustomization's folder or below it")
                return resources
            documents = self._load(path, at)
        else:
            at = position_of(patch, "patch")
            text = patch.patch or ""
            documents = compose(
                text, at.file, self.limits, self.findings, lines_before=at.line - ("\n" not in text)
            )
        for document in documents:
            resources = self._apply(patch, document, at, resources)
        if not documents:
            self.findings.add(at, "is empty")
        return resources

    def _apply(
        self, patch: KustomizationPatch, document: Node, at: Position, resources: list[Resource]
    ) -> list[Resource]:
        if isinstance(document, Items):
            if patch.target is None:
                self.findings.field(patch, "target", "is missing: a JSON patch does not say what it is for")
                return resources
            for resource in self._targets(patch.target, resources):
                apply_operations(resource.node, document, self.findings)
            return resources
        if not isinstance(document, Map):
            self.findings.add(at, "must be a map (to be merged) or a list (of operations)")
            return resources
        if patch.target is not None:
            targets = self._targets(patch.target, resources)
        else:
            wanted = _identity(document)
            targets = [resource for resource in resources if wanted in resource.known_as]
            if not targets:
                self.findings.add(
                    Position(document.file, document.line, ""), f"there is no {wanted} to be patched"
                )
        directive = document.entries.get("$patch")
        if (
            directive is not None
            and isinstance(directive.value, Scalar)
            and directive.value.value == "delete"
        ):
            return [resource for resource in resources if resource not in targets]
        for resource in targets:
            group, _ = group_and_version(resource.identity.api_version)
            merge(resource.node, document, self.findings, keep_lists=is_kubernetes(group))
        return resources

    def _targets(self, target: PatchTarget, resources: list[Resource]) -> list[Resource]:
        before = len(self.findings.errors)
        for name in ("kind", "name", "namespace"):
            wanted: str | None = getattr(target, name)
            if wanted is not None and (
                not _PATTERN.fullmatch(wanted) or wanted.count("*") != wanted.count(".*")
            ):
                self.findings.field(target, name, "must be a name; `.*` stands for anything, `|` for or")
        selectors = {}
        for name in ("label_selector", "annotation_selector"):
            selector: str | None = getattr(target, name)
            parts = (
                [_REQUIREMENT.fullmatch(part) for part in selector.split(",")] if selector is not None else []
            )
            if None in parts:
                self.findings.field(target, name, "must be of the form name=value,name")
            selectors[name] = [part for part in parts if part is not None]
        if len(self.findings.errors) > before:
            return []
        found = [
            resource
            for resource in resources
            if any(_matches(target, identity) for identity in resource.known_as)
            and _selected(resource, "labels", selectors["label_selector"])
            and _selected(resource, "annotations", selectors["annotation_selector"])
        ]
        if not found:
            self.findings.check(target.at, "matches no resource")
        return found


def _matches(target: PatchTarget, identity: Identity) -> bool:
    group, version = group_and_version(identity.api_version)
    return (
        target.group in (None, group)
        and target.version in (None, version)
        and _like(target.kind, identity.kind)
        and _like(target.name, identity.name)
        and _like(target.namespace, identity.namespace or "default")
    )


def _like(pattern: str | None, text: str) -> bool:
    """Whether a text is one of a pattern's names, in time that grows with their lengths alone."""
    if pattern is None:
        return True
    return any(_like_parts(choice.split(".*"), text) for choice in pattern.split("|"))


def _like_parts(parts: list[str], text: str) -> bool:
    if len(parts) == 1:
        return parts[0] == text
    first, *middle, last = parts
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    rest = text[len(first) : len(text) - len(last)]
    for part in middle:
        at = rest.find(part)
        if at < 0:
            return False
        rest = rest[at + len(part) :]
    return True


def _selected(resource: Resource, name: str, requirements: list[re.Match[str]]) -> bool:
    metadata = _child(resource.node, "metadata")
    values = _child(metadata, name) if metadata is not None else None
    for requirement in requirements:
        found = _text(values, requirement[1]) if values is not None else None
        if found is None or requirement[2] not in (None, found):
            return False
    return True


def _child(node: Map, key: str) -> Map | None:
    entry = node.entries.get(key)
    return entry.value if entry is not None and isinstance(entry.value, Map) else None


def _text(node: Map, key: str) -> str | None:
    entry = node.entries.get(key)
    return entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None


def _identity(node: Map) -> Identity:
    metadata = _child(node, "metadata")
    return Identity(
        _text(node, "apiVersion") or "",
        _text(node, "kind") or "",
        (_text(metadata, "namespace") if metadata is not None else None) or "",
        (_text(metadata, "name") if metadata is not None else None) or "",
    )


def _check_unique(resources: list[Resource], at: Position, findings: Findings) -> None:
    seen: set[Identity] = set()
    for resource in resources:
        if resource.identity in seen:
            findings.add(at, f"{resource.identity} is there twice")
        seen.add(resource.identity)


def _transform(kustomization: Kustomization, resources: list[Resource]) -> None:
    """Namespace, labels and annotations."""
    for resource in resources:
        if kustomization.namespace is not None and resource.identity.kind != "Namespace":
            at = position_of(kustomization, "namespace")
            _set(resource.node, ("metadata",), {"namespace": kustomization.namespace}, {"namespace": at})
            resource.known_as.append(_identity(resource.node))
        for labels in kustomization.labels:
            _label(resource, labels, "pairs", labels.pairs, selectors=bool(labels.include_selectors))
        _label(resource, kustomization, "common_labels", kustomization.common_labels, selectors=True)
        annotations = kustomization.common_annotations
        places = {key: position_of(kustomization, "common_annotations", key) for key in annotations}
        _set(resource.node, ("metadata", "annotations"), annotations, places)


def _label(
    resource: Resource, message: Message, name: str, labels: Mapping[str, str], *, selectors: bool
) -> None:
    places = {key: position_of(message, name, key) for key in labels}
    _set(resource.node, ("metadata", "labels"), labels, places)
    if selectors and (resource.identity.api_version, resource.identity.kind) == ("v1", "Service"):
        _set(resource.node, ("spec", "selector"), labels, places)


def _set(node: Map, path: tuple[str, ...], values: Mapping[str, str], places: Mapping[str, Position]) -> None:
    """Writes text into a map of a document, which is made where it is absent."""
    if not values:
        return
    first = next(iter(places.values()))
    for part in path:
        entry = node.entries.get(part)
        if entry is None:
            entry = node.entries[part] = Entry(Map({}, first.file, first.line), first.file, first.line)
        if not isinstance(entry.value, Map):
            return
        node = entry.value
    for key, value in values.items():
        at = places[key]
        node.entries[key] = Entry(Scalar(value, False, at.file, at.line), at.file, at.line)
