"""A drill, as a person does it: a region is lost under load, and the callers notice nothing that matters.

How fast traffic moves is measured, not judged: a test must not depend on how fast a machine is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.wait import until

from loadtest.bench.platform import PREFIX
from mesh.local import placement
from mesh.local.layout import Layout

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LeftBehind = Callable[[Layout], list[str]]

LOAD = ("--rate", "20", "--streams", "3")
LIMIT = 540
"""Seconds; the drill ends itself before, with an error."""
NONE_OF = (
    "failed unary calls",
    "broken streams",
    "words lost",
    "words repeated",
    "words garbled",
    "pieces out of place",
)


@contextmanager
def drill(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`causeway drill`, with its platform below `folder`; it is over on leaving, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "drill", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            # It stops its platform; when it cannot any more, the platform stops itself.
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)


def home_of(process: subprocess.Popen[str], folder: Path) -> Layout:
    """The state folder of the drill's platform, once there is one."""
    found: list[Path] = []

    def there() -> bool:
        found[:] = folder.glob(f"{PREFIX}*")
        return bool(found) or process.poll() is not None

    until(there, limit=60, what="a platform of the drill")
    assert len(found) == 1, process.communicate(timeout=10)
    return Layout(found[0])


def test_callers_lose_nothing_with_a_region_and_nothing_is_left_behind(
    tmp_path: Path, left_behind: LeftBehind
) -> None:
    with drill(tmp_path, "region-loss", "--quick", "--json", *LOAD) as process:
        layout = home_of(process, tmp_path)
        said, complaints = process.communicate(timeout=LIMIT)
    report = json.loads(said)
    assert "error" not in report, complaints
    assert set(report) == {"name", "environment", "checks", "passed"}
    assert report["name"] == "drill region-loss"
    assert report["environment"]["quick"] is True
    assert process.returncode == (0 if report["passed"] else 1)
    checks = {check["name"]: check for check in report["checks"]}
    for name, check in checks.items():
        assert {"value", "unit", "bound", "ok"} <= set(check), name
        assert check["value"] is not None, name
    for name in NONE_OF:
        assert (checks[name]["value"], checks[name]["bound"]) == (0, 0), checks[name]
    # There were calls and streams that could have failed; each note says of how many.
    for name in NONE_OF[:2]:
        assert int(checks[name]["note"].removeprefix("of ")) > 0
    # A region did answer, was lost, and another took over: without that there is no figure.
    assert checks["traffic moved"]["unit"] == "ms"
    assert left_behind(layout) == []
    assert list(tmp_path.iterdir()) == []
    assert list(placement.OUTSIDE.glob(f"{layout.digest}-*")) == []
