"""A copy of the manifests that were last in use, for a start at which the present ones are bad.

A control plane that was running keeps the last good manifests in memory. One that is started while a file is
bad has only this copy: without it, no proxy could be started until the file is repaired.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

_INDEX = "sources"


class Kept:
    """A folder with one generation of the manifests' files, each source in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, sources: Sequence[Path], files: Iterable[Path]) -> None:
        """Copy what was read: all `files` below each source, and those that sources include from elsewhere.

        Raises:
            OSError: a file cannot be read or written. The generation before stays.
        """
        fresh = self._folder.with_name(f"{self._folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        for file in {*(path.resolve() for path in files)}:
            # The whole path, so that what one file says of another by its place stays true.
            target = fresh / file.relative_to(file.anchor)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        names = [str(source.resolve()) for source in sources]
        for name, source in zip(names, sources, strict=True):
            if source.is_dir():
                (fresh / Path(name).relative_to(Path(name).anchor)).mkdir(parents=True, exist_ok=True)
        (fresh / _INDEX).write_text("\n".join(names))
        former = self._folder.with_name(f"{self._folder.name}.old")
        shutil.rmtree(former, ignore_errors=True)
        if self._folder.exists():
            self._folder.rename(former)
        fresh.rename(self._folder)
        shutil.rmtree(former, ignore_errors=True)

    def sources(self, sources: Sequence[Path]) -> list[Path] | None:
        """Where the copies of `sources` are; None when there are none, or they are of other sources."""
        folder = self._folder
        if not folder.exists():
            # Killed between two renames.
            folder = folder.with_name(f"{folder.name}.old")
        try:
            names = (folder / _INDEX).read_text().split("\n")
        except OSError:
            return None
        if names != [str(source.resolve()) for source in sources]:
            return None
        return [folder / Path(name).relative_to(Path(name).anchor) for name in names]
