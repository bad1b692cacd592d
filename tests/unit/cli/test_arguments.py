"""The command line itself: what it accepts, and what a mistake or a platform that is down looks like."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import main as cli

ROOT = Path(cli.__file__).parents[1]


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["up", "--only", ","],
        ["up", "--timeout", "0"],
        ["up", "--timeout", "nan"],
        ["up", "--regions", ","],
        ["up", "--data-plane", "magic"],
        ["logs", "-n", "-1"],
        ["search"],
        ["search", "-k", "0", "x"],
        ["search", "-k", "101", "x"],
        ["search", "--mode", "magic", "x"],
        ["ask"],
        ["ingest"],
        ["ingest", "--label", "novalue", "x"],
        ["models"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "usage: causeway" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize(
    "words", [["ask", "q"], ["search", "q"], ["chat"], ["ingest", "pydoc:"], ["token"], ["logs"]]
)
def test_a_platform_that_is_down_is_told_with_the_way_out(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 3
    assert "causeway up" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_home")
def test_an_unknown_process_is_a_usage_error_that_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--only", "postgre"]) == 2
    assert "postgres, valkey, milvus" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--regions", "US"], "no region"),
        (["--regions", "a,a"], "twice"),
        (["--regions", "a", "--data-plane", "none"], "one place only"),
        (["--regions", "a", "--only", "gateway@b"], "'gateway@b'; there are"),
        (["--data-plane", "none", "--only", "front"], "'front'; there are"),
    ],
)
def test_a_platform_that_cannot_stand_is_a_usage_error(
    empty_home: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not empty_home.exists()


@pytest.mark.parametrize("words", [["ingest", "no-such-file"], ["ingest", "pydoc:with"]])
def test_what_cannot_be_ingested_is_a_usage_error(
    empty_home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert words[1] in capsys.readouterr().err
    assert not empty_home.exists(), "a mistake must not leave a state folder"


def test_asking_about_a_platform_that_never_ran_makes_no_folder(empty_home: Path) -> None:
    assert cli.main(["status"]) == 3
    assert cli.main(["down"]) == 0
    assert cli.main(["down", "--purge"]) == 0
    assert not empty_home.exists()


@pytest.mark.parametrize(
    "command", ["up", "down", "status", "logs", "doctor", "ingest", "search", "ask", "chat", "demo", "token"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: causeway {command}" in capsys.readouterr().out


def test_a_folder_that_may_not_be_read_is_named_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(layout: object) -> None:
        raise PermissionError(13, "Permission denied", "/srv/closed")

    monkeypatch.setattr("mesh.local.report.read", refuse)
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err == "causeway: /srv/closed: Permission denied\n"


def test_asking_for_help_loads_nothing_heavy() -> None:
    script = "import sys, cli.main\ntry: cli.main.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    began = time.monotonic()
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    loaded = set(out.split())
    assert not loaded & {"grpc", "psycopg", "rich", "joserfc", "numpy", "asyncio"}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("words, code", [([], 2), (["no-such-benchmark"], 2), (["--help"], 0)])
def test_bench_hands_its_whole_command_line_over(words: list[str], code: int) -> None:
    assert cli.main(["bench", *words]) == code
