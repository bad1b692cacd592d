"""Checks whether this machine can run a platform, before anything is started."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.local import addresses, binaries, placement, privilege, state
from mesh.local.layout import Layout
from mesh.local.ports import is_free
from mesh.local.spec import SetupError

OK, WARNING, FAILED = "ok", "warning", "failed"

_GB = 1_000_000_000
_ASIDE = "127.63.255.254"
"""A loopback address that no platform takes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    result: str
    """ok, warning (works, but look) or failed (needed, and missing)."""
    detail: str
    remedy: str = ""
    """What to do about it."""


def examine(layout: Layout) -> list[Finding]:
    """Every check, in the order in which a person would repair things."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _python,
        _processor,
        _servers,
        _triton_libraries,
        lambda: _user(layout),
        lambda: [judge_disk(shutil.disk_usage(_existing(layout.home)).free, str(layout.home))],
        lambda: [judge_shared_memory(_free_bytes(Path("/dev/shm")))],  # noqa: S108 - measured, not written
        lambda: [judge_memory(_available_memory())],
        lambda: [judge_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])],
        _loopback,
        lambda: [judge_ports([port for port in addresses.PORTS if not is_free(port, _ASIDE)])],
        lambda: _state(layout),
        _orphans,
    )
    return [finding for check in checks for finding in check()]


def to_json(findings: list[Finding]) -> dict[str, object]:
    """The document of `causeway doctor --json`."""
    return {
        "ok": all(finding.result != FAILED for finding in findings),
        "checks": [
            {"name": item.name, "result": item.result, "detail": item.detail, "remedy": item.remedy}
            for item in findings
        ],
    }


def judge_python(version: tuple[int, int], implementation: str) -> Finding:
    """Python 3.11 to 3.13, CPython."""
    text = f"{implementation} {version[0]}.{version[1]}"
    good = (3, 11) <= version <= (3, 13) and implementation == "CPython"
    remedy = "" if good else "install CPython 3.11, 3.12 or 3.13 and run `make setup` with it"
    return Finding("python", OK if good else FAILED, text, remedy)


def judge_disk(free: int, folder: str) -> Finding:
    """At least half a gigabyte; three are comfortable."""
    detail = f"{free / _GB:.1f} GB free for {folder}"
    if free < 0.5 * _GB:
        return Finding("disk", FAILED, detail, "free 0.5 GB at least, or set CAUSEWAY_HOME to another disk")
    return Finding("disk", OK if free >= 3 * _GB else WARNING, detail)


def judge_shared_memory(free: int) -> Finding:
    """Triton passes tensors to its model processes through /dev/shm."""
    detail = f"{free / 1e6:.0f} MB free in /dev/shm"
    if free < 48_000_000:
        remedy = "give /dev/shm 64 MB at least (in a container: --shm-size=256m)"
        return Finding("shared memory", FAILED, detail, remedy)
    return Finding("shared memory", OK, detail)


def judge_memory(available: int) -> Finding:
    """Two regions take about three and a half gigabytes, one place without a mesh half of that."""
    detail = f"{available / _GB:.1f} GB available"
    return Finding("memory", OK if available >= 4 * _GB else WARNING, detail)


def judge_open_files(limit: int) -> Finding:
    """Each stream and each database connection is a descriptor."""
    if limit == resource.RLIM_INFINITY:
        return Finding("open files", OK, "unlimited")
    if limit < 256:
        return Finding("open files", FAILED, f"limit {limit}", "raise it: `ulimit -n 4096`")
    return Finding("open files", OK if limit >= 1024 else WARNING, f"limit {limit}")


def judge_ports(taken: Sequence[int]) -> Finding:
    """The mesh needs its ports on loopback addresses of its own; a program that listens on all addresses has
    them."""
    if not taken:
        return Finding("mesh ports", OK, "free")
    named = ", ".join(str(port) for port in taken)
    remedy = "stop the program that listens there on all addresses (`ss -ltnp`), or bind it to 127.0.0.1"
    return Finding("mesh ports", FAILED, f"{named} taken on every loopback address", remedy)


def missing_libraries(listing: str) -> list[str]:
    """What the dynamic linker could not find, from its listing ("name => not found", or a whole message)."""
    lines = {line.strip() for line in listing.splitlines() if "not found" in line}
    return sorted(line.partition(" => not found")[0] for line in lines)


def distribution(release: str) -> list[str]:
    """The distribution's name and those it resembles, from the text of /etc/os-release."""
    values = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    names = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
    return [name.lower() for name in names]


def remedy_for(commands: Mapping[str, str], names: list[str]) -> str:
    """The command for this distribution, or all of them when it is not among them."""
    for name in names:
        if name in commands:
            return commands[name]
    return "; ".join(f"{name}: {command}" for name, command in commands.items())


