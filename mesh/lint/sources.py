"""Which files belong together: what one mesh would be given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
SUFFIXES = (".yaml", ".yml")


def sets(paths: Iterable[Path]) -> tuple[tuple[Path, ...], ...]:
    """The sources of each mesh that `paths` describe, to be read one set at a time.

    A folder with a kustomization is one. In another folder, every kustomization below it that no other one
    there includes is a mesh of its own (an overlay for each region, say), and shares the folder's own files
    with the rest. Everything else named is part of every set. Files and folders that do not exist are passed
    on: the reader says so.
    """
    shared: list[Path] = []
    meshes: list[Path] = []
    for path in paths:
        if path.is_dir() and kustomization_of(path) is None:
            roots = _roots(path)
            meshes += roots
            if roots:
                shared += sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            else:
                shared.append(path)
        elif path.is_dir():
            meshes.append(path)
        else:
            shared.append(path)
    if not meshes:
        return (tuple(shared),)
    return tuple((*shared, mesh) for mesh in dict.fromkeys(meshes))


def kustomization_of(folder: Path) -> Path | None:
    """The kustomization file of a folder."""
    return next((folder / name for name in KUSTOMIZATIONS if (folder / name).is_file()), None)


def _roots(folder: Path) -> list[Path]:
    found = sorted({file.parent for name in KUSTOMIZATIONS for file in folder.rglob(name)})
    included = {inner.resolve() for one in found for inner in _resources(one)}
    # An overlay of an overlay is a mesh of its own as well; what only others include is not.
    return [one for one in found if one.resolve() not in included]


def _resources(folder: Path) -> Iterator[Path]:
    file = kustomization_of(folder)
    if file is None:
        return
    try:
        document = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    named = document.get("resources") if isinstance(document, dict) else None
    for entry in named if isinstance(named, list) else ():
        if isinstance(entry, str) and (folder / entry).is_dir():
            yield folder / entry
