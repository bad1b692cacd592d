"""Files, folders and texts to all manifests of a mesh, or to everything that is wrong with them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mesh.manifests.document import read_document
from mesh.manifests.errors import ManifestError, ManifestErrors
from mesh.manifests.findings import Findings
from mesh.manifests.kustomize import NAMES as KUSTOMIZATIONS
from mesh.manifests.kustomize import render
from mesh.manifests.limits import LIMITS, Limits
from mesh.manifests.manifests import Manifest, Manifests, ReadPart, ReadSource, by_type
from mesh.manifests.mesh_config import IstioOperator
from mesh.manifests.message import Message, Position
from mesh.manifests.nodes import compose
from mesh.manifests.parts import Part, digest, parts

SUFFIXES = (".yaml", ".yml")

SETTLED = 2.0
"""Seconds without a change after which a file's stamp is believed: two changes within one tick of a file
system's clock leave the same stamp."""

Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Input that is not a file."""

    name: str
    """What errors call it."""
    content: str | bytes


@dataclass(slots=True)
class _Reading:
    limits: Limits
    findings: Findings
    former: Mapping[str, ReadSource]
    began: int = field(default_factory=time.time_ns)
    """Nanoseconds since the epoch."""
    sources: dict[str, ReadSource] = field(default_factory=dict)

    def settled(self, index: int, name: str, stamp: Stamp | None) -> tuple[Manifest[Message], ...] | None:
        """The manifests of a file that is as it was; None when it has to be read."""
        known = self.former.get(name)
        if known is None or known.index != index or stamp is None or known.stamps.get(name) != stamp:
            return None
        self.sources[name] = known
        return known.manifests

    def unit(
        self, index: int, name: str, content: str | bytes, stamp: Stamp | None = None
    ) -> tuple[Manifest[Message], ...]:
        """The manifests of one file."""
        octets = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        files = {name: digest(octets)}
        known = self.former.get(name)
        if known is None or known.index != index or known.files != files:
            cut = parts(octets, self.limits)
            known = self._in_parts(index, name, files, cut, known) or self._whole(
                index, name, files, cut, content
            )
        self.sources[name] = replace(known, stamps=self._believed({name: stamp}))
        return known.manifests

    def _whole(
        self, index: int, name: str, files: Mapping[str, bytes], cut: list[Part] | None, content: str | bytes
    ) -> ReadSource:
        """A file read from its beginning to its end."""
        start = len(self.findings.errors)
        nodes = compose(content, name, self.limits, self.findings)
        found = [read_document(node, (index, name, n), self.findings) for n, node in enumerate(nodes)]
        self.findings.errors[start:] = sorted(self.findings.errors[start:], key=lambda error: error.line)
        return _source(
            index,
            files,
            tuple(manifest for manifest in found if manifest is not None),
            tuple(_parts(cut, [node.line for node in nodes], found)) if cut is not None else (),
        )

    def _in_parts(
        self,
        index: int,
        name: str,
        files: Mapping[str, bytes],
        cut: list[Part] | None,
        known: ReadSource | None,
    ) -> ReadSource | None:
        """A file of which only those documents are read that changed; None where it has to be read as a
        whole, which is wherever something is wrong: so the order of errors and what follows from what is
        decided in one place."""
        if cut is None or known is None or known.index != index or not known.parts:
            return None
        former = {(part.digest, part.lines_before, part.number): part for part in known.parts}
        number = 0
        found: list[ReadPart] = []
        for part in cut:
            key = part.digest, part.lines_before, number
            made = former.get(key) or self._part(index, name, part, number)
            if made is None:
                return None
            found.append(made)
            number += made.documents
        manifests = tuple(part.manifest for part in found if part.manifest is not None)
        return _source(index, files, manifests, tuple(found))

    def _part(self, index: int, name: str, part: Part, number: int) -> ReadPart | None:
        """One document; None when anything is wrong with it."""
        own = Findings(1)
        nodes = compose(part.text, name, self.limits, own, lines_before=part.lines_before)
        if own.errors or len(nodes) > 1:
            return None
        manifest = read_document(nodes[0], (index, name, number), own) if nodes else None
        if own.errors:
            return None
        return ReadPart(part.digest, part.lines_before, number, len(nodes), manifest)

    def _believed(self, stamps: Mapping[str, Stamp | None]) -> dict[str, Stamp]:
        return {
            name: stamp
            for name, stamp in stamps.items()
            if stamp is not None and max(stamp[:2]) + SETTLED * 1e9 < self.began
        }

    def kustomization(self, index: int, folder: Path) -> tuple[Manifest[Message], ...]:
        """The manifests of a folder with a kustomization."""
        name = str(folder)
        known = self.former.get(name)
        stamps = self._unchanged(known) if known is not None and known.index == index else None
        if known is not None and stamps is not None:
            known = replace(known, stamps=self._believed(stamps))
        else:
            nodes, files = render(folder, self.limits, self.findings)
            found = (
                read_document(node, (index, name, number), self.findings) for number, node in enumerate(nodes)
            )
            known = _source(
                index,
                {file: digest(content) for file, content in files.items()},
                tuple(manifest for manifest in found if manifest is not None),
            )
        self.sources[name] = known
        return known.manifests

    @staticmethod
    def _unchanged(known: ReadSource) -> dict[str, Stamp | None] | None:
        """The files' stamps; None when one of them is not what it was."""
        stamps: dict[str, Stamp | None] = {}
        for file, content in known.files.items():
            stamp = stamps[file] = stamp_of(file)
            if stamp is not None and known.stamps.get(file) == stamp:
                continue
            try:
                if digest(Path(file).read_bytes()) != content:
                    return None
            except OSError:
                return None
        return stamps


