"""The operating system processes behind a model, when Triton runs on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_STUB = "triton_python_backend_stub"


def stub_processes(repository: Path, model: str) -> list[int]:
    """Process ids of a model's stubs: Triton starts them with the path of the model's source.

    ``repository`` is the platform's own, so that a second platform's processes are never among them.
    """
    source = os.fsencode(repository / model / "1" / "model.py")
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        if len(arguments) > 1 and arguments[0].endswith(_STUB.encode()) and arguments[1] == source:
            found.append(int(entry.name))
    return sorted(found)


def kill(pids: Iterable[int]) -> None:
    """Ends processes that nothing else ends."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
