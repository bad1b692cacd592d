"""`causeway mesh status`: whether every proxy has the configuration that it should have."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from cli import exits
from cli.exits import CommandError
from cli.lifecycle import layout
from cli.mesh_world import platform_folders
from cli.render import table
from mesh.local import report, sync
from mesh.local.regions import Wish
from mesh.local.sync import MeshSync


def run(options: argparse.Namespace) -> int:
    """Print it; 0 when every proxy of the platform is synced and nothing is wrong, 1 otherwise, 3 when no
    control plane runs."""
    regions = list(platform_folders())
    found = report.read(layout())
    stopped = {name for name, status in found.regions.items() if status.wish == Wish.STOP}
    wanted = [name for name in regions if name not in stopped]
    # What is stopped on purpose has nothing to be in step with.
    processes = {process.name for process in found.processes if process.region not in stopped}
    mesh = sync.read(layout(), wanted, processes or None)
    if len(mesh.silent) == len(wanted):
        raise CommandError(
            "no control plane is running: start the platform with `causeway up`", exits.NOT_RUNNING
        )
    if options.json:
        print(json.dumps(_document(mesh), indent=2))
    else:
        print("\n".join(lines(mesh)))
    return exits.OK if mesh.synced else exits.FAILURE


def _document(mesh: MeshSync) -> dict[str, object]:
    return {
        "synced": mesh.synced,
        "proxies": [{"proxy": name, **asdict(item)} for name, item in sorted(mesh.proxies.items())],
        "problems": list(mesh.problems),
        "certificates": list(mesh.certificates),
        "silent_control_planes": list(mesh.silent),
    }


def lines(mesh: MeshSync) -> list[str]:
    """A row for each proxy, and what is wrong with manifests, certificates and control planes."""
    rows = [["PROXY", "STATE", "CONTROL PLANE", "REASON"]]
    rows += [
        [name, item.state, item.control_plane, item.reason] for name, item in sorted(mesh.proxies.items())
    ]
    wrong = [f"the control plane of {region} does not run" for region in mesh.silent]
    wrong += [*mesh.problems, *(f"certificate: {problem}" for problem in mesh.certificates)]
    return [*table(rows), *(f"✗ {problem}" for problem in wrong)]
