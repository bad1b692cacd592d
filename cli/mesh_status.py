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
from mesh.local import sync
from mesh.local.sync import MeshSync


def run(options: argparse.Namespace) -> int:
    """Print it; 0 when every proxy is synced and no manifest is wrong, 1 otherwise."""
    regions = list(platform_folders())
    mesh = sync.read(layout(), regions)
    if not mesh.proxies and not mesh.problems:
        raise CommandError(
            "no control plane is running: start the platform with `causeway up`", exits.NOT_RUNNING
        )
    synced = all(item.state == "synced" for item in mesh.proxies.values()) and not mesh.problems
    if options.json:
        proxies = [{"proxy": name, **asdict(item)} for name, item in sorted(mesh.proxies.items())]
        print(json.dumps({"synced": synced, "proxies": proxies, "problems": list(mesh.problems)}, indent=2))
    else:
        print("\n".join(lines(mesh)))
    return exits.OK if synced else exits.FAILURE


def lines(mesh: MeshSync) -> list[str]:
    """A row for each proxy, and what is wrong with the manifests."""
    rows = [["PROXY", "STATE", "CONTROL PLANE", "REASON"]]
    rows += [
        [name, item.state, item.control_plane, item.reason] for name, item in sorted(mesh.proxies.items())
    ]
    return [*table(rows), *(f"✗ {problem}" for problem in mesh.problems)]
