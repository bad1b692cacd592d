"""Valkey: writes its configuration and its users.

`appendfsync everysec`: each write reaches the kernel (write(2)) before the client is answered, so
acknowledged data survives the death of the process; the loss of power may cost the last second, of a queue
and quotas whose truth is in PostgreSQL.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mesh.local.files import write_atomic
from mesh.local.layout import Layout
from mesh.local.passwords import ensure_password

SERVICE_USERS = ("policy", "retrieval")
PROBE_USER = "supervisor"


def password_file(layout: Layout, user: str) -> Path:
    """Where the password of `user` is kept."""
    return layout.password(f"valkey-{user}")


def url(port: int, user: str) -> str:
    """Connection URL of `user`, without its password."""
    return f"redis://{user}@127.0.0.1:{port}/0"


def render_config(port: int) -> str:
    """valkey.conf. Pure."""
    lines = (
        "bind 127.0.0.1",
        "protected-mode yes",
        f"port {port}",
        "daemonize no",
        'logfile ""',
        # Relative to the folder it is started in, which may have any name.
        "dir .",
        "aclfile users.acl",
        "appendonly yes",
        "appendfsync everysec",
        # A killed server may leave the last command half written; starting without it loses nothing
        # acknowledged.
        "aof-load-truncated yes",
        'save ""',
        "maxmemory 256mb",
        # Evicting a queue entry or a quota silently would be a lie; a write that does not fit is refused
        # instead.
        "maxmemory-policy noeviction",
    )
    return "\n".join(lines) + "\n"


def render_users(passwords: dict[str, str]) -> str:
    """The ACL file: each service may touch only keys and channels that begin with its name.

    `passwords` maps user to password; only their SHA-256 is written.
    """
    lines = ["user default off resetkeys resetchannels -@all"]
    for user, password in passwords.items():
        digest = hashlib.sha256(password.encode()).hexdigest()
        if user == PROBE_USER:
            rules = "resetkeys resetchannels -@all +ping"
        else:
            rules = f"resetkeys ~{user}:* resetchannels &{user}:* +@all -@admin -@dangerous"
        lines.append(f"user {user} on resetpass #{digest} {rules}")
    return "\n".join(lines) + "\n"


async def prepare(layout: Layout, port: int) -> None:
    """Write the configuration and the users."""
    folder = layout.data("valkey")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    passwords = {user: ensure_password(password_file(layout, user)) for user in (*SERVICE_USERS, PROBE_USER)}
    write_atomic(folder / "users.acl", render_users(passwords).encode())
    write_atomic(folder / "valkey.conf", render_config(port).encode())
