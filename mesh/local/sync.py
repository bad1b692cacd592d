"""What the control planes say of the proxies: who has the configuration that it should have."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.local.layout import Layout
from mesh.local.names import SIDECAR, in_region

STALE_AFTER = 10.0
"""Seconds after which a control plane's word is no news any more."""


@dataclass(frozen=True, slots=True)
class Sync:
    """How one proxy stands."""

    state: str
    """synced, stale or nacked; "unknown" when no control plane that runs knows it."""
    control_plane: str
    """Region of the one it is connected to."""
    reason: str = ""
    """Why it is not synced, in the proxy's own words for what it refuses."""


@dataclass(frozen=True, slots=True)
class MeshSync:
    """How all of them stand."""

    proxies: Mapping[str, Sync]
    """By process."""
    problems: tuple[str, ...]
    """What is wrong with the manifests, by file and line."""


def read(layout: Layout, regions: Iterable[str]) -> MeshSync:
    """What the control planes of `regions` last said. Never raises: what cannot be read says nothing."""
    proxies: dict[str, Sync] = {}
    problems: dict[str, None] = {}
    for region in regions:
        document = _document(layout, region)
        proxies.update(_proxies(document, region))
        for problem in _problems(document):
            problems[problem] = None
    return MeshSync(proxies, tuple(problems))


def _document(layout: Layout, region: str) -> dict[str, Any]:
    try:
        document = json.loads(layout.control_status(region).read_text("utf-8"))
        fresh = time.time() - float(document["updated"]) < STALE_AFTER
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document if fresh else {}


def _proxies(document: Mapping[str, Any], control_plane: str) -> Iterator[tuple[str, Sync]]:
    for item in document.get("proxies", ()):
        if not item["connected"] or item["kind"] == "grpc":
            continue
        rejections = [
            f"{rejection['type']} {rejection['resource']}: {rejection['reason']}"
            for stream in item["streams"]
            for rejection in stream["rejections"]
        ]
        reason = item["problem"] or "; ".join(rejections)
        yield _process(item), Sync(item["state"], control_plane, reason)


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    manifests = document.get("manifests", {})
    for problem in manifests.get("problems", ()):
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        yield f"{place}: {problem['message']}" + (
            " (the last good configuration is in use)" if manifests["last_good"] else ""
        )


def _process(item: Mapping[str, Any]) -> str:
    """The process of a proxy, from its workload's name."""
    region = item["locality"].partition("/")[0]
    app = item["name"].removesuffix(f"-{region}") if region else item["name"]
    return in_region(SIDECAR + app if item["kind"] == "sidecar" else app, region)
