"""From manifests to every proxy's snapshot: `python -m loadtest.bench.peers.control_plane_full SOURCE…`.

The control plane's own steps, one after another, in a process in which nothing else runs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from loadtest.bench.peers.loop import serve
from mesh.control.memory import collect_seldom
from mesh.control.wiring import pipeline
from mesh.pki.secrets import IDENTITY, TRUST
from mesh.xds.protos import secret_pb2
from mesh.xds.resources import SECRET
from mesh.xds.snapshot import Packer

STEPS = ("read", "index", "resolve", "translate", "pack", "check")


def measure(sources: list[Path]) -> dict[str, Any]:
    """Seconds of each step with nothing kept from before, and how many proxies there were."""
    steps = pipeline()
    packer = Packer()
    spent = dict.fromkeys(STEPS, 0.0)
    latest = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal latest
        now = time.perf_counter()
        spent[step] += now - latest
        latest = now

    manifests = steps.read(sources, None)
    lap("read")
    index = steps.index(manifests, None)
    proxies = list(steps.proxies(index))
    lap("index")
    # In the place of each proxy's own, which are issued when it connects.
    secrets = {name: secret_pb2.Secret(name=name) for name in (IDENTITY, TRUST)}
    snapshots = []
    for proxy in proxies:
        view = steps.resolve(index, proxy)
        lap("resolve")
        resources = steps.translate(view)
        lap("translate")
        snapshot = packer.pack(resources.with_type(SECRET, secrets))
        lap("pack")
        if problems := snapshot.inconsistencies():
            return {"error": f"{proxy.name}: {problems[0]}"}
        lap("check")
        # All are held at once, as in a control plane with all proxies connected.
        snapshots.append(snapshot)
    return {"seconds": spent, "proxies": len(snapshots), "total": sum(spent.values())}


def main(sources: list[Path]) -> None:
    """Answers each request with a whole measurement."""
    collect_seldom()  # As the control plane does.
    serve(lambda _: measure(sources))


if __name__ == "__main__":
    main([Path(source) for source in sys.argv[1:]])
