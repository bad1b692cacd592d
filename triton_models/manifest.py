"""What the model files are made from, what was made, and whether it is still what was made.

``sources.json`` beside this file is committed: it pins, by SHA-256, the files inside installed packages that
models are built from. ``manifest.json`` in the state folder records what was built; nothing is served that
does not match it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from triton_models.errors import ModelBuildError

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); a stage is over when ``done == total``."""

_CHUNK = 4 * 1024 * 1024
_SOURCES = Path(__file__).with_name("sources.json")


def ignore_progress(stage: str, done: int, total: int) -> None:
    """The default: nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file inside an installed package."""

    name: str
    distribution: str
    package: str
    path: str
    size: int
    sha256: str

    def locate(self) -> Path:
        """Where the file is installed. Raises ``ModelBuildError`` when it is not."""
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            file = Path(folder) / self.path
            if file.is_file():
                return file
        raise ModelBuildError(
            f"{self.path} is not installed: the package {self.distribution} provides it. Run `make setup`."
        )

    def verified(self, progress: Progress) -> Path:
        """The file's path, once its content is what ``sources.json`` pins."""
        file = self.locate()
        actual = sha256(file, f"checking {self.path}", progress)
        if actual != self.sha256:
            raise ModelBuildError(
                f"{file} is not the file this version was made for: its SHA-256 is {actual}, "
                f"not {self.sha256}. Reinstall the package {self.distribution}."
            )
        return file


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One file that was built, or taken as it is from where the operator keeps it."""

    path: str
    size: int
    sha256: str
    recipe: str
    """What it was made from and how; another recipe makes the file out of date."""
    modified_ns: int = 0
    """For files outside the state folder: an unchanged one is not read again."""
    control_tokens: tuple[str, ...] = ()
    """For language models: the spellings of the tokens that steer it."""


def sources() -> dict[str, Source]:
    """The pinned source files by name."""
    raw = json.loads(_SOURCES.read_text())
    return {name: Source(name=name, **fields) for name, fields in raw.items()}


def sha256(file: Path, stage: str = "", progress: Progress = ignore_progress) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    total = file.stat().st_size
    done = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(stage, min(done, total), total)
    return digest.hexdigest()


def read_manifest(file: Path) -> dict[str, Built]:
    """What was built, by name; empty when there is no readable manifest, so that everything is built anew."""
    try:
        raw = json.loads(file.read_text())
        return {
            name: Built(**(entry | {"control_tokens": tuple(entry["control_tokens"])}))
            for name, entry in raw.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_manifest(file: Path, manifest: dict[str, Built]) -> None:
    """Replaces the manifest atomically."""
    write_atomically(file, json.dumps({name: asdict(built) for name, built in manifest.items()}, indent=1))


def write_atomically(file: Path, text: str) -> None:
    """Replaces a text file, so that a reader sees the old or the new content and never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)
