"""YAML to typed, checked manifests of Istio's API; see `read`."""

from __future__ import annotations

from mesh.manifests.errors import ManifestError, ManifestErrors
from mesh.manifests.manifests import Created, Manifest, Manifests
from mesh.manifests.message import Message, Position, position_of
from mesh.manifests.read import Text, read

__all__ = [
    "Created",
    "Manifest",
    "ManifestError",
    "ManifestErrors",
    "Manifests",
    "Message",
    "Position",
    "Text",
    "position_of",
    "read",
]
