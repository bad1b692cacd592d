"""What the control planes say of the proxies: who has the configuration that it should have."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.local.layout import Layout
from mesh.local.names import FRONT, SIDECAR, in_region, split

STALE_AFTER = 10.0
"""Seconds after which a control plane's word is no news any more."""

_NOWHERE = "connected to no control plane"


@dataclass(frozen=True, slots=True)
class Sync:
    """How one proxy stands."""

    state: str
    """synced, stale (it lacks something), nacked (it refuses something) or absent (it is connected
    nowhere and nobody remembers it)."""
    control_plane: str
    """Region of the one it is connected to; empty for none."""
    reason: str = ""
    """Why it is not synced, in the proxy's own words for what it refuses."""


@dataclass(frozen=True, slots=True)
class MeshSync:
    """How all of them stand."""

    proxies: Mapping[str, Sync]
    """By process; a client that is its own proxy by its service's."""
    problems: tuple[str, ...]
    """What is wrong with the manifests, by file and line."""
    certificates: tuple[str, ...] = ()
    """What is wrong with certificates: those that cannot be renewed."""
    silent: tuple[str, ...] = ()
    """Regions whose control plane does not run, or hangs."""

    @property
    def synced(self) -> bool:
        """Whether every proxy has what it should have, and will have it tomorrow."""
        whole = not (self.problems or self.certificates or self.silent)
        return whole and all(item.state == "synced" for item in self.proxies.values())


def read(layout: Layout, regions: Iterable[str], processes: Collection[str] | None = None) -> MeshSync:
    """What the control planes of `regions` last said. Never raises: what cannot be read says nothing.

    Args:
        regions: Those whose control planes should run.
        processes: All that should run there; None when that is not known. A proxy that is connected nowhere
            counts only if it should be.
    """
    documents = {region: _document(layout, region) for region in regions}
    found: dict[str, _Account] = {}
    for region, document in documents.items():
        for account in _accounts(document, region):
            former = found.get(account.process)
            if former is None or account.rank > former.rank:
                found[account.process] = account
    proxies = {
        name: account.sync
        for name, account in found.items()
        if account.sync.control_plane or processes is None or name in processes
    }
    if any(documents.values()):
        missing = (name for name in processes or () if _is_proxy(name) and name not in proxies)
        proxies |= {name: Sync("absent", "", _NOWHERE) for name in missing}
    return MeshSync(
        proxies,
        _told(_problems, documents),
        _told(_certificates, documents),
        tuple(region for region, document in documents.items() if not document),
    )


@dataclass(frozen=True, slots=True)
class _Account:
    """One control plane's word on one proxy."""

    process: str
    sync: Sync
    rank: tuple[bool, float]
    """Of two, the one of whom the proxy is a client counts, or was last."""


def _document(layout: Layout, region: str) -> dict[str, Any]:
    try:
        document = json.loads(layout.control_status(region).read_text("utf-8"))
        fresh = time.time() - float(document["updated"]) < STALE_AFTER
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document if fresh else {}


def _accounts(document: Mapping[str, Any], control_plane: str) -> Iterator[_Account]:
    for item in document.get("proxies", ()):
        newest = max((stream["since"] for stream in item["streams"]), default=0.0)
        yield _Account(_process(item), _sync(item, control_plane), (item["connected"], newest))


def _sync(item: Mapping[str, Any], control_plane: str) -> Sync:
    if not item["connected"]:
        if not item["streams"]:
            return Sync("absent", "", _NOWHERE)
        return Sync("stale", "", f"{_NOWHERE}; it was to that of {control_plane}")
    state, reasons = item["state"], [item["problem"]] if item["problem"] else []
    if item["problem"] and state == "synced":
        # It has accepted what it was sent last, which is not what it should have.
        state = "stale"
    for stream in item["streams"]:
        reasons += [
            f"{rejection['type']} {rejection['resource']}: {rejection['reason']}"
            for rejection in stream["rejections"]
        ]
    if not reasons and state != "synced":
        waiting = sorted({kind for stream in item["streams"] for kind in stream["waiting"]})
        reasons.append(
            f"has not answered to {', '.join(waiting)}" if waiting else "has not asked for everything"
        )
    return Sync(state, control_plane, "; ".join(reasons))


def _told(
    what: Callable[[Mapping[str, Any]], Iterator[str]], documents: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """What control planes say, each thing once."""
    return tuple(dict.fromkeys(said for document in documents.values() for said in what(document)))


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    manifests = document.get("manifests", {})
    for problem in manifests.get("problems", ()):
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        yield f"{place}: {problem['message']}" + (
            " (the last good configuration is in use)" if manifests["last_good"] else ""
        )


def _certificates(document: Mapping[str, Any]) -> Iterator[str]:
    for problem in document.get("problems", ()):
        yield f"{document['region']}: {problem['what']}: {problem['reason']}"


def _process(item: Mapping[str, Any]) -> str:
    """The process of a proxy, from its workload's name."""
    region = item["locality"].partition("/")[0]
    app = item["name"].removesuffix(f"-{region}") if region else item["name"]
    return in_region(SIDECAR + app if item["kind"] == "sidecar" else app, region)


def _is_proxy(process: str) -> bool:
    program, _ = split(process)
    return program.startswith(SIDECAR) or program in ("ingress", FRONT)
