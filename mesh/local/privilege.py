"""Which user a server that refuses root runs as, and whether that user can reach a path."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from mesh.local.spec import Account, SetupError


def unprivileged_account() -> Account | None:
    """None when we are not root; else `nobody`. Raises SetupError when the user to be has no name."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise SetupError(
                f"PostgreSQL needs a user with a name, and user {os.geteuid()} has none in /etc/passwd"
            ) from error
        return None
    try:
        found = pwd.getpwnam("nobody")
    except KeyError as error:
        raise SetupError(
            "running as root needs a user called nobody for PostgreSQL, and there is none"
        ) from error
    return Account(found.pw_uid, found.pw_gid)


def can_reach(path: Path, account: Account) -> bool:
    """Whether `account` may cross every folder down to `path`, by permission bits alone.

    Folders that do not exist yet count as reachable: they will be made so.
    """
    resolved = Path(os.path.realpath(path))
    return all(_may_cross(folder, account) for folder in (*reversed(resolved.parents), resolved))


def _may_cross(folder: Path, account: Account) -> bool:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
