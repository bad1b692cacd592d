"""Nothing may be left running or in /dev/shm, whatever happens to the supervisor."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.platform import DATA, Platform, running, started, state_folder
from support.wait import until

from mesh.local import daemon, leftovers, lock, placement, recovery, report
from mesh.local.layout import Layout
from mesh.local.procfs import Identity

ROOT = Path(daemon.__file__).parents[2]


@pytest.fixture
def layout() -> Iterator[Layout]:
    with state_folder() as layout:
        yield layout


def left_running(layout: Layout) -> list[Identity]:
    """Everything of the platform that lives, its supervisor included."""
    holder = lock.holder(layout.lock)
    found = leftovers.find(layout.home, [], recovery.owned_folders(layout))
    return [*found, *([holder] if holder else [])]


def shared_memory() -> set[str]:
    """Names in /dev/shm that a PostgreSQL might have made."""
    return {path.name for path in Path("/dev/shm").glob("PostgreSQL*")}  # noqa: S108 - read only


def segments(layout: Layout) -> set[str]:
    """System V segments that the platform's PostgreSQL has noted down as its own."""
    known = {row.split()[1] for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
    notes = [path.read_text().splitlines() for path in layout.data("postgres").glob("*/postmaster.pid")]
    return known & {lines[6].split()[1] for lines in notes if len(lines) > 6}


def kill_supervisor(layout: Layout) -> None:
    holder = lock.holder(layout.lock)
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: lock.holder(layout.lock) is None)


