"""Chooses loopback ports and remembers them, so that a platform keeps its addresses across restarts."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable
from pathlib import Path

from mesh.local.files import write_json

_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `port` of a loopback address now.

    SO_REUSEADDR is set as servers set it, so connections in TIME_WAIT do not count as taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(
    names: Iterable[str], recorded: dict[str, int], *, rng: random.Random | None = None
) -> dict[str, int]:
    """A free port for each name: the recorded one when it is free, else a new one.

    New ports lie below the kernel's ephemeral range: inside it, an outgoing connection of any program
    could take the port of a server that is just restarting.
    """
    rng = rng or random.Random()  # noqa: S311 - a port is no secret
    low, high = _candidates()
    chosen: dict[str, int] = {}
    for name in names:
        port = recorded.get(name, 0)
        if not port or port in chosen.values() or not is_free(port):
            avoid = set(chosen.values()) | set(recorded.values())
            port = _find(rng, low, high, avoid)
        chosen[name] = port
    return chosen


def load(path: Path) -> dict[str, int]:
    """Recorded ports; empty when there are none or the file is damaged (they are then chosen anew)."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {k: v for k, v in document.items() if type(v) is int and 0 < v < 65536}


def save(path: Path, ports: dict[str, int]) -> None:
    """Record `ports` for the next start, and for clients on this machine."""
    write_json(path, ports, mode=0o644)


def _candidates() -> tuple[int, int]:
    try:
        ephemeral = int(_RANGE_FILE.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = 32768
    return (20000, min(ephemeral, 32768)) if ephemeral >= 22000 else (20000, 32000)


def _find(rng: random.Random, low: int, high: int, avoid: set[int]) -> int:
    for _ in range(2000):
        port = rng.randrange(low, high)
        if port not in avoid and is_free(port):
            return port
    raise OSError(f"no free loopback port between {low} and {high}")
