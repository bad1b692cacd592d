"""Ctrl-C at any point of the demo leaves nothing behind: no process, no shared memory, no lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from psutil import Process
from support.platform import MESH, started, state_folder
from support.wait import until

from mesh.local import daemon
from mesh.local.layout import Layout
from mesh.local.settings import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LeftBehind = Callable[[Layout], list[str]]


# A run of the tests by `make` must not be taken for the caller of this one.
INHERITED = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


@contextmanager
def demo(layout: Layout, *command: str) -> Iterator[subprocess.Popen[str]]:
    """The demo of a platform in `layout`, in a process group of its own as a shell's job is."""
    process = subprocess.Popen(
        command or (sys.executable, "-u", "-m", "cli.main", "demo"),
        env=environment(layout),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=120)


def environment(layout: Layout) -> dict[str, str]:
    """What a person's shell would have."""
    mine = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return {**mine, "CAUSEWAY_HOME": str(layout.home), "PYTHONUNBUFFERED": "1"}


def heard(process: subprocess.Popen[str], words: str) -> None:
    """Reads what the demo says until it has said these words."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"the demo never said {words!r}: {''.join(said[-20:])}")


@pytest.mark.parametrize("moment", ["Starting the platform", "milvus ready", "Ingesting", "Asking"])
def test_an_interrupted_demo_leaves_nothing_behind(moment: str, left_behind: LeftBehind) -> None:
    with state_folder() as layout, demo(layout) as process:
        heard(process, moment)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=120)[0]
        assert process.returncode == 130, rest
        assert left_behind(layout) == []


def test_a_demo_after_a_platform_that_still_stops_starts_its_own_and_stops_it(
    left_behind: LeftBehind,
) -> None:
    with state_folder() as layout, started(layout, ["valkey"]) as former:
        supervisor, valkey = former.report().supervisor, former.process("valkey").pid
        assert supervisor is not None
        assert valkey is not None
        # It does not act on the request to stop.
        os.kill(valkey, signal.SIGSTOP)
        try:
            os.kill(supervisor.pid, signal.SIGTERM)
            until(lambda: former.report().phase == "stopping", what="the former platform stopping")
            with demo(layout) as process:
                heard(process, "Starting the platform")
                # It has looked by now, at the latest when it shows what it waits for.
                heard(process, "valkey")
                assert former.report().supervisor == supervisor
                os.kill(valkey, signal.SIGCONT)
                heard(process, "Ingesting")
                assert tuple(former.report().regions) == MESH.regions
                os.kill(process.pid, signal.SIGINT)
                rest = process.communicate(timeout=120)[0]
                assert process.returncode == 130, rest
        finally:
            with suppress(ProcessLookupError):
                os.kill(valkey, signal.SIGCONT)
        assert left_behind(layout) == []


@pytest.mark.parametrize("after", [0.0, 0.2, 0.4, 0.6])
def test_ctrl_c_when_there_is_hardly_a_platform_yet_leaves_nothing_behind(
    after: float, left_behind: LeftBehind
) -> None:
    with state_folder() as folder:
        layout = Layout(folder.home / "new")
        check_make_installs_nothing(layout)
        with demo(layout, "make", "demo") as process:
            until(lambda: Process(process.pid).children(), what="the demo's own process")
            # Around the moment at which the folder is made.
            time.sleep(after)
            os.killpg(process.pid, signal.SIGINT)
            rest = process.communicate(timeout=120)[0]
            assert process.returncode != 0, rest
        try:
            assert left_behind(layout) == []
        finally:
            daemon.down(layout)


@pytest.mark.parametrize("moment", ["models starting", "Ingesting"])
def test_ctrl_c_during_make_demo_leaves_nothing_behind(moment: str, left_behind: LeftBehind) -> None:
    with state_folder() as layout:
        check_make_installs_nothing(layout)
        with demo(layout, "make", "demo") as process:
            heard(process, moment)
            time.sleep(1)
            # As a terminal does: to make, its shell and the demo at once.
            os.killpg(process.pid, signal.SIGINT)
            rest = process.communicate(timeout=120)[0]
            assert process.returncode != 0, rest
            assert "The platform keeps running" not in rest
        assert left_behind(layout) == []


def check_make_installs_nothing(layout: Layout) -> None:
    """An installation that is interrupted is another matter, and this one is in use."""
    planned = subprocess.run(
        ["make", "-n", "demo"],  # noqa: S607 - as a person types it
        env=environment(layout),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "install" not in planned.stdout, "run `make setup` first"
