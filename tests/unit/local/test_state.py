"""The account on disk, and the report made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.local import procfs, report, state
from mesh.local.procfs import Identity
from mesh.local.state import PlatformState, ProcessStatus, StateError

ME = procfs.identify(os.getpid())
BOOT = procfs.boot_id()


def account(**process: object) -> PlatformState:
    status = ProcessStatus(name="valkey", state="ready", ready=True)
    for key, value in process.items():
        setattr(status, key, value)
    return PlatformState(phase="running", supervisor=ME, boot=BOOT, updated=100.0, processes=[status])


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    before = account(pid=1, ticks=2, last_log=["a", "b"])
    state.save(tmp_path / "state.json", before)
    assert state.load(tmp_path / "state.json") == before


def test_no_file_is_no_account(tmp_path: Path) -> None:
    assert state.load(tmp_path / "state.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 2, "processes": []}',
        '{"version": 1, "supervisor": null, "processes": 3}',
        '{"version": 1, "supervisor": 1, "processes": []}',
        '{"version": 1, "supervisor": null, "processes": [{"name": "a", "pid": "1"}]}',
        '{"version": 1, "supervisor": null, "processes": [{"name": "a", "pid": 1, "surprise": 1}]}',
        '{"version": 1, "supervisor": null, "processes": [], "surprise": 1}',
    ],
)
def test_a_damaged_account_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"state\.json is damaged"):
        state.load(path)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(data)
    with pytest.raises(StateError):
        state.load(path)


def test_a_damaged_account_is_kept_for_a_person_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    aside = state.set_aside(path)
    assert (path.exists(), aside.read_text()) == (False, "{")


def test_a_ready_account_of_a_live_supervisor_is_believed() -> None:
    assert report.judge(account(), ME, now=101.0, boot=BOOT).ready


def test_a_process_that_has_ended_is_not_reported_as_ready() -> None:
    gone = report.judge(account(pid=2**22 + 1, ticks=1), ME, now=101.0, boot=BOOT)
    assert (gone.ready, gone.processes[0].state, gone.processes[0].pid) == (False, "dead", None)


def test_a_one_shot_that_has_just_ended_is_not_called_dead_before_it_is_known_how() -> None:
    ended = account(pid=2**22 + 1, ticks=1, one_shot=True, state="starting", ready=False)
    found = report.judge(ended, ME, now=101.0, boot=BOOT)
    assert (found.ready, found.processes[0].state, found.processes[0].pid) == (False, "starting", None)


def test_a_stranger_with_the_same_pid_is_not_taken_for_the_process() -> None:
    assert ME is not None
    recycled = report.judge(account(pid=ME.pid, ticks=ME.ticks - 1), ME, now=101.0, boot=BOOT)
    assert not recycled.ready


def test_pids_of_another_boot_mean_nothing() -> None:
    assert ME is not None
    old = report.judge(account(pid=ME.pid, ticks=ME.ticks), ME, now=101.0, boot="another")
    assert not old.ready


def test_without_a_supervisor_nothing_is_ready() -> None:
    alone = report.judge(account(), None, now=101.0, boot=BOOT)
    assert (alone.ready, alone.phase, alone.processes[0].ready) == (False, "unsupervised", False)


def test_a_silent_supervisor_is_told() -> None:
    silent = report.judge(account(), ME, now=100.0 + report.STALE_AFTER + 1, boot=BOOT)
    assert (silent.ready, "has not answered for 6 s" in silent.problem) == (False, True)


def test_the_last_words_of_an_earlier_supervisor_are_not_the_new_ones() -> None:
    found = report.judge(account(), Identity(1, 1), now=101.0, boot=BOOT)
    assert (found.phase, found.processes, found.ready) == ("starting", [], False)


def test_the_json_report_has_the_agreed_shape() -> None:
    document = report.to_json(report.judge(account(), ME, now=101.0, boot=BOOT))
    assert document["ready"] is True
    processes = document["processes"]
    assert isinstance(processes, list)
    agreed = {"name", "state", "ready", "pid", "port", "restarts", "since", "memory_bytes", "detail"}
    assert agreed <= processes[0].keys()
