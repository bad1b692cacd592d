"""Builds the model files and assembles the repository that Triton serves, in the state folder.

``<home>/models/`` afterwards holds ``files/`` (what was built, with its manifest), ``repository/`` (what
Triton reads), ``backends/`` (Triton's Python backend for this interpreter) and ``run/`` (sockets).
Every file appears under its name only when it is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from triton_models.errors import ModelBuildError
from triton_models.manifest import (
    Built,
    Progress,
    Source,
    ignore_progress,
    read_manifest,
    sha256,
    sources,
    write_atomically,
    write_manifest,
)
from triton_models.options import BuildOptions
from triton_models.runtime.settings import EmbedderSettings, GeneratorSettings, write_settings
from triton_models.server import assemble_backend

GENERATOR_FORM = "Q8_0"
"""The bundled model's quantisation: README.md has the measurements behind the choice."""

_ENCODER = "sentence-encoder.onnx"
_TOKENIZER = "sentence-encoder-tokenizer.json"
_GENERATOR = "generator.gguf"
_RECIPES = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRepository:
    """A built repository: what the launcher needs to know."""

    path: Path
    """Triton's ``--model-repository``."""
    backends: Path
    """Triton's ``--backend-directory``."""
    run: Path
    """Folder for sockets, private to the user."""
    models: tuple[str, ...]
    """The models to load."""


def build(
    home: Path, progress: Progress = ignore_progress, options: BuildOptions | None = None
) -> ModelRepository:
    """Builds whatever is missing, out of date or damaged, and returns the repository.

    ``home`` is the state folder (CAUSEWAY_HOME). Safe to run twice at once: the second waits for the first.
    Blocks for seconds. Raises ``ModelBuildError`` with a text for the operator.
    """
    options = options or BuildOptions()
    root = home.absolute() / "models"
    try:
        with _exclusive(root):
            generator = _build_files(root / "files", progress, options)
            return _assemble(root, generator, options)
    except OSError as error:
        raise ModelBuildError(f"cannot build the models in {root}: {error}") from error


def _build_files(files: Path, progress: Progress, options: BuildOptions) -> Built:
    files.mkdir(exist_ok=True)
    for leftover in files.glob(".*.part"):
        leftover.unlink()
    builder = _Builder(files, progress)
    pinned = sources()
    builder.ensure(_TOKENIZER, pinned["sentence-encoder-tokenizer"], "copy-1", _copy)
    builder.ensure(_ENCODER, pinned["sentence-encoder-weights"], "onnx-1", _write_encoder)
    if options.generator_gguf is not None:
        return builder.adopt(options.generator_gguf)
    return builder.ensure(_GENERATOR, pinned["language-model"], f"gguf-1-{GENERATOR_FORM}", _write_generator)