def _python() -> list[Finding]:
    found = judge_python(sys.version_info[:2], platform.python_implementation())
    machine = f"{platform.system()} {platform.machine()}"
    good = machine == "Linux x86_64"
    remedy = "" if good else "the servers come as wheels for Linux on x86_64 only"
    return [found, Finding("platform", OK if good else FAILED, machine, remedy)]


def _processor() -> list[Finding]:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8").partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return []
    good = "avx2" in flags
    remedy = "" if good else "the models need a processor with AVX2 (any since about 2015)"
    cores = f"{os.cpu_count()} cores, {'with' if good else 'without'} AVX2"
    return [Finding("processor", OK if good else FAILED, cores, remedy)]


def _servers() -> list[Finding]:
    try:
        found = binaries.locate()
    except SetupError as error:
        return [Finding("servers", FAILED, str(error), "run `make setup` again")]
    programs: tuple[tuple[str, Path, dict[str, str]], ...] = (
        ("postgres", found.postgres / "bin/postgres", {}),
        ("valkey", found.valkey, {}),
        ("milvus", found.milvus / "milvus", {"LD_LIBRARY_PATH": str(found.milvus)}),
    )
    return [_loadable(name, path, env) for name, path, env in programs]


def _loadable(name: str, program: Path, env: Mapping[str, str]) -> Finding:
    """Ask the dynamic linker to list what the program needs without running it, as ldd(1) does."""
    try:
        listed = subprocess.run(
            [str(program)],
            env={"PATH": os.defpath, **env, "LD_TRACE_LOADED_OBJECTS": "1"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, FAILED, f"{program} cannot be run: {error}", "run `make setup` again")
    missing = missing_libraries(listed.stdout + listed.stderr)
    if missing:
        remedy = "install the system package that provides it, or use a newer distribution"
        return Finding(name, FAILED, f"misses {', '.join(missing)}", remedy)
    return Finding(name, OK, "its libraries are there")


def _triton_libraries() -> list[Finding]:
    from triton_models.server import missing_system_packages

    names = distribution(_read("/etc/os-release"))
    missing = [
        Finding(
            "triton",
            FAILED,
            f"misses {item.library}: {item.reason}",
            item.instead or remedy_for(item.commands, names),
        )
        for item in missing_system_packages()
    ]
    return missing or [Finding("triton", OK, "its libraries are there")]


def _user(layout: Layout) -> list[Finding]:
    try:
        account = privilege.unprivileged_account()
    except SetupError as error:
        return [Finding("user", FAILED, str(error), "add such a user to /etc/passwd")]
    if account is None:
        if not os.access(_existing(layout.home), os.W_OK | os.X_OK):
            remedy = "set CAUSEWAY_HOME to a folder of your own"
            return [Finding("user", FAILED, f"may not write to {_existing(layout.home)}", remedy)]
        return [Finding("user", OK, "not root")]
    closed = [str(path) for path in (layout.home, Path(sys.prefix)) if not privilege.can_reach(path, account)]
    if not closed and placement.recorded_outside(layout) is None:
        return [Finding("user", OK, "root; PostgreSQL runs as nobody")]
    outside = placement.recorded_outside(layout) or placement.OUTSIDE
    if not os.access(_existing(outside), os.W_OK):
        detail = f"PostgreSQL cannot run as root, nobody cannot reach {closed[0]}, and {outside} is read-only"
        return [
            Finding("user", FAILED, detail, "run as another user, or set CAUSEWAY_HOME to an open folder")
        ]
    return [Finding("user", OK, f"root; PostgreSQL runs as nobody, with its data below {outside}")]


def _loopback() -> list[Finding]:
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), 2),
        ):
            return [Finding("loopback", OK, "127.0.0.1 answers")]
    except OSError as error:
        return [Finding("loopback", FAILED, f"127.0.0.1: {error}", "bring the lo interface up")]


def _state(layout: Layout) -> list[Finding]:
    try:
        state.load(layout.state)
    except state.StateError as error:
        remedy = "the next `causeway up` or `causeway down` sets it aside and clears up"
        return [Finding("state", WARNING, str(error), remedy)]
    return [Finding("state", OK, str(layout.home))]


def _orphans() -> list[Finding]:
    found = placement.orphans()
    if not found:
        return []
    names = " ".join(str(path) for path in found)
    detail = f"{len(found)} folders below {placement.OUTSIDE} belong to deleted platforms"
    return [Finding("orphans", WARNING, detail, f"rm -r {names}")]


def _existing(path: Path) -> Path:
    for folder in (path, *path.parents):
        try:
            folder.stat()
        except OSError:
            continue
        return folder
    return Path("/")


def _free_bytes(path: Path) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _available_memory() -> int:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
