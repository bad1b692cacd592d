"""`python -m mesh.local HOME [--only NAME,…] [--data-plane …] [--regions NAME,…] [--tied]`: the supervisor
process itself. Started by `causeway up`."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from mesh.local.layout import Layout
from mesh.local.names import DataPlane, Shape

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Supervise until stopped; see `assembly.run` for the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="mesh.local")
    parser.add_argument("home", type=Path)
    parser.add_argument("--only", type=_list)
    parser.add_argument("--data-plane", type=DataPlane, default=DataPlane.NONE)
    parser.add_argument("--regions", type=_list, default=())
    parser.add_argument("--tied", action="store_true")
    options = parser.parse_args(argv)
    if options.tied:
        # The process that started us owns this run: when it ends, the platform stops in order.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    os.umask(0o077)
    from mesh.local import assembly

    shape = Shape(tuple(options.regions), options.data_plane)
    return assembly.run(Layout(options.home), options.only, shape)


def _list(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