class _Builder:
    """Makes files and keeps the manifest in step with them."""

    def __init__(self, files: Path, progress: Progress) -> None:
        self._files = files
        self._manifest_file = files / "manifest.json"
        self._manifest = read_manifest(self._manifest_file)
        self._progress = progress

    def ensure(
        self, name: str, source: Source, recipe: str, make: Callable[[Path, Path, Progress], tuple[str, ...]]
    ) -> Built:
        """The file ``name``, made from ``source`` unless a good one is there."""
        recipe = f"{recipe} of {source.sha256}"
        target = self._files / name
        known = self._manifest.get(name)
        if known and known.recipe == recipe and target.is_file():
            if self._intact(target, known):
                return known
            self._progress(f"{name} is damaged; building it again", 0, 1)
        part = self._files / f".{name}.part"
        try:
            control_tokens = make(source.verified(self._progress), part, self._progress)
            _flush(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        built = _describe(target, recipe, control_tokens, self._progress)
        return self._record(name, replace(built, path=name))

    def adopt(self, file: Path) -> Built:
        """An operator's own GGUF file: never copied, checked to be a model, and its digest recorded."""
        if not file.is_file():
            raise ModelBuildError(f"CAUSEWAY_GENERATOR_GGUF names {file}, which is not a file")
        status = file.stat()
        known = self._manifest.get(str(file))
        if known and (known.size, known.modified_ns) == (status.st_size, status.st_mtime_ns):
            return known
        # Imported here: a start that only verifies finished files needs none of the builders' libraries.
        from triton_models.requantise import control_tokens

        try:
            built = _describe(file, "as it is", control_tokens(file), self._progress)
        except (ValueError, KeyError, IndexError) as error:
            raise ModelBuildError(f"{file} is not a GGUF model: {error}") from error
        return self._record(str(file), replace(built, path=str(file), modified_ns=status.st_mtime_ns))

    def _intact(self, target: Path, known: Built) -> bool:
        if target.stat().st_size != known.size:
            return False
        return sha256(target, f"checking {target.name}", self._progress) == known.sha256

    def _record(self, name: str, built: Built) -> Built:
        self._manifest[name] = built
        write_manifest(self._manifest_file, self._manifest)
        return built


def _describe(file: Path, recipe: str, control_tokens: tuple[str, ...], progress: Progress) -> Built:
    digest = sha256(file, f"checking {file.name}", progress)
    return Built(
        path=str(file), size=file.stat().st_size, sha256=digest, recipe=recipe, control_tokens=control_tokens
    )


def _copy(source: Path, target: Path, progress: Progress) -> tuple[str, ...]:
    shutil.copyfile(source, target)
    progress("copying the tokenizer", 1, 1)
    return ()


def _write_encoder(source: Path, target: Path, progress: Progress) -> tuple[str, ...]:
    from safetensors.numpy import load_file

    from triton_models.embedder_onnx import sentence_encoder

    stage = "writing the sentence encoder as ONNX"
    weights = load_file(source)
    target.write_bytes(sentence_encoder(weights, lambda done, total: progress(stage, done, total)))
    return ()


def _write_generator(source: Path, target: Path, progress: Progress) -> tuple[str, ...]:
    from triton_models.requantise import requantise

    stage = f"requantising the language model to {GENERATOR_FORM}"
    return requantise(source, target, GENERATOR_FORM, lambda done, total: progress(stage, done, total))


def _assemble(root: Path, generator: Built, options: BuildOptions) -> ModelRepository:
    """Writes the repository's small files; they are cheap, so they always match the options."""
    files, run = root / "files", root / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    repository = root / "repository"
    models = ("embedder", "generator", *(("synthetic",) if options.synthetic else ()))
    for stale in {entry.name for entry in repository.glob("*")} - set(models):
        shutil.rmtree(repository / stale)
    for model in models:
        _copy_model(_RECIPES / options.profile / model, repository / model, options)
    write_settings(
        repository / "embedder" / "1",
        EmbedderSettings(
            model=files / _ENCODER, tokenizer=files / _TOKENIZER, threads=options.embedder_threads
        ),
    )
    write_settings(
        repository / "generator" / "1",
        GeneratorSettings(
            model=files / generator.path,
            threads=options.engine_threads,
            slots=options.slots,
            context=options.context,
            queue=options.queue,
            batch=max(options.step, options.slots),
            socket=run / "generator.sock",
            control_tokens=generator.control_tokens,
        ),
    )
    assemble_backend(root / "backends")
    return ModelRepository(path=repository, backends=root / "backends", run=run, models=models)


def _copy_model(source: Path, target: Path, options: BuildOptions) -> None:
    (target / "1").mkdir(parents=True, exist_ok=True)
    config = Template((source / "config.pbtxt").read_text())
    text = config.substitute(instances=options.embedder_instances, interval_ms=options.synthetic_interval)
    write_atomically(target / "config.pbtxt", text)
    write_atomically(target / "1" / "model.py", (source / "1" / "model.py").read_text())


def _flush(file: Path) -> None:
    """Onto the disk: a rename that survives a power cut must not outlive the content it names."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
