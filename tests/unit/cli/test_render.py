"""What people read."""

from __future__ import annotations

import io

import pytest

from cli import progress, render
from cli.answer import excerpt
from cli.models import bar
from mesh.local.procfs import Identity
from mesh.local.report import Report
from mesh.local.state import ProcessStatus, RegionStatus
from mesh.local.sync import MeshSync, Sync

NOW = 1000.0
READY = ProcessStatus(name="valkey", state="ready", ready=True, pid=7, port=20001, since=NOW - 5)
DYING = ProcessStatus(
    name="postgres",
    state="restarting",
    port=20000,
    restarts=2,
    since=NOW - 70,
    detail="signal SIGKILL; starting again in 0.4 s",
    last_log=["PANIC: it hurts"],
)


def report(*processes: ProcessStatus, phase: str = "running", **more: object) -> Report:
    return Report(phase=phase, supervisor=Identity(1, 1), processes=list(processes), started_in=1.5, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "found, line",
    [
        (report(READY), "ready, started in 1.5 s"),
        (report(READY, DYING), "not ready (running): postgres"),
        (report(READY, problem="the supervisor has died"), "not ready: the supervisor has died"),
        (report(phase="stopped"), "not running: start it with `causeway up`"),
        (report(phase="absent"), "not running: start it with `causeway up`"),
        (report(phase="failed", failure="no disk"), "not running: the last start failed: no disk"),
    ],
)
def test_the_first_line_says_how_it_is(found: Report, line: str) -> None:
    assert render.headline(found) == line


def test_the_table_names_each_process_and_what_a_sick_one_last_said() -> None:
    lines = render.status(report(READY, DYING), NOW, {"valkey": 5_000_000, "postgres": None})
    assert lines == [
        "not ready (running): postgres",
        "   PROCESS   STATE       FOR    PID  ADDRESS  RESTARTS  MEMORY  DETAIL",
        "●  valkey    ready       5 s    7    20001              5 MB",
        "✗  postgres  restarting  1 min       20000    2                 " + DYING.detail,
        "postgres last said:",
        "  PANIC: it hurts",
    ]


def test_with_a_mesh_the_status_tells_the_address_the_regions_and_how_proxies_stand() -> None:
    proxy = ProcessStatus(
        name="envoy-session@us-east-1",
        region="us-east-1",
        host="127.66.1.9",
        port=15000,
        state="ready",
        ready=True,
        pid=8,
        since=NOW - 5,
    )
    found = report(
        proxy,
        front="127.66.1.2:8443",
        regions={"us-west-2": RegionStatus(wish="kill"), "us-east-1": RegionStatus(wish="run")},
    )
    sync = MeshSync({"envoy-session@us-east-1": Sync("synced", "us-west-2")}, ("a.yaml:3: broken",))
    lines = render.status(found, NOW, {}, sync)
    assert (
        lines[1] == "one address for people: https://127.66.1.2:8443; regions: us-west-2 (killed), us-east-1"
    )
    assert "127.66.1.9:15000" in lines[3]
    assert lines[3].endswith("synced by us-west-2")
    assert lines[4] == "manifests: a.yaml:3: broken"
    nowhere = MeshSync({"envoy-session@us-east-1": Sync("absent", "", "connected to no control plane")}, ())
    assert render.status(found, NOW, {}, nowhere)[3].endswith("absent: connected to no control plane")


def test_with_a_mesh_the_status_tells_where_each_region_takes_calls_itself() -> None:
    doors = [
        ProcessStatus(name=f"ingress@{region}", region=region, host=host, port=15000, since=NOW)
        for region, host in (("us-west-2", "127.66.1.5"), ("us-east-1", "127.66.1.6"))
    ]
    lines = render.status(report(*doors, front="127.66.1.2:8443"), NOW)
    assert lines[2] == (
        "the regions' own: https://127.66.1.5:8443 (us-west-2), https://127.66.1.6:8443 (us-east-1)"
    )


@pytest.mark.parametrize(
    "seconds, text",
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h 0 min"),
        (86400, "24 h 0 min"),
        (200_000, "2 d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert render.age(seconds) == text


def test_an_excerpt_is_one_line_of_bounded_length() -> None:
    assert excerpt("a\n b\t c") == "a b c"
    assert len(excerpt("word " * 100, 50)) <= 50


@pytest.mark.parametrize(
    "done, total, share", [(0, 10, "0%"), (5, 10, "50%"), (20, 10, "100%"), (0, 0, "100%")]
)
def test_a_progress_bar_never_overflows(done: int, total: int, share: str) -> None:
    line = bar("stage", done, total, width=10)
    assert share in line
    assert line.index(" ") == 10


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_board_redraws_in_place_on_a_terminal_and_is_silent_elsewhere() -> None:
    screen, file = Terminal(), io.StringIO()
    for stream in (screen, file):
        board = progress.Board(stream)
        board.draw(["one", "two"])
        board.draw(["x" * 10_000])
    assert screen.getvalue().count("\x1b[2A") == 1
    assert "x" * 500 not in screen.getvalue()
    assert file.getvalue() == ""


def test_without_a_terminal_each_change_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    show = progress.StartProgress(progress.Board(io.StringIO()))
    show(report(READY, DYING))
    show(report(READY, DYING))
    assert capsys.readouterr().err.splitlines() == [
        "valkey ready",
        "postgres restarting: signal SIGKILL; starting again in 0.4 s",
    ]
