"""Small pure parts of the supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mesh.local import interlock, leftovers, lock, logs, placement, postgres, privilege, procfs, valkey
from mesh.local.files import write_atomic
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.passwords import ensure_password
from mesh.local.process import BACKOFF_CAP, backoff
from mesh.local.procfs import Identity
from mesh.local.spawn import MARK, base_environ, describe_exit
from mesh.local.spec import Account


def test_back_off_doubles_from_a_fifth_of_a_second_to_its_cap() -> None:
    waits = [backoff(deaths) for deaths in range(1, 9)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, BACKOFF_CAP, BACKOFF_CAP]
    assert backoff(100_000) == BACKOFF_CAP


@pytest.mark.parametrize("code, words", [(0, "exit code 0"), (-9, "signal SIGKILL"), (-99, "signal 99")])
def test_ends_are_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_children_get_little_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSEWAY_LISTEN", "0.0.0.0:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    env = base_environ(Path("/srv/p"))
    assert "CAUSEWAY_LISTEN" not in env
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert env[MARK] == "/srv/p"


def test_a_password_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.password"
    password = ensure_password(path)
    assert len(password) >= 40
    assert ensure_password(path) == password
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_atomic_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(path, b"x")
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_a_log_is_cut_when_it_outgrows_its_limit_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        assert not logs.rotate(path, limit=100)
        writer.write(b"y\n")
        assert logs.rotate(path, limit=100)
        writer.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    assert (tmp_path / "a.log.1").stat().st_size == 102


def test_the_tail_is_the_last_lines_of_the_last_life(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n\nthree \xff\n")
    assert logs.tail(path, 2) == ["two", "three \ufffd"]
    assert logs.tail(path, 9, start=8) == ["three \ufffd"]
    assert logs.tail(path, 9, start=10_000)[0] == "one", "a log that was cut is read from its beginning"
    assert logs.tail(tmp_path / "none.log", 5) == []


def test_a_pid_is_not_an_identity() -> None:
    me = procfs.identify(os.getpid())
    assert me is not None
    assert procfs.alive(me)
    assert not procfs.alive(Identity(me.pid, me.ticks + 1))


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert procfs.identify(child.pid) is None


def test_only_processes_with_our_mark_are_found(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        subprocess.Popen(sleep, env={MARK: str(tmp_path)}) as ours,
        subprocess.Popen(sleep, env={MARK: str(tmp_path) + "-other"}) as theirs,
    ):
        mine = procfs.identify(ours.pid)
        assert leftovers.find(tmp_path, []) == [mine]
        assert leftovers.end(leftovers.find(tmp_path, [])) == 1
        assert theirs.poll() is None
        theirs.kill()


def test_a_recorded_pid_that_is_a_stranger_now_is_not_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    ) as child:
        found = procfs.identify(child.pid)
        assert found is not None
        old = Identity(found.pid, found.ticks - 5)
        assert leftovers.find(Path("/nowhere"), [old]) == []
        assert leftovers.end([old]) == 0
        assert child.poll() is None
        child.kill()


def test_members_of_a_recorded_session_are_found_after_their_leader_died() -> None:
    script = "import os, time; os.fork() or time.sleep(60); os._exit(0)"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as leader:
        recorded = procfs.stat(leader.pid)
        assert recorded is not None
        leader.wait()
        found = leftovers.find(Path("/nowhere"), [recorded.identity])
        assert len(found) == 1
        assert leftovers.end(found, grace=0.1) == 1


def test_only_our_own_shared_memory_is_swept(tmp_path: Path) -> None:
    for name in ("causeway-aa-1", "causeway-ab-1", "triton"):
        (tmp_path / name).touch()
    assert leftovers.sweep_shared_memory("causeway-aa-", tmp_path) == ["causeway-aa-1"]
    assert leftovers.sweep_shared_memory("", tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["causeway-ab-1", "triton"]


def test_the_lock_has_one_holder_who_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock.holder(path) is None
    with lock.held(path):
        assert lock.holder(path) == procfs.identify(os.getpid())
        with pytest.raises(lock.HeldError), lock.held(path):
            pass
    assert not lock.is_held(path)


def test_readers_of_the_lock_do_not_take_each_other_for_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(lock.is_held(path) for _ in range(300))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(seen)


def test_postgres_never_trades_durability_for_speed_and_logs_no_values() -> None:
    settings = postgres.server_settings(20001)
    assert {settings[key] for key in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["log_parameter_max_length"] == "0"
    assert "port = '20001'\n" in postgres.render(settings)
    assert postgres.render({"a": "it's"}).endswith("a = 'it''s'\n")


def test_valkey_users_see_only_their_own_keys_and_no_password_is_written() -> None:
    text = valkey.render_users({"policy": "secret-a", "retrieval": "secret-b", "supervisor": "secret-c"})
    lines = text.splitlines()
    assert lines[0] == "user default off resetkeys resetchannels -@all"
    assert "~policy:* " in lines[1]
    assert "~retrieval:* " in lines[2]
    assert lines[3].endswith("-@all +ping")
    assert "secret" not in text


def test_valkey_keeps_what_it_acknowledged_and_evicts_nothing() -> None:
    text = valkey.render_config(20002)
    assert "appendonly yes\n" in text
    assert "maxmemory-policy noeviction\n" in text
    assert "bind 127.0.0.1\n" in text


def test_a_closed_folder_above_a_path_makes_it_unreachable(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    owner = closed.stat()
    stranger = Account(owner.st_uid + 1, owner.st_gid + 1)
    closed.chmod(0o700)
    assert not privilege.can_reach(closed / "inner", stranger)
    assert not privilege.can_reach(closed / "inner" / "not-made-yet", stranger)
    assert privilege.can_reach(Path("/"), stranger)


def test_the_issuer_keeps_its_key_private_and_publishes_the_other_half(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.create()
    issuer = Issuer(layout)
    issuer.publish()
    published = json.loads(layout.jwks.read_text())["keys"][0]
    assert "d" not in published
    assert published["kid"] == Issuer(layout)._key.kid
    assert stat.S_IMODE((layout.secrets / "issuer.jwk").stat().st_mode) == 0o600
    assert issuer.mint("t", "s", ["reader"], 60).count(".") == 2


def test_an_outside_folder_of_another_platform_is_not_ours(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.create()
    folder = tmp_path / "outside" / "x"
    folder.mkdir(parents=True)
    layout.placement.write_text(json.dumps({"outside": str(folder)}))
    assert placement.recorded_outside(layout) is None
    (folder / "STATE_FOLDER").write_text("/another/home")
    assert placement.recorded_outside(layout) is None
    placement.remove(layout)
    assert folder.is_dir()
    assert placement.orphans(tmp_path / "outside") == [folder]


async def test_a_child_whose_supervisor_is_gone_does_not_start(tmp_path: Path) -> None:
    from mesh.local import spawn

    shim = Path(spawn.__file__).with_name("shim.py")
    words = [sys.executable, "-I", "-S", str(shim), "1", "15", "-1", "-1", "--", "/bin/echo", "started"]
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    assert (child.returncode, output) == (125, b"")


SEGMENTS = """       key      shmid perms                  size  cpid  lpid nattch   uid   gid
   2187365      98309   600                    56   100   100      0 65534 65534
   2187366      98310   600                    56   101   101      2 65534 65534
"""


@pytest.mark.parametrize(
    "line, expected",
    [
        ("  2187365     98309", 98309),
        ("  2187366     98310", None),
        ("  2187366     98309", None),
        ("  1     2", None),
        ("", None),
        ("ready", None),
    ],
)
def test_only_an_unattached_segment_that_the_lock_file_names_is_abandoned(
    line: str, expected: int | None
) -> None:
    lock_file = f"100\n/data\n1795395181\n20001\n\n127.0.0.1\n{line}\nready\n"
    assert interlock.abandoned(lock_file, SEGMENTS) == expected
