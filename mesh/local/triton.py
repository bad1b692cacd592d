"""Triton: builds its model repository in a process of its own, then asks `triton_models` how to launch it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.local.files import write_json
from mesh.local.layout import Layout
from mesh.local.spec import Command, SetupError

if TYPE_CHECKING:
    from triton_models.build import ModelRepository

MODELS = ("embedder", "generator")


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonPorts:
    """Where a Triton listens at 127.0.0.1."""

    grpc: int
    http: int
    metrics: int


def descriptor(layout: Layout) -> Path:
    """Where the builder writes down what it built, for `launch`."""
    return layout.home / "models.json"


def shm_prefix(layout: Layout, region: str = "") -> str:
    """Names in /dev/shm that belong to the Triton of `region` (or to the only one) begin so."""
    from triton_models.server import shm_prefix as prefix

    return prefix(layout.triton(region) if region else layout.home)


def shm_prefixes(layout: Layout) -> list[str]:
    """The same for every Triton this platform has had."""
    folder = layout.home / "triton"
    regions = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [shm_prefix(layout, region) for region in ("", *sorted(regions))]


def build(
    layout: Layout, progress: Callable[[str, int, int], None], environ: Mapping[str, str]
) -> ModelRepository:
    """Build or verify the models that `environ` asks for, and write down what was built.

    `progress` is told the stage, what is done, and the total. Raises `triton_models.errors.ModelBuildError`.
    """
    from triton_models.build import build as build_models
    from triton_models.options import BuildOptions

    repository = build_models(layout.home, progress, BuildOptions.from_env(environ))
    document = {
        "path": str(repository.path),
        "backends": str(repository.backends),
        "models": list(repository.models),
        "run": str(repository.run),
    }
    write_json(descriptor(layout), document)
    return repository


def main(argv: list[str]) -> int:
    """`python -m mesh.local.triton HOME`: build, printing a line at each percent; the exit code."""
    from triton_models.errors import ModelBuildError

    last = ""

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        line = f"{stage} {100 * done // total if total else 100} %"
        if line != last:
            last = line
            print(line, flush=True)

    try:
        build(Layout(Path(argv[0])), progress, os.environ)
    except ModelBuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def built(layout: Layout) -> ModelRepository:
    """What was built last. Raises SetupError when nothing was."""
    from triton_models.build import ModelRepository

    try:
        document = json.loads(descriptor(layout).read_text("utf-8"))
        return ModelRepository(
            path=Path(document["path"]),
            backends=Path(document["backends"]),
            models=tuple(document["models"]),
            run=Path(document["run"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError("the models have not been built: run `causeway models build`") from error


def served(layout: Layout, region: str = "") -> ModelRepository:
    """What the Triton of `region` (or the only one) serves. Raises SetupError when nothing was built."""
    shared = built(layout)
    folder = layout.triton(region)
    return replace(shared, path=folder / "repository", run=folder / "run") if region else shared


def _place(layout: Layout, region: str) -> ModelRepository:
    """Copy the repository's small files for one region; the built model files stay where they are.

    Two Tritons may not share a repository: the generator's socket is named in it, and a watchdog knows the
    processes of its own Triton by its path.
    """
    own = served(layout, region)
    if not region:
        return own
    if own.path.is_dir():
        shutil.rmtree(own.path)
    shutil.copytree(built(layout).path, own.path)
    own.run.mkdir(mode=0o700, exist_ok=True)
    for settings in own.path.glob("*/1/settings.json"):
        document = json.loads(settings.read_text("utf-8"))
        if "socket" in document:
            document["socket"] = str(own.run / Path(document["socket"]).name)
            write_json(settings, document)
    return own


async def launch(layout: Layout, ports: TritonPorts, region: str = "") -> Command:
    """How to start a Triton on what was built. Raises SetupError when nothing was, or a library lacks."""
    from triton_models.server import Ports, launch_spec, missing_system_packages

    for missing in missing_system_packages():
        raise SetupError(f"misses {missing.library}: {missing.reason}; see `causeway doctor`")
    spec = launch_spec(
        layout.triton(region) if region else layout.home,
        _place(layout, region),
        Ports(grpc=ports.grpc, http=ports.http, metrics=ports.metrics),
    )
    return Command(spec.argv, spec.env, spec.cwd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