def causeway(layout: Layout, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words],
        env={**os.environ, "CAUSEWAY_HOME": str(layout.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_down_leaves_nothing_running(layout: Layout) -> None:
    with started(layout, DATA):
        assert len(left_running(layout)) >= 4
    assert left_running(layout) == []
    assert report.read(layout).phase == "stopped"


def test_children_do_not_outlive_a_killed_supervisor(layout: Layout) -> None:
    with started(layout, DATA):
        kill_supervisor(layout)
        found = report.read(layout)
        assert (found.ready, found.phase) == (False, "unsupervised")
        until(lambda: not left_running(layout), what="all children gone")


def test_the_next_start_ends_what_ignored_its_supervisors_death(layout: Layout) -> None:
    with started(layout, DATA) as platform:
        stopped = platform.process("valkey").pid
        assert stopped is not None
        # A stopped process does not act on the signal that tells it of its supervisor's death.
        os.kill(stopped, signal.SIGSTOP)
        kill_supervisor(layout)
        assert stopped in {item.pid for item in left_running(layout)}

        with started(layout, DATA) as again:
            assert again.report().ready
            assert again.process("valkey").pid != stopped
            assert stopped not in {item.pid for item in left_running(layout)}


def test_down_alone_clears_up_after_a_killed_supervisor(layout: Layout) -> None:
    with started(layout, DATA) as platform:
        for name in DATA:
            pid = platform.process(name).pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        kill_supervisor(layout)
        assert segments(layout)

        daemon.down(layout)
        assert left_running(layout) == []
        assert not segments(layout)


def test_a_stopped_supervisor_is_told_and_can_still_be_ended(layout: Layout) -> None:
    with started(layout, ["valkey"]):
        holder = lock.holder(layout.lock)
        assert holder is not None
        os.kill(holder.pid, signal.SIGSTOP)
        until(lambda: "has not answered" in report.read(layout).problem, what="the hang told")
        assert not report.read(layout).ready
        daemon.down(layout)
        assert left_running(layout) == []


def test_two_platforms_run_side_by_side(layout: Layout) -> None:
    with running(DATA) as first, started(layout, DATA) as second:
        assert not set(first.ports.values()) & set(second.ports.values())
        daemon.down(layout)
        assert first.report().ready
        with psycopg.connect(first.postgres_conninfo("session")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_of_two_concurrent_starts_one_starts_and_both_see_it_ready(layout: Layout) -> None:
    commands = [causeway(layout, "up", "--only", "valkey,milvus", "--json") for _ in range(2)]
    outputs = [command.communicate(timeout=60) for command in commands]

    assert [command.returncode for command in commands] == [0, 0]
    supervisors = {json.loads(out)["supervisor"]["pid"] for out, _ in outputs}
    assert len(supervisors) == 1
    third = causeway(layout, "up", "--only", "valkey")
    assert "already running" in third.communicate(timeout=60)[0]


def test_a_damaged_state_file_is_told_and_does_not_hide_what_runs(layout: Layout) -> None:
    with started(layout, DATA) as platform:
        pid = platform.process("valkey").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        kill_supervisor(layout)
        layout.state.write_text('{"version": 1, "processes": [{"pid"')
        assert "damaged" in report.read(layout).problem

        daemon.down(layout)
        assert left_running(layout) == []
        assert [path.name for path in layout.home.glob("state.json.damaged-*")]


def test_a_port_taken_while_the_platform_was_down_is_replaced(layout: Layout) -> None:
    with started(layout, ["valkey", "milvus"]) as platform:
        before = dict(platform.ports)
    with (
        socket.create_server(("127.0.0.1", before["valkey"])),
        started(layout, ["valkey", "milvus"]) as platform,
    ):
        assert platform.ports["valkey"] != before["valkey"]
        assert platform.ports["milvus"] == before["milvus"]


@pytest.mark.parametrize("after", [0.0, 0.15, 0.4, 0.8, 1.3])
def test_an_interrupted_start_leaves_nothing(layout: Layout, after: float) -> None:
    before = shared_memory()
    command = causeway(layout, "up", "--only", ",".join(DATA))
    time.sleep(after)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=60)
    if command.returncode == 0:
        # It was ready before the interrupt came.
        daemon.down(layout)
    else:
        assert command.returncode in (130, -signal.SIGINT)
    assert left_running(layout) == []
    assert shared_memory() == before


def test_a_process_that_cannot_start_fails_the_start_with_its_own_words(layout: Layout) -> None:
    layout.create()
    folder = layout.data("milvus")
    folder.mkdir()
    (folder / "milvus.db").mkdir()
    with pytest.raises(daemon.StartError, match=r"milvus ended .* times in a row"):
        daemon.up(layout, ["milvus", "valkey"], limit=60)
    assert left_running(layout) == []
    assert report.read(layout).phase == "failed"


def test_a_foreground_platform_ends_with_the_command_that_runs_it(layout: Layout) -> None:
    command = causeway(layout, "up", "--foreground", "--only", "valkey")
    until(lambda: report.read(layout).ready, limit=30)
    command.kill()
    command.communicate()
    until(lambda: not left_running(layout), what="the platform gone")


def test_a_platform_whose_folder_is_deleted_stops(layout: Layout) -> None:
    with started(layout, ["valkey"]):
        moved = layout.home.with_name(layout.home.name + "-moved")
        supervisor = lock.holder(layout.lock)
        assert supervisor is not None
        layout.home.rename(moved)
        try:
            until(lambda: not Path(f"/proc/{supervisor.pid}/fd/0").exists(), what="the supervisor gone")
        finally:
            moved.rename(layout.home)
    assert left_running(layout) == []


def test_a_state_folder_may_have_any_name(layout: Layout) -> None:
    odd = Layout(layout.home / 'sp ace "quote" ü $HOME')
    odd.home.mkdir()
    with started(odd, DATA) as platform:
        assert platform.report().ready
        assert len(left_running(odd)) >= 4
    assert left_running(odd) == []
    daemon.purge(odd)


def test_postgres_lives_where_its_user_can_reach_it(layout: Layout) -> None:
    # A folder closed to others above the state folder, as a home folder often is.
    closed = Layout(layout.home / "closed" / "home")
    closed.home.mkdir(parents=True)
    closed.home.parent.chmod(0o700)
    with started(closed, ["postgres"]) as platform:
        with psycopg.connect(platform.postgres_conninfo("session")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        outside = placement.recorded_outside(closed)
        assert (outside is not None) == (os.geteuid() == 0)
    daemon.purge(closed)
    assert outside is None or not outside.exists()


def test_status_of_a_platform_that_never_ran_says_how_to_start_it(layout: Layout) -> None:
    command = causeway(layout, "status")
    assert "causeway up" in command.communicate(timeout=30)[0]
    assert command.returncode == 3


def test_purge_deletes_everything(layout: Layout) -> None:
    with started(layout, ["valkey"]) as platform:
        assert isinstance(platform, Platform)
    command = causeway(layout, "down", "--purge")
    command.communicate(timeout=30)
    assert not layout.home.exists()
