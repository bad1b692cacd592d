"""Progress on standard error: redrawn in place on a terminal, a line at a time elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from cli import render
from mesh.local.report import Report


class Board:
    """A few lines that are redrawn in place. Does nothing unless `stream` is a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.live = self._stream.isatty()
        self._height = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Replace what was drawn before by `lines`, each cut to the width of the terminal."""
        if not self.live:
            return
        columns = shutil.get_terminal_size().columns
        cut = [line[: columns - 1] for line in lines]
        up = f"\x1b[{self._height}A" if self._height else ""
        # Clear to the end of each line and below: the board may have shrunk.
        self._stream.write(up + "".join(f"{line}\x1b[K\n" for line in cut) + "\x1b[J")
        self._stream.flush()
        self._height = len(cut)


class StartProgress:
    """Shows a platform starting or stopping: a table on a terminal, elsewhere one line for each change."""

    def __init__(self, board: Board | None = None) -> None:
        self._board = board or Board()
        self.live = self._board.live
        """Whether it redraws a table, whose last state stays on the screen."""
        self._last: dict[str, str] = {}
        self._drawn = 0.0

    def __call__(self, report: Report) -> None:
        """Show `report`."""
        now = time.time()
        if self._board.live:
            if now - self._drawn >= 0.1 or report.ready:
                self._drawn = now
                self._board.draw(
                    [render.headline(report), *render.table(render.process_rows(report.processes, now))]
                )
            return
        for process in report.processes:
            if self._last.get(process.name) != process.state:
                self._last[process.name] = process.state
                took = (
                    f" ({process.started_in:.1f} s)"
                    if process.state == "ready" and process.started_in
                    else ""
                )
                detail = f": {process.detail}" if process.state in ("failed", "restarting", "unready") else ""
                print(f"{process.name} {process.state}{took}{detail}", file=sys.stderr, flush=True)
