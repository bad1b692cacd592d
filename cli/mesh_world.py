"""The mesh that the `causeway mesh` commands look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli import exits
from cli.exits import CommandError
from cli.lifecycle import layout
from mesh.local.names import FRONT
from mesh.simulate.world import World


def load(paths: Sequence[str]) -> World:
    """From the manifests given, else from those of the platform in CAUSEWAY_HOME, region by region.

    Raises CommandError when there are none or they are wrong.
    """
    from mesh.manifests.errors import ManifestErrors
    from mesh.simulate.load import read_regions, read_world
    from mesh.translate import PatchError

    try:
        world = read_world([Path(path) for path in paths]) if paths else read_regions(platform_folders())
    except ManifestErrors as error:
        raise CommandError("\n".join(map(str, error.errors))) from error
    except PatchError as error:
        raise CommandError(str(error)) from error
    if not world.nodes:
        raise CommandError("these manifests have no proxy: no WorkloadEntry says that it has one")
    return world


def platform_folders() -> dict[str, Sequence[Path]]:
    """By region, what its control plane reads."""
    from mesh.local.services import manifests

    here = layout()
    prefix = "workloads-"
    found = sorted(path.stem.removeprefix(prefix) for path in here.topology.glob(f"{prefix}*.yaml"))
    regions = [name for name in found if name != FRONT]
    if not regions:
        raise CommandError(
            f"there is no topology in {here.topology}: run `causeway up`, or name the manifests to read",
            exits.NOT_RUNNING,
        )
    return {region: manifests(here, region) for region in regions}
