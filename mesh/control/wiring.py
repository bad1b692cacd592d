"""The real steps, put into a pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from mesh.control.pipeline import BadManifests, Pipeline, Problem
from mesh.ir.view import ProxyView
from mesh.manifests.errors import ManifestErrors
from mesh.manifests.manifests import Manifests
from mesh.manifests.read import read
from mesh.resolve import Index, index, proxies, resolve
from mesh.translate import Reuse, credentials, translate
from mesh.xds.resources import Resources


def pipeline() -> Pipeline[Manifests, Index]:
    """Manifests, resolution and translation. One of its own for each control plane: it keeps what it made."""
    reuse = Reuse()

    def translated(view: ProxyView) -> Resources:
        return translate(view, reuse)

    return Pipeline(
        read=_read,
        files=_files,
        version=_version,
        index=index,
        proxies=proxies,
        resolve=resolve,
        translate=translated,
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


def _files(manifests: Manifests) -> Iterable[str]:
    for source in manifests.sources.values():
        yield from source.files


def _version(manifests: Manifests) -> str:
    """By content: the same files elsewhere are the same manifests."""
    digest = hashlib.sha256()
    for source in manifests.sources.values():
        digest.update(source.mark)
    return digest.hexdigest()[:16]
