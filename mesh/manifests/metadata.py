"""What a document is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.message import Message

_SERVER = "the cluster writes it; it is no part of a manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata(Message):
    """Of any document (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/)."""

    rejected: ClassVar = {
        "generateName": "a manifest has one name: write name",
        "creationTimestamp": _SERVER,
        "deletionGracePeriodSeconds": _SERVER,
        "deletionTimestamp": _SERVER,
        "finalizers": _SERVER,
        "generation": _SERVER,
        "managedFields": _SERVER,
        "ownerReferences": _SERVER,
        "resourceVersion": _SERVER,
        "selfLink": _SERVER,
        "uid": _SERVER,
    }

    name: str | None = None
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
