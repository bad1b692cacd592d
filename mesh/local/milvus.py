"""Milvus Lite 2.5.1: its C++ server is run directly, on TCP, instead of through the wheel's Python
launcher."""

from __future__ import annotations

from pathlib import Path

from mesh.local.layout import Layout


def command(binaries: Path, folder: Path, port: int) -> tuple[str, ...]:
    """Arguments: database file, address, log level. The file's name may not be longer than 36 characters."""
    return (str(binaries / "milvus"), str(folder / "milvus.db"), f"127.0.0.1:{port}", "ERROR")


def environment(binaries: Path) -> dict[str, str]:
    """The server finds its libraries only by this path, and would leave log files in the temporary folder."""
    return {"LD_LIBRARY_PATH": str(binaries), "GLOG_logtostderr": "1"}


async def prepare(layout: Layout) -> None:
    """Make the data folder."""
    folder = layout.data("milvus")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
