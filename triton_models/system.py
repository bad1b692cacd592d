"""What Triton needs from the operating system, checked before it fails with a linker's message."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPackage:
    """A system library that is not there, and how to get it."""

    library: str
    reason: str
    commands: dict[str, str]
    """What installs it, by the distribution's ID in /etc/os-release."""

    instead: str = ""
    """What helps where no package does."""


def missing_system_packages() -> list[MissingPackage]:
    """System libraries Triton cannot start without; empty when all is well."""
    if python_library_folder() is not None or _loads_from_default_path():
        return []
    return [python_package(f"{sys.version_info.major}.{sys.version_info.minor}", sys.base_prefix)]


def python_package(version: str, prefix: str) -> MissingPackage:
    """What brings the shared library of the Python that is installed at ``prefix``."""
    ours = prefix != "/usr"
    return MissingPackage(
        library=_python_library(),
        reason="Triton's Python backend embeds Python and needs it as a shared library",
        commands={}
        if ours
        else {
            "debian": f"sudo apt-get install libpython{version}",
            "fedora": f"sudo dnf install python{version}-libs",
            "arch": "sudo pacman -S python",
        },
        instead="build this Python with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)"
        if ours
        else "",
    )


def python_library_folder() -> Path | None:
    """The folder that holds this interpreter's shared library, or ``None`` when it was built without one."""
    candidates = [
        sysconfig.get_config_var("LIBDIR"),
        sysconfig.get_config_var("LIBPL"),
        f"{sys.base_prefix}/lib",
        f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
        "/usr/lib64",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / _python_library()).exists():
            return Path(candidate)
    return None


def _python_library() -> str:
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def _loads_from_default_path() -> bool:
    try:
        ctypes.CDLL(_python_library())
    except OSError:
        return False
    return True
