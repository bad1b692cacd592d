"""Starts children so that none can outlive its supervisor unnoticed.

Each child leads its own session (so its whole family can be signalled), receives a signal when the supervisor
dies (`shim`), and carries a mark in its environment by which `leftovers` recognises it and its descendants.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from mesh.local.spec import Account, SetupError

MARK = "MESH_LOCAL_OWNER"
"""Environment key whose value is the state folder of the platform a process belongs to."""

_SHIM = Path(__file__).with_name("shim.py")
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONDONTWRITEBYTECODE")


def base_environ(home: Path) -> dict[str, str]:
    """The environment every child starts from: little of the user's own, and the mark."""
    kept = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **kept, "CAUSEWAY_HOME": str(home), MARK: str(home)}


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: IO[bytes] | int,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> asyncio.subprocess.Process:
    """Start `argv` as a child in a session of its own, with both outputs going to `output`."""
    shim = [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), str(int(death_signal))]
    user = [str(account.uid), str(account.gid)] if account else ["-1", "-1"]
    return await asyncio.create_subprocess_exec(
        *shim,
        *user,
        "--",
        *argv,
        env={f"SHIM_{key}" if key.startswith("LD_") else key: value for key, value in env.items()},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def run_checked(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, account: Account | None = None
) -> None:
    """Run a helper program to its end. Raises SetupError with its last output when it fails."""
    child = await spawn(
        argv, env=env, cwd=cwd, output=asyncio.subprocess.PIPE, account=account, death_signal=signal.SIGKILL
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            kill_session(child.pid)
            await child.wait()
    if child.returncode:
        tail = output.decode("utf-8", "replace").strip()[-800:]
        raise SetupError(f"{Path(argv[0]).name} failed ({describe_exit(child.returncode)}): {tail}")


def kill_session(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the process group that `pid` leads; nothing happens when it is empty."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def describe_exit(returncode: int) -> str:
    """How a process ended, in words, from its `returncode` (negative: killed by that signal)."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"
