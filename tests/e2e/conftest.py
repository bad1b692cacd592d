"""One whole platform for the end-to-end tests, with the demo corpus in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.platform import MESH, Platform, running

from mesh.local import triton
from mesh.local.layout import Layout
from mesh.local.names import DEFAULT_REGIONS

Command = Callable[..., subprocess.CompletedProcess[str]]
LeftBehind = Callable[[Layout], list[str]]


def environment(platform: Platform) -> dict[str, str]:
    """What a person's shell would have."""
    return {**os.environ, "CAUSEWAY_HOME": str(platform.home)}


@pytest.fixture(scope="session")
def supervisors() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that a test has started on the shared platform: over once the platform is."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.wait()


@pytest.fixture(scope="session")
def platform(supervisors: list[subprocess.Popen[bytes]]) -> Iterator[Platform]:
    """Two regions, ready, with Python's language reference ingested for tenant demo."""
    assert supervisors == []
    with running(None, limit=300, shape=MESH) as platform:
        done = run(platform, "ingest", "pydoc:", timeout=600)
        assert done.returncode == 0, done.stderr
        yield platform


@pytest.fixture
def causeway(platform: Platform) -> Command:
    """Runs the command line on the platform."""

    def command(*arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        return run(platform, *arguments, timeout=timeout)

    return command


def run(platform: Platform, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """One command, as a person would run it."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=environment(platform),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def left_behind() -> LeftBehind:
    """Tells what a platform that is over has left on this machine; its state folder may be gone."""
    return _left_behind


def _left_behind(layout: Layout) -> list[str]:
    """Processes that know of the state folder, shared memory that has its name, and locks in it."""
    found = []
    for process in psutil.process_iter():
        try:
            known = [*process.cmdline(), process.environ().get("CAUSEWAY_HOME", ""), process.cwd()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(layout.home) in item for item in known):
            found.append(f"{process.pid} {process.name()}")
    prefixes = tuple(triton.shm_prefix(layout, region) for region in ("", *DEFAULT_REGIONS))
    found += [item.name for item in Path("/dev/shm").iterdir() if item.name.startswith(prefixes)]  # noqa: S108
    return found + _locked(layout.home)


def _locked(home: Path) -> list[str]:
    """Files of the state folder that somebody holds a lock on (proc_locks(5)), and the System V segments that
    keep a second PostgreSQL away (proc_sysvipc(5); a cluster's postmaster.pid names its own)."""
    held = {line.split()[-3] for line in Path("/proc/locks").read_text().splitlines()}
    segments = {row.split()[1] for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
    found = []
    for path in home.rglob("*"):
        known = path.lstat()
        place = f"{os.major(known.st_dev):02x}:{os.minor(known.st_dev):02x}:{known.st_ino}"
        if place in held:
            found.append(str(path))
        elif path.name == "postmaster.pid":
            lines = path.read_text().splitlines()
            if len(lines) > 6 and lines[6].split()[1] in segments:
                found.append(f"segment of {path}")
    return found
