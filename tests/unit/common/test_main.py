"""What every service's program does with settings that do not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common import logs
from services.common.config import ServiceConfig
from services.common.server import Application, main

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Settings:
    """Of a service that needs nothing."""

    service: ServiceConfig


async def build(settings: Settings, stack: AsyncExitStack) -> Application:
    return Application(bindings=[], permissions={})


@pytest.mark.parametrize(
    "key, value", [("CAUSEWAY_LOG_LEVEL", "loud"), ("CAUSEWAY_AUTH_JWKS_URI", "ftp://issuer.test/jwks.json")]
)
def test_settings_that_turn_out_as_they_are_used_are_told_the_same_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    for name in [name for name in os.environ if name.startswith("CAUSEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEWAY_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("CAUSEWAY_AUTH_JWKS_URI", "file:///not-read")
    monkeypatch.setenv(key, value)
    monkeypatch.setattr(logs, "configure", lambda service, level: None)
    assert main("nobody", Settings, build) == 2
    said = capsys.readouterr().err
    assert said.startswith("nobody: ")
    assert key in said


PROGRAMS = ("gateway", "session", "retrieval", "retrieval.indexer", "policy")


@pytest.mark.parametrize(
    "environ, said",
    [({}, "CAUSEWAY_"), ({"CAUSEWAY_TYPO": "1"}, "CAUSEWAY_"), ({"CAUSEWAY_LISTEN": "nowhere"}, "LISTEN")],
    ids=["nothing is set", "an unknown key", "no address"],
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_settings_that_do_not_hold_are_told_in_one_line(
    program: str, environ: dict[str, str], said: str
) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CAUSEWAY_")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "gen" / "python")])
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{program}"],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": paths} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"{program.rpartition('.')[2]}: "), ended.stderr
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
