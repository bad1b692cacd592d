"""What `causeway ingest` can read: files, folders, and the language reference inside every CPython."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PYDOC = "pydoc:"

MEDIA_TYPES: Mapping[str, str] = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
}
"""Media type by the end of a file's name; a folder's other files are passed over."""

_NAMESPACE = uuid.UUID("6f0c9d3e-5a0b-5c53-9c5e-1f7f4a4d7a10")
_PIECE = 1 << 20


class CorpusError(Exception):
    """What was named cannot be read."""


@dataclass(frozen=True, slots=True)
class Item:
    """One document to ingest. Its bytes are read only when they are needed."""

    title: str
    media_type: str
    """text, markdown, html or pdf."""
    source: str
    size: int
    path: Path | None = None
    """The file, unless the text is given."""
    text: str = ""

    def pieces(self) -> Iterator[bytes]:
        """The bytes, 1 MiB at most at a time. Raises CorpusError when the file cannot be read."""
        if self.path is None:
            data = self.text.encode()
            yield from (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
            return
        try:
            with self.path.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except OSError as error:
            raise CorpusError(f"{self.path}: {error.strerror}") from error

    def request_id(self, labels: Mapping[str, str]) -> str:
        """The same for the same document with the same labels, so that ingesting it again changes nothing."""
        digest = hashlib.sha256()
        for part in (self.title, self.media_type, self.source, repr(sorted(labels.items()))):
            digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
        for piece in self.pieces():
            digest.update(piece)
        return str(uuid.uuid5(_NAMESPACE, digest.hexdigest()))


def collect(paths: Sequence[str]) -> tuple[list[Item], list[str]]:
    """The documents that `paths` name, and the files passed over. Raises CorpusError."""
    items: list[Item] = []
    passed: list[str] = []
    for path in paths:
        if path == PYDOC:
            items += pydoc_topics()
        elif path.startswith(PYDOC):
            raise CorpusError(f"{path}: write {PYDOC} alone for Python's language reference")
        elif Path(path).is_dir():
            found, others = _folder(Path(path))
            items += found
            passed += others
        else:
            items.append(
                _file(Path(path), Path(path).name, MEDIA_TYPES.get(Path(path).suffix.lower(), "text"))
            )
    if not items:
        known = ", ".join(MEDIA_TYPES)
        raise CorpusError(f"no documents in {', '.join(paths)} (files in folders are known by {known})")
    return items, passed


def pydoc_topics() -> list[Item]:
    """The Python language reference as pydoc keeps it: one document for each topic, titled by it."""
    from pydoc_data.topics import topics

    return [
        Item(title=name, media_type="text", source=f"{PYDOC}{name}", size=len(text.encode()), text=text)
        for name, text in sorted(topics.items())
    ]


def _folder(folder: Path) -> tuple[list[Item], list[str]]:
    items: list[Item] = []
    passed: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(base) / name
            kind = MEDIA_TYPES.get(path.suffix.lower())
            if name.startswith(".") or kind is None or not path.is_file():
                passed.append(str(path))
            else:
                items.append(_file(path, str(path.relative_to(folder)), kind))
    return items, passed


def _file(path: Path, title: str, media_type: str) -> Item:
    try:
        if not path.is_file():
            raise CorpusError(f"{path}: {'not a file' if path.exists() else 'no such file or folder'}")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    # A file name may hold bytes that are not UTF-8; a title may not.
    clean = title.encode("utf-8", "replace").decode()
    return Item(title=clean[-512:], media_type=media_type, source=clean[-2048:], size=size, path=path)
