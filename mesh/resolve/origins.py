"""From places in manifests to the origins that an intermediate representation cites."""

from __future__ import annotations

from typing import Any

from mesh.ir.origin import Origin
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, position_of


def of(
    manifest: Manifest[Any], message: Message | None = None, field: str = "", key: int | str | None = None
) -> Origin:
    """Where `manifest`, or a message inside it, or one of that message's fields, is written.

    `field` is the Python name; `key` an index into a list or a key of a map.
    """
    if message is None:
        place, path = manifest.at, ""
    else:
        place = position_of(message, field, key) if field else message.at
        path = place.path
    return Origin(place.file, place.line, manifest.kind, manifest.namespace, manifest.name, path)
