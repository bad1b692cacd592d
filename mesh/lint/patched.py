"""What becomes of EnvoyFilters' patches on the proxies that are declared."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.ir.patch import Patch
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.manifests import Manifests
from mesh.resolve import index, proxies, resolve
from mesh.translate import PatchError, Reuse, unused_patches


@dataclass(frozen=True, slots=True)
class Patched:
    """The patches that do not do what they are for; without proxies nothing is known of any."""

    failures: tuple[PatchError, ...] = ()
    """Each once, however many proxies it fails on."""
    idle: tuple[Patch, ...] = ()
    """Those that are for some proxy and change nothing on any."""


def patched(manifests: Manifests) -> Patched:
    """Applies all patches to all proxies."""
    if not manifests.of(EnvoyFilter):
        return Patched()
    known, reuse = index(manifests), Reuse()
    failures: dict[str, PatchError] = {}
    seen: dict[int, Patch] = {}
    useful: set[int] = set()
    for proxy in proxies(known):
        # Proxies share patches: the very same objects stand for the same lines.
        given = {id(patch): patch for patch in known.config.patches.of(proxy)}
        if not given:
            continue
        seen |= given
        try:
            idle = {id(patch) for patch in unused_patches(resolve(known, proxy), reuse)}
        except PatchError as error:
            failures.setdefault(str(error), error)
            # What the others would have changed is not known.
            idle = set()
        useful |= given.keys() - idle
    return Patched(tuple(failures.values()), tuple(seen[key] for key in seen.keys() - useful))