def stamp_of(file: str | Path) -> Stamp | None:
    """What the file system says of a file's content; None when there is no such file. Times come first."""
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of files are asked after at each change
    except OSError:
        return None
    return status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _source(
    index: int,
    files: Mapping[str, bytes],
    manifests: tuple[Manifest[Message], ...],
    parts: tuple[ReadPart, ...] = (),
) -> ReadSource:
    said = "".join(
        f"{index} {file.rpartition('/')[2]} {content.hex()}\n" for file, content in sorted(files.items())
    )
    return ReadSource(
        index,
        files,
        manifests,
        by_type=by_type(manifests),
        names=frozenset(_name(manifest) for manifest in manifests),
        mark=digest(said.encode("utf-8", "surrogatepass")),
        parts=parts,
    )


def _name(manifest: Manifest[Message]) -> tuple[str, str, str]:
    return manifest.kind, manifest.namespace, manifest.name


def _parts(
    cut: Iterable[Part], lines: Sequence[int], manifests: Sequence[Manifest[Message] | None]
) -> Iterator[ReadPart]:
    """The parts of a file that was read as a whole; `lines` are those in which its documents begin."""
    number = 0
    for part in cut:
        # A document begins below the last line before its part, and before the last line of its part ends.
        last = part.lines_before + part.text.count("\n") + (not part.text.endswith("\n"))
        inside = number < len(lines) and lines[number] <= last
        manifest = manifests[number] if inside else None
        yield ReadPart(part.digest, part.lines_before, number, int(inside), manifest)
        number += inside


def read(
    sources: Iterable[Path | Text], *, former: Manifests | None = None, limits: Limits = LIMITS
) -> Manifests:
    """Reads everything, checks everything, and raises `ManifestErrors` with all that is wrong.

    A folder with a kustomization is read as `kustomize build` renders it; of another, the YAML files in it
    are read. What has not changed since `former` is taken from there, the very same objects.
    """
    reading = _Reading(limits, Findings(limits.errors), former.sources if former is not None else {})
    found: list[Manifest[Message]] = []
    for index, source in enumerate(sources):
        if isinstance(source, Text):
            found.extend(reading.unit(index, source.name, source.content))
        elif (folder := _kustomized(source)) is not None:
            found.extend(reading.kustomization(index, folder))
        else:
            for file in _files(source, limits, reading.findings):
                # Taken before the content: what changes in between is noticed the next time.
                stamp = stamp_of(file)
                known = reading.settled(index, file, stamp)
                if known is None:
                    content = _content(Path(file), limits, reading.findings)
                    known = reading.unit(index, file, content, stamp) if content is not None else ()
                found.extend(known)
    manifests = Manifests(tuple(found), reading.sources)
    _check_unique(manifests, reading.findings)
    findings = reading.findings
    if findings.errors:
        errors = list(findings.errors)
        if findings.more:
            errors.append(ManifestError(Position("", 0, ""), f"and {findings.more} more errors"))
        raise ManifestErrors(errors)
    return manifests


def _kustomized(path: Path) -> Path | None:
    """The folder, where a path is a folder with a kustomization."""
    if any((path / name).is_file() for name in KUSTOMIZATIONS):
        return path
    return None


def _files(path: Path, limits: Limits, findings: Findings) -> Iterator[str]:
    """The file, or the YAML files of a folder by name."""
    if path.name in KUSTOMIZATIONS:
        findings.add(Position(str(path), 0, ""), "is a kustomization: give its folder")
        return
    if not path.is_dir():
        yield str(path)
        return
    try:
        with os.scandir(path) as listed:
            entries = sorted((e for e in listed if not e.name.startswith(".")), key=lambda entry: entry.name)
        nested = [
            entry.path
            for entry in entries
            if entry.is_dir() and any(inside.suffix in SUFFIXES for inside in Path(entry).iterdir())
        ]
    except OSError as error:
        findings.add(Position(str(path), 0, ""), f"cannot be read: {error.strerror}")
        return
    for folder in nested:
        findings.add(Position(folder, 0, ""), "is a folder in a folder without a kustomization: name it")
    files = [entry.path for entry in entries if entry.name.endswith(SUFFIXES) and not entry.is_dir()]
    if len(files) > limits.files:
        findings.add(Position(str(path), 0, ""), f"has more than {limits.files} files")
        return
    yield from files


def _content(file: Path, limits: Limits, findings: Findings) -> bytes | None:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            findings.add(Position(str(file), 0, ""), "is neither a file nor a folder")
            return None
        with file.open("rb") as opened:
            # Asked for a number of bytes, it makes room for all of them first.
            return opened.read(limits.file_bytes + 1) if status.st_size > limits.file_bytes else opened.read()
    except OSError as error:
        findings.add(Position(str(file), 0, ""), f"cannot be read: {error.strerror}")
        return None


def _check_unique(found: Manifests, findings: Findings) -> None:
    names = frozenset[tuple[str, str, str]]().union(*(source.names for source in found.sources.values()))
    if len(names) == len(found) and len(found.of(IstioOperator)) <= 1:
        return
    known: dict[tuple[str, str, str], Manifest[Message]] = {}
    operator: Manifest[Message] | None = None
    for manifest in found:
        key = _name(manifest)
        first = known.setdefault(key, manifest)
        if first is not manifest:
            findings.add(manifest.at, f"{manifest} is there twice; the first is in {first.at}")
        elif isinstance(manifest.spec, IstioOperator):
            if operator is not None:
                findings.add(
                    manifest.at, f"there is one IstioOperator in a mesh; the first is in {operator.at}"
                )
            operator = manifest
