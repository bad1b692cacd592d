"""A mesh from its manifests: what each proxy would be given by its region's control plane."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mesh.ir.view import Proxy
from mesh.manifests.manifests import Manifests
from mesh.manifests.read import Text, read
from mesh.resolve import index, proxies, resolve
from mesh.simulate.world import Node, World
from mesh.translate import translate


def world_of(manifests: Manifests, serves: Callable[[Proxy], bool] = lambda proxy: True) -> World:
    """The proxies that `serves` picks, with what these manifests make of them. Raises PatchError."""
    known = index(manifests)
    return World.of(
        Node(proxy, translate(resolve(known, proxy))) for proxy in proxies(manifests) if serves(proxy)
    )


def read_world(sources: Sequence[Path | Text]) -> World:
    """A mesh whose control planes all read the same. Raises ManifestErrors and PatchError."""
    return world_of(read(sources))


def read_regions(sources: Mapping[str, Sequence[Path | Text]]) -> World:
    """A mesh in which each region's control plane reads its own; the proxies of a region are given by theirs.

    A proxy that stands in none of them (the front) is given by the first. Raises ManifestErrors and
    PatchError.
    """
    nodes: list[Node] = []
    first = next(iter(sources), "")
    for region, folders in sources.items():
        served = frozenset({region, ""} if region == first else {region})
        nodes += world_of(read(folders), functools.partial(_served, served, sources)).nodes.values()
    return World.of(nodes)


def _served(regions: frozenset[str], known: Mapping[str, object], proxy: Proxy) -> bool:
    region = proxy.locality.region
    return (region if region in known else "") in regions
