"""A Triton of the benchmark's own: the platform's models, and a copy of one with batching switched off."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.harness import Run
from loadtest.bench.report import BenchError
from mesh.local import triton
from mesh.local.files import write_json
from mesh.local.layout import Layout
from triton_models.errors import ModelBuildError

UNBATCHED = "embedder_unbatched"


@dataclass(frozen=True, slots=True)
class Site:
    """Where Triton listens, and where its models' settings are."""

    target: str
    repository: Path
    scratch: Path
    """A folder for sockets."""

    def settings(self, model: str) -> Path:
        """The folder with a model's settings."""
        return self.repository / model / "1"


def build(layout: Layout, run: Run) -> Path:
    """Builds the models, and beside them an embedder whose requests Triton does not join."""
    layout.create()

    def progress(stage: str, done: int, total: int) -> None:
        run.progress.step(f"{stage} {done / total if total else 1:.0%}")

    try:
        repository = triton.build(layout, progress, {})
    except ModelBuildError as error:
        raise BenchError(f"the models cannot be built: {error}") from error
    source, target = repository.path / "embedder", repository.path / UNBATCHED
    shutil.copytree(source, target)
    config = target / "config.pbtxt"
    config.write_text(unbatched(config.read_text("utf-8")), "utf-8")
    document = {
        "path": str(repository.path),
        "backends": str(repository.backends),
        "run": str(repository.run),
        "models": [*repository.models, UNBATCHED],
    }
    write_json(triton.descriptor(layout), document)
    return repository.path


def unbatched(config: str) -> str:
    """The configuration of a model without dynamic batching. Raises BenchError when there was none."""
    without = config.replace("dynamic_batching { }", "")
    if without == config:
        raise BenchError("the embedder's configuration has no plain `dynamic_batching { }`")
    return without.replace('name: "embedder"', f'name: "{UNBATCHED}"')
