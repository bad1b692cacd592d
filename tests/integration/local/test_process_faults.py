"""What becomes of the data, the platform and the truth when a server dies, hangs or loses its port."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis
from pymilvus import MilvusClient
from support.platform import DATA, Platform, running, started, state_folder
from support.wait import until

from mesh.local import procfs


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running(DATA) as platform:
        yield platform


def kill(platform: Platform, name: str) -> int:
    """Kill the process, and return once the kernel has ended it."""
    identity = platform.process(name).identity
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: not procfs.alive(identity))
    return identity.pid


def back_with_new_pid(platform: Platform, name: str, old: int) -> Callable[[], bool]:
    def check() -> bool:
        process = platform.process(name)
        return process.ready and process.pid not in (None, old)

    return check


def write_postgres(platform: Platform) -> None:
    with psycopg.connect(platform.postgres_conninfo("causeway_owner")) as connection:
        connection.execute("create table if not exists kept (value text)")
        connection.execute("insert into kept values ('acknowledged')")


def read_postgres(platform: Platform) -> object:
    with psycopg.connect(platform.postgres_conninfo("causeway_owner")) as connection:
        return connection.execute("select distinct value from kept").fetchall()


def valkey_client(platform: Platform) -> redis.Redis:
    password = platform.valkey_password_file("policy").read_text()
    return redis.Redis.from_url(platform.valkey_url("policy"), password=password)


def write_valkey(platform: Platform) -> None:
    with valkey_client(platform) as client, client.pipeline(transaction=True) as transaction:
        transaction.set("policy:kept", "acknowledged")
        transaction.xadd("policy:queue", {"kept": "acknowledged"})
        transaction.execute()


def read_valkey(platform: Platform) -> object:
    with valkey_client(platform) as client:
        return client.get("policy:kept"), client.xlen("policy:queue")


def write_milvus(platform: Platform) -> None:
    client = MilvusClient(uri=platform.milvus_uri)
    client.create_collection("kept", dimension=4)
    client.insert("kept", [{"id": 1, "vector": [0.1, 0.2, 0.3, 0.4]}])
    client.close()


def read_milvus(platform: Platform) -> object:
    client = MilvusClient(uri=platform.milvus_uri)
    found = client.get("kept", ids=[1], output_fields=["id"])
    client.close()
    return [row["id"] for row in found]


@pytest.mark.parametrize(
    "name, write, read, expected",
    [
        ("postgres", write_postgres, read_postgres, [("acknowledged",)]),
        ("valkey", write_valkey, read_valkey, (b"acknowledged", 1)),
        ("milvus", write_milvus, read_milvus, [1]),
    ],
)
def test_a_killed_server_comes_back_with_what_it_acknowledged(
    platform: Platform,
    name: str,
    write: Callable[[Platform], None],
    read: Callable[[Platform], object],
    expected: object,
) -> None:
    write(platform)
    before = platform.process(name).restarts

    old = kill(platform, name)
    assert not platform.report().ready, "status must not call a platform ready whose server was just killed"
    until(back_with_new_pid(platform, name, old), what=f"{name} ready again")

    process = platform.process(name)
    assert (process.restarts, process.last_exit) == (before + 1, "signal SIGKILL")
    assert platform.report().ready
    assert read(platform) == expected


def test_the_other_servers_are_left_alone_when_one_dies(platform: Platform) -> None:
    others = {name: platform.process(name).pid for name in ("postgres", "milvus")}

    old = kill(platform, "valkey")
    until(back_with_new_pid(platform, "valkey", old))

    assert {name: platform.process(name).pid for name in others} == others


def test_postgres_backends_do_not_outlive_a_killed_postmaster(platform: Platform) -> None:
    with psycopg.connect(platform.postgres_conninfo("session")) as connection:
        backend = connection.info.backend_pid
        old = kill(platform, "postgres")
        until(lambda: not os.path.exists(f"/proc/{backend}"), what="the backend gone")  # noqa: PTH110
        until(back_with_new_pid(platform, "postgres", old))
        connection.close()


def test_a_port_taken_by_a_stranger_is_named_and_taken_back_when_it_is_free(platform: Platform) -> None:
    port = platform.ports["valkey"]
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    old = kill(platform, "valkey")

    def quicker_than_the_supervisor() -> bool:
        nonlocal old
        if occupy(stranger, port):
            return True
        if back_with_new_pid(platform, "valkey", old)():
            old = kill(platform, "valkey")
        return False

    with stranger:
        until(quicker_than_the_supervisor, limit=60, what="the stranger on the port")
        until(lambda: "taken by another program" in platform.process("valkey").detail)
        assert not platform.report().ready
    until(back_with_new_pid(platform, "valkey", old), what="valkey ready on its own port")


def occupy(stranger: socket.socket, port: int) -> bool:
    try:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
    except OSError:
        return False
    return True


def test_a_hung_server_is_reported_and_restarted() -> None:
    with state_folder() as layout:
        (layout.home / "config.toml").write_text("[platform]\nhang_after = 8.0\n")
        with started(layout, ["valkey"]) as platform:
            hung = platform.process("valkey").pid
            assert hung is not None
            os.kill(hung, signal.SIGSTOP)

            until(lambda: platform.process("valkey").state == "unready", limit=20, what="hang reported")
            until(back_with_new_pid(platform, "valkey", hung), limit=30, what="hung server replaced")

            assert "hung" in platform.process("valkey").last_exit


def test_services_reach_only_their_own_part_of_the_data_servers(platform: Platform) -> None:
    with valkey_client(platform) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.set("retrieval:stolen", 1)
    with (
        redis.Redis(port=platform.ports["valkey"]) as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()
    with (
        psycopg.connect(platform.postgres_conninfo("session")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("create table public.mine (value text)")


def test_no_service_role_can_pass_over_row_level_security(platform: Platform) -> None:
    with psycopg.connect(platform.postgres_conninfo("postgres")) as connection:
        rows = connection.execute(
            "select rolname from pg_roles where rolname not like 'pg\\_%' and (rolsuper or rolbypassrls)"
        ).fetchall()
    assert rows == [("postgres",)]


def test_no_secret_appears_in_a_log_or_an_argument_list(platform: Platform) -> None:
    secrets = [path.read_text() for path in platform.layout.secrets.glob("*.password")]
    texts = [path.read_text("utf-8", "replace") for path in platform.layout.logs.iterdir()]
    for process in platform.report().processes:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:  # noqa: PTH123
            texts.append(file.read().decode())
    texts.append(json.dumps([process.detail for process in platform.report().processes]))
    assert len(secrets) >= 8
    assert not [secret for secret in secrets for text in texts if secret in text]
