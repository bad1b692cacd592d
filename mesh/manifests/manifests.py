"""All manifests of a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar, cast

from mesh.manifests.mesh_config import IstioOperator, MeshConfig
from mesh.manifests.message import Message, Position

T = TypeVar("T", bound=Message)
T_co = TypeVar("T_co", bound=Message, covariant=True)

Created = tuple[int, str, int]
"""Where a manifest stands in the input: source, file, document.

Compare with `<`. It does not change when other files come and go, so it stands for the creation time that
Istio sorts by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Generic[T_co]):
    """One document: what it is called, and what it says."""

    kind: str
    api_version: str
    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: Created = (0, "", 0)
    spec: T_co
    at: Position = field(compare=False)
    """Where the document begins."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


ByType = Mapping[type[Message], tuple[Manifest[Message], ...]]
"""Manifests by what they say, in the order of the input."""


def by_type(manifests: Iterable[Manifest[Message]]) -> ByType:
    """The manifests of each kind."""
    found: dict[type[Message], list[Manifest[Message]]] = {}
    for manifest in manifests:
        found.setdefault(type(manifest.spec), []).append(manifest)
    return _frozen(found)


def _frozen(found: Mapping[type[Message], list[Manifest[Message]]]) -> ByType:
    return MappingProxyType({spec: tuple(manifests) for spec, manifests in found.items()})


@dataclass(frozen=True, slots=True)
class ReadPart:
    """What one document of a file was when it was read: unchanged in its place, it is not read again."""

    digest: bytes
    lines_before: int
    number: int
    """How many documents stand before it."""
    documents: int
    """In it: one, or none where only comments are."""
    manifest: Manifest[Message] | None
    """None for what is passed over."""


@dataclass(frozen=True, slots=True)
class ReadSource:
    """What a file or a kustomization was when it was read: unchanged, it is not read again."""

    index: int
    """Of the source it belongs to."""
    files: Mapping[str, bytes]
    """Digests by path; several for a kustomization."""
    manifests: tuple[Manifest[Message], ...]
    by_type: ByType = field(compare=False, repr=False)
    names: frozenset[tuple[str, str, str]] = field(compare=False, repr=False)
    """Kind, namespace and name of the manifests."""
    mark: bytes = field(compare=False, repr=False)
    """Stands for the content, wherever the files are."""
    parts: tuple[ReadPart, ...] = field(default=(), compare=False, repr=False)
    """Of a file whose documents can be told apart; else nothing."""
    stamps: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    """By path: what the file system said of a file whose digest was taken; while it says the same, so is the
    content. Only of files that had not changed for a while: clocks of file systems tick coarsely."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """All manifests of a mesh, checked."""

    all: tuple[Manifest[Message], ...] = ()
    """In the order of the input."""
    sources: Mapping[str, ReadSource] = field(default_factory=dict, compare=False, repr=False)
    """By file, or by folder for a kustomization: what `read` needs to read only what changed."""
    _by_type: ByType = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.sources:
            object.__setattr__(self, "_by_type", by_type(self.all))
            return
        found: dict[type[Message], list[Manifest[Message]]] = {}
        for source in self.sources.values():
            for spec, manifests in source.by_type.items():
                found.setdefault(spec, []).extend(manifests)
        object.__setattr__(self, "_by_type", _frozen(found))

    def of(self, spec: type[T]) -> tuple[Manifest[T], ...]:
        """All manifests of one kind, in the order of the input: `manifests.of(VirtualService)`."""
        return cast("tuple[Manifest[T], ...]", self._by_type.get(spec, ()))

    def __iter__(self) -> Iterator[Manifest[Message]]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def mesh_config(self) -> MeshConfig:
        """Of the one IstioOperator; without it, one that says nothing."""
        for manifest in self.of(IstioOperator):
            if manifest.spec.mesh_config is not None:
                return manifest.spec.mesh_config
        return MeshConfig()
