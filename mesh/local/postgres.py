"""PostgreSQL: makes the cluster, writes its configuration, creates the platform's roles and database.

Passwords never travel in clear: initdb reads one from a file, and roles get a SCRAM verifier computed here
(as psql's \\password does), so no password can reach a log, an argument list or `pg_stat_activity`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from mesh.local.files import write_atomic
from mesh.local.layout import Layout
from mesh.local.passwords import ensure_password
from mesh.local.placement import Placement
from mesh.local.spawn import base_environ, run_checked
from mesh.local.spec import Account, SetupError

DATABASE = "causeway"
OWNER = "causeway_owner"
"""Owns the tables and runs migrations; neither superuser nor exempt from row-level security."""
SERVICE_ROLES = ("session", "retrieval", "retrieval_relay", "policy")
SUPERUSER = "postgres"
MAJOR = "17"


def password_file(layout: Layout, role: str) -> Path:
    """Where the password of `role` is kept."""
    return layout.password(f"postgres-{role}")


def dsn(port: int, role: str, database: str = DATABASE) -> str:
    """Connection string of `role`, without its password."""
    return f"host=127.0.0.1 port={port} dbname={database} user={role}"


def server_settings(port: int) -> Mapping[str, str]:
    """The whole postgresql.conf. Pure."""
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "100",
        "shared_buffers": "128MB",
        # An acknowledged transaction must survive the loss of power, not only of the process.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_level": "replica",
        "max_wal_size": "512MB",
        # Files under the data folder: a killed server then leaves nothing in /dev/shm.
        "dynamic_shared_memory_type": "mmap",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # Rows hold what tenants said: neither parameters nor the values in error details may be logged.
        "log_error_verbosity": "terse",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_min_duration_statement": "1s",
    }


def render(settings: Mapping[str, str]) -> str:
    """postgresql.conf as text, every value quoted."""
    quoted = ((key, value.replace("'", "''")) for key, value in settings.items())
    return "# Written at every start; changes here are lost.\n" + "".join(f"{k} = '{v}'\n" for k, v in quoted)


async def prepare(layout: Layout, placement: Placement, port: int, account: Account | None) -> None:
    """Make the cluster when there is none, and write its configuration.

    initdb works in a folder of its own that is renamed when complete: one that was interrupted leaves no half
    cluster. Raises SetupError when the data was written by another major version.
    """
    placement.data.mkdir(parents=True, exist_ok=True)
    _give(placement.data, account)
    cluster = placement.data / "cluster"
    if not cluster.exists():
        await _initdb(layout, placement, cluster, account)
    version = (cluster / "PG_VERSION").read_text("ascii").strip()
    if version != MAJOR:
        raise SetupError(
            f"{cluster} was written by PostgreSQL {version}; this is {MAJOR}: dump and restore it"
        )
    for name, text in (
        ("postgresql.conf", render(server_settings(port))),
        ("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n"),
    ):
        write_atomic(cluster / name, text.encode())
        _give(cluster / name, account)


async def _initdb(layout: Layout, placement: Placement, cluster: Path, account: Account | None) -> None:
    partial = cluster.with_name("cluster.partial")
    shutil.rmtree(partial, ignore_errors=True)
    handed = placement.data / "initdb.password"
    write_atomic(handed, ensure_password(password_file(layout, SUPERUSER)).encode())
    _give(handed, account)
    argv = [
        str(placement.install / "bin/initdb"),
        f"--pgdata={partial}",
        f"--username={SUPERUSER}",
        f"--pwfile={handed}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
        # One syncfs(2) instead of an fsync for each of 1300 files: as durable, and seconds faster on a slow
        # disk.
        "--sync-method=syncfs",
        # Else an interrupted initdb leaves segments in /dev/shm whose names nobody knows.
        "--set=dynamic_shared_memory_type=mmap",
    ]
    try:
        await run_checked(argv, env=base_environ(layout.home), cwd=placement.data, account=account)
    finally:
        handed.unlink(missing_ok=True)
    partial.rename(cluster)


async def bootstrap(layout: Layout, port: int) -> None:
    """Create roles and database, or bring them back to what they should be. Idempotent.

    Raises OSError when the server goes away meanwhile.
    """
    try:
        async with await _connect(layout, port, "postgres") as connection:
            for role in (OWNER, *SERVICE_ROLES):
                await _ensure_role(connection, role, ensure_password(password_file(layout, role)))
            await _ensure_database(connection)
        async with await _connect(layout, port, DATABASE) as connection:
            await _restrict(connection)
    except psycopg.OperationalError as error:
        raise OSError(f"bootstrap: {error}") from error


async def _connect(layout: Layout, port: int, database: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    password = ensure_password(password_file(layout, SUPERUSER))
    return await psycopg.AsyncConnection.connect(
        dsn(port, SUPERUSER, database), password=password, autocommit=True
    )


async def _ensure_role(
    connection: psycopg.AsyncConnection[tuple[object, ...]], role: str, password: str
) -> None:
    cursor = await connection.execute("select rolpassword from pg_authid where rolname = %s", (role,))
    row = await cursor.fetchone()
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    attributes = sql.SQL(
        "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password {}"
    ).format(sql.Literal(verifier))
    verb = sql.SQL("create role" if row is None else "alter role")
    await connection.execute(sql.SQL("{} {} {}").format(verb, sql.Identifier(role), attributes))


async def _ensure_database(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    cursor = await connection.execute("select 1 from pg_database where datname = %s", (DATABASE,))
    if await cursor.fetchone() is None:
        statement = sql.SQL("create database {} owner {}").format(
            sql.Identifier(DATABASE), sql.Identifier(OWNER)
        )
        await connection.execute(statement)


async def _restrict(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    """Only the platform's roles may connect, and only the owner may make things in `public`."""
    database, owner = sql.Identifier(DATABASE), sql.Identifier(OWNER)
    roles = sql.SQL(", ").join(sql.Identifier(role) for role in SERVICE_ROLES)
    for statement in (
        sql.SQL("revoke all on database {} from public").format(database),
        sql.SQL("grant connect on database {} to {}").format(database, roles),
        sql.SQL("revoke all on schema public from public"),
        sql.SQL("grant all on schema public to {}").format(owner),
    ):
        await connection.execute(statement)


def _give(path: Path, account: Account | None) -> None:
    path.chmod(0o700 if path.is_dir() else 0o600)
    if account is not None:
        os.chown(path, account.uid, account.gid)
