"""One document to a typed manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mesh.manifests import values
from mesh.manifests.checks import check
from mesh.manifests.checks.names import check_metadata
from mesh.manifests.findings import Findings
from mesh.manifests.kinds import GATEWAY_API, KINDS, REFUSED, Kind, group_and_version, is_kubernetes
from mesh.manifests.manifests import Created, Manifest
from mesh.manifests.message import Message, Position, shown
from mesh.manifests.metadata import Metadata
from mesh.manifests.nodes import Broken, Map, Node
from mesh.manifests.schema import read_message
from mesh.manifests.values import Missing

DEFAULT_NAMESPACE = "default"
"""As kubectl has it."""

_BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}


M = TypeVar("M", bound=Message)


def read_document(node: Node, created: Created, findings: Findings) -> Manifest[Message] | None:
    """A manifest, or None for what is passed over and for what is wrong (which is noted)."""
    findings.refused.clear()
    start = Position(node.file, node.line, "")
    if isinstance(node, Broken):
        return None
    if not isinstance(node, Map):
        findings.add(
            start,
            f"a document must be a map with apiVersion, kind, metadata and spec, not {values.describe(node)}",
        )
        return None
    api_version, name = _text(node, "apiVersion", findings), _text(node, "kind", findings)
    if api_version is None or name is None:
        return None
    kind = _kind(node, api_version, name, findings)
    if kind is None:
        return None
    before = len(findings.errors) + findings.more
    metadata = _part(node, "metadata", Metadata, findings)
    spec = _part(node, "spec", kind.spec, findings)
    _check_other_keys(node, kind, findings)
    if metadata is not None:
        check_metadata(metadata, findings)
    if metadata is None or spec is None:
        return None
    manifest = Manifest(
        kind=kind.name,
        api_version=api_version,
        name=metadata.name or "",
        namespace=metadata.namespace or DEFAULT_NAMESPACE,
        labels=metadata.labels,
        annotations=metadata.annotations,
        created=created,
        spec=spec,
        at=start,
    )
    check(manifest, findings)
    return manifest if len(findings.errors) + findings.more == before else None


def _text(node: Map, key: str, findings: Findings) -> str | None:
    entry = node.entries.get(key)
    if entry is None:
        findings.add(
            Position(node.file, node.line, key), "is missing: every document says its apiVersion and kind"
        )
        return None
    value = values.text(entry.value, Position(entry.file, entry.line, key), findings)
    return None if isinstance(value, Missing) else value


def _kind(node: Map, api_version: str, name: str, findings: Findings) -> Kind | None:
    """The kind, or None for what is passed over or refused."""
    group, version = group_and_version(api_version)
    entry = node.entries["kind"]
    at = Position(entry.file, entry.line, "kind")
    for kind in KINDS:
        if (kind.group, kind.name) == (group, name):
            if version not in kind.versions:
                versions = " or ".join(f"{group}/{known}" if group else known for known in kind.versions)
                entry = node.entries["apiVersion"]
                findings.add(
                    Position(entry.file, entry.line, "apiVersion"),
                    f"{name} has the apiVersion {versions}, not `{shown(api_version)}`",
                )
                return None
            return kind
    refused = REFUSED.get((group, name))
    if refused is not None:
        findings.add(at, f"{name} is not supported: {refused}")
    elif group == GATEWAY_API:
        findings.add(
            at, f"{shown(name)} of the Gateway API is not read: write Istio's Gateway and VirtualService"
        )
    elif name in _BY_NAME:
        known = _BY_NAME[name]
        entry = node.entries["apiVersion"]
        findings.add(
            Position(entry.file, entry.line, "apiVersion"),
            f"{name} is of {known.group or 'v1'} ({known.versions[0]}), not of `{shown(api_version)}`",
        )
    elif group.endswith("istio.io"):
        names = [kind.name for kind in KINDS]
        findings.add(at, f"{shown(api_version)} has no kind {shown(name)}{values.did_you_mean(name, names)}")
    elif not is_kubernetes(group):
        findings.add(at, f"{shown(name)} of {shown(api_version)} is neither Istio's nor Kubernetes' own")
    elif (group, name) == ("", "ConfigMap"):
        _check_config_map(node, findings)
    return None


def _check_config_map(node: Map, findings: Findings) -> None:
    """The ConfigMap `istio` is the other place where a cluster keeps MeshConfig."""
    metadata, data = node.entries.get("metadata"), node.entries.get("data")
    if (
        metadata is None
        or data is None
        or not isinstance(metadata.value, Map)
        or not isinstance(data.value, Map)
    ):
        return
    name, mesh = metadata.value.entries.get("name"), data.value.entries.get("mesh")
    if mesh is not None and name is not None and str(getattr(name.value, "value", "")).startswith("istio"):
        findings.add(
            Position(mesh.file, mesh.line, "data.mesh"),
            "MeshConfig is read from spec.meshConfig of an IstioOperator",
        )


def _part(node: Map, key: str, message: type[M], findings: Findings) -> M | None:
    entry = node.entries.get(key)
    if entry is None:
        findings.add(Position(node.file, node.line, key), "is missing")
        return None
    value = read_message(message, entry.value, Position(entry.file, entry.line, key), findings)
    return None if isinstance(value, Missing) else value


def _check_other_keys(node: Map, kind: Kind, findings: Findings) -> None:
    for key, entry in node.entries.items():
        at = Position(entry.file, entry.line, shown(key))
        if key == "status":
            if kind.group:
                findings.add(at, "the cluster writes it; it is no part of a manifest")
        elif key not in ("apiVersion", "kind", "metadata", "spec"):
            hint = values.did_you_mean(key, ("apiVersion", "kind", "metadata", "spec"))
            findings.add(at, f"{kind.name} has no field {shown(key)}{hint}")
