"""The real steps, put into a pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mesh.control.pipeline import BadManifests, Pipeline, Problem
from mesh.ir.view import Proxy, ProxyView
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.errors import ManifestErrors
from mesh.manifests.manifests import Manifests
from mesh.manifests.read import read
from mesh.resolve import Index, index, proxies, resolve
from mesh.translate import PatchError, Reuse, credentials, translate
from mesh.xds.resources import Resources


def pipeline() -> Pipeline[Manifests, Index]:
    """Manifests, resolution and translation. One of its own for each control plane: it keeps what it made."""
    reuse = Reuse()

    def translated(view: ProxyView) -> Resources:
        try:
            return translate(view, reuse)
        except PatchError as error:
            place = error.origin
            problem = Problem(file=place.file, line=place.line, path=place.path, message=error.message)
            raise BadManifests([problem]) from error

    return Pipeline(
        read=_read,
        files=_files,
        version=_version,
        index=index,
        proxies=proxies,
        resolve=resolve,
        translate=translated,
        trials=_patched,
        credentials=credentials,
        sweep=reuse.sweep,
    )


def _read(sources: Sequence[Path], former: Manifests | None) -> Manifests:
    try:
        return read(sources, former=former)
    except ManifestErrors as error:
        raise BadManifests(
            [Problem(file=e.file, line=e.line, path=e.path, message=e.message) for e in error.errors]
        ) from error


def _patched(now: Index, former: Index | None) -> Iterator[Proxy]:
    """Whom EnvoyFilters patch: nothing else in manifests that were read can fail a translation.

    While only workloads differ from the index before, whatever a patch meets on another proxy is as it was.
    """
    if not now.manifests.of(EnvoyFilter):
        return
    known = former.proxies if former is not None and former.config is now.config else {}
    for key, proxy in now.proxies.items():
        if known.get(key) is not proxy and now.config.patches.of(proxy):
            yield proxy


def _files(manifests: Manifests) -> Iterable[str]:
    for source in manifests.sources.values():
        yield from source.files


def _version(manifests: Manifests) -> str:
    """By content: the same files elsewhere are the same manifests."""
    digest = hashlib.sha256()
    for source in manifests.sources.values():
        digest.update(source.mark)
    return digest.hexdigest()[:16]
