"""Ctrl-C at any point of the demo leaves nothing behind: no process, no shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from support.platform import state_folder

from mesh.local.layout import Layout

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LeftBehind = Callable[[Layout], list[str]]


@pytest.mark.parametrize("moment", ["Starting the platform", "milvus ready", "Ingesting", "Asking"])
def test_an_interrupted_demo_leaves_nothing_behind(moment: str, left_behind: LeftBehind) -> None:
    with state_folder() as layout:
        demo = subprocess.Popen(
            [sys.executable, "-u", "-m", "cli.main", "demo"],
            env={**os.environ, "CAUSEWAY_HOME": str(layout.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if moment in line:
                break
        else:
            pytest.fail(f"the demo never said {moment!r}: {''.join(said[-20:])}")
        time.sleep(0.3)
        os.kill(demo.pid, signal.SIGINT)
        rest = demo.communicate(timeout=120)[0]
        assert demo.returncode == 130, rest
        assert left_behind(layout) == []
