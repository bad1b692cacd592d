"""`causeway models build` and `causeway bench`: both hand over to another part of the project."""

from __future__ import annotations

import argparse
import os
import sys
import time

from cli import exits
from cli.exits import CommandError
from cli.lifecycle import layout
from cli.progress import Board


def build(options: argparse.Namespace) -> int:
    """Build the model repository, or verify the one that is there."""
    from mesh.local import triton
    from triton_models.errors import ModelBuildError

    here = layout()
    here.create()
    began = time.monotonic()
    board, last = Board(), ""

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if board.live:
            board.draw([bar(stage, done, total)])
        elif stage != last:
            last = stage
            print(stage, file=sys.stderr, flush=True)

    try:
        repository = triton.build(here, progress, os.environ)
    except ModelBuildError as error:
        raise CommandError(str(error)) from error
    print(f"{', '.join(repository.models)} ready in {repository.path} ({time.monotonic() - began:.1f} s)")
    return exits.OK


def bench(options: argparse.Namespace) -> int:
    """Run one benchmark. Its own command line says which."""
    from loadtest import bench as benchmarks

    return benchmarks.main(options.arguments)


def bar(stage: str, done: int, total: int, width: int = 30) -> str:
    """A progress bar as text."""
    share = min(1.0, done / total) if total > 0 else 1.0
    filled = int(width * share)
    return f"{'█' * filled}{'░' * (width - filled)} {share:4.0%} {stage}"
