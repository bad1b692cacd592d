"""kustomization.yaml, as far as overlays of manifests need it
(https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.message import Message, OneOf

_CONTAINERS = "it changes containers and what they mount, which are not read here"
_PATCHES = "kustomize has deprecated it: write patches"
_NAMES = "names that differ from what is written are hard to follow: write them out"
_PLUGINS = "nothing is run to read manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchTarget(Message):
    """What a patch is applied to; what is absent matches all. Names and kinds may have `.*` and `|`."""

    group: str | None = None
    version: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    label_selector: str | None = None
    annotation_selector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KustomizationPatch(Message):
    """A strategic merge patch or a JSON patch (RFC 6902), in a file or in place."""

    rejected: ClassVar = {"options": "a patch changes neither names nor kinds"}
    one_ofs = (OneOf(("path", "patch"), required=True),)

    path: str | None = None
    patch: str | None = None
    target: PatchTarget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KustomizationLabels(Message):
    """Labels that all resources get."""

    rejected: ClassVar = {
        "fields": "labels go into metadata.labels, and with includeSelectors into a Service's selector"
    }

    pairs: Mapping[str, str] = field(default_factory=dict)
    include_selectors: bool | None = None
    include_templates: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kustomization(Message):
    """An overlay or a component."""

    rejected: ClassVar = {
        "bases": "kustomize has deprecated it: write resources",
        "buildMetadata": "it notes where resources came from, which every error says anyway",
        "configMapGenerator": _CONTAINERS,
        "configurations": "what is transformed is not changed",
        "crds": "what is transformed is not changed",
        "generatorOptions": _CONTAINERS,
        "generators": _PLUGINS,
        "helmCharts": _PLUGINS,
        "helmChartInflationGenerator": _PLUGINS,
        "helmGlobals": _PLUGINS,
        "images": _CONTAINERS,
        "imageTags": _CONTAINERS,
        "inventory": "nothing is pruned",
        "metadata": "a kustomization needs no name",
        "namePrefix": _NAMES,
        "nameSuffix": _NAMES,
        "openapi": "what is transformed is not changed",
        "patchesJson6902": _PATCHES,
        "patchesStrategicMerge": _PATCHES,
        "replacements": "write the value where it is needed, or a patch",
        "replicas": _CONTAINERS,
        "secretGenerator": _CONTAINERS,
        "sortOptions": "the order is that of resources",
        "transformers": _PLUGINS,
        "validators": _PLUGINS,
        "vars": "kustomize has deprecated it: write a patch",
    }

    api_version: str | None = None
    kind: str | None = None
    resources: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    patches: tuple[KustomizationPatch, ...] = ()
    namespace: str | None = None
    labels: tuple[KustomizationLabels, ...] = ()
    common_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)
