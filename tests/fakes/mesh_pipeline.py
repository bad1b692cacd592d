"""A control plane's steps without Istio: the manifests are xDS itself, as JSON files.

A file looks like `{"proxies": [{"name": …, "namespace": …, "service_account": …, "kind": …}], "resources":
{"<proxy name>": {"CDS": [{…}], …}}, "credentials": {"<proxy name>": ["…"]}}`; all files together make the
mesh.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from mesh.control.pipeline import BadManifests, Pipeline, Problem
from mesh.ir.origin import default
from mesh.ir.patch import Operation, Patch, Target
from mesh.ir.values import Locality
from mesh.ir.view import Proxy, ProxyKind, ProxyView
from mesh.xds.protos import cluster_pb2, endpoint_pb2, listener_pb2, route_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources

_TYPES: Mapping[str, tuple[str, Any, str]] = {
    "CDS": (CLUSTER, cluster_pb2.Cluster, "name"),
    "EDS": (ENDPOINTS, endpoint_pb2.ClusterLoadAssignment, "cluster_name"),
    "LDS": (LISTENER, listener_pb2.Listener, "name"),
    "RDS": (ROUTES, route_pb2.RouteConfiguration, "name"),
}


@dataclass(frozen=True)
class FakeManifests:
    """What the files say."""

    texts: Mapping[Path, str]
    documents: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class FakeIndex:
    """What is looked up."""

    proxies: Mapping[str, Proxy]
    resources: Mapping[str, Any]
    credentials: Mapping[str, Sequence[str]]


@dataclass
class FakeSteps:
    """The steps, with failures on demand and counters."""

    fail_translation: set[str] = field(default_factory=set)
    """Names of proxies that cannot be translated."""
    to_blame: dict[str, Problem] = field(default_factory=dict)
    """By the name of a proxy, what in the manifests keeps it from being translated."""
    tried: set[str] = field(default_factory=set)
    """Names of proxies that are tried before anything is taken over."""
    read_fails: Exception | None = None
    """With what reading fails, if it is not the manifests that are at fault."""
    translated: list[str] = field(default_factory=list)

    def pipeline(self) -> Pipeline[FakeManifests, FakeIndex]:
        """As the control plane takes it."""
        return Pipeline(
            read=self.read,
            files=lambda manifests: manifests.texts,
            version=self.version,
            index=self.index,
            proxies=lambda index: index.proxies.values(),
            resolve=self.resolve,
            translate=self.translate,
            trials=lambda index, _: [proxy for proxy in index.proxies.values() if proxy.name in self.tried],
        )

    def read(self, sources: Sequence[Path], former: FakeManifests | None) -> FakeManifests:
        del former
        if self.read_fails is not None:
            raise self.read_fails
        texts = {file: file.read_text() for source in sources for file in _files(source)}
        documents, problems = [], []
        for file, text in texts.items():
            try:
                documents.append(json.loads(text))
            except ValueError as error:
                problems.append(Problem(file=str(file), line=1, path="", message=str(error)))
        if problems:
            raise BadManifests(problems)
        return FakeManifests(texts, documents)

    @staticmethod
    def version(manifests: FakeManifests) -> str:
        text = "".join(f"{file}{text}" for file, text in sorted(manifests.texts.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @staticmethod
    def index(manifests: FakeManifests, former: FakeIndex | None) -> FakeIndex:
        del former
        proxies: dict[str, Proxy] = {}
        resources: dict[str, Any] = {}
        credentials: dict[str, Sequence[str]] = {}
        for document in manifests.documents:
            for entry in document.get("proxies", ()):
                proxies[entry["name"]] = _proxy(entry)
            for name, types in document.get("resources", {}).items():
                resources.setdefault(name, {}).update(types)
            credentials |= document.get("credentials", {})
        return FakeIndex(proxies, resources, credentials)

    @staticmethod
    def resolve(index: FakeIndex, proxy: Proxy) -> ProxyView:
        patch = Patch(
            target=Target.CLUSTER,
            operation=Operation.ADD,
            value=index.resources.get(proxy.name, {}),
            origin=default("fake"),
        )
        return ProxyView(
            proxy=proxy, patches=(patch,), credentials=tuple(index.credentials.get(proxy.name, ()))
        )

    def translate(self, view: ProxyView) -> Resources:
        self.translated.append(view.proxy.name)
        if view.proxy.name in self.fail_translation:
            raise ValueError("cannot translate")
        if view.proxy.name in self.to_blame:
            raise BadManifests([self.to_blame[view.proxy.name]])
        by_type: dict[str, Any] = {type_url: {} for type_url, _, _ in _TYPES.values()}
        for short, items in view.patches[0].value.items():
            type_url, kind, key = _TYPES[short]
            assert isinstance(items, list)
            for item in items:
                try:
                    by_type[type_url][item[key]] = ParseDict(item, kind())
                except ParseError as error:
                    raise ValueError(str(error)) from error
        return Resources(by_type)


def _files(source: Path) -> Iterable[Path]:
    return sorted(source.glob("*.json")) if source.is_dir() else [source]


def _proxy(entry: Mapping[str, Any]) -> Proxy:
    return Proxy(
        name=entry["name"],
        namespace=entry.get("namespace", "causeway"),
        kind=ProxyKind(entry.get("kind", "sidecar")),
        service_account=entry.get("service_account", entry["name"]),
        locality=Locality(entry.get("region", "")),
        address=entry.get("address", "127.0.0.1"),
    )
