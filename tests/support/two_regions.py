"""The manifests in istio/ over two regions, as `causeway up` lays them out; nothing of it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mesh.local import topology_files
from mesh.local.addresses import Network
from mesh.local.names import DEFAULT_REGIONS, DataPlane, Shape
from mesh.local.settings import ROOT
from mesh.local.workloads import address_names, workloads
from mesh.manifests.read import Text
from mesh.simulate.load import read_regions
from mesh.simulate.world import World

ISTIO = ROOT / "istio"
ISSUER = "https://issuer.causeway.local"
_KEYS = json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}]})


def topology(draining: Sequence[str] = ()) -> list[Text]:
    """Where the workloads run; which regions drain."""
    shape = Shape(DEFAULT_REGIONS, DataPlane.SIDECAR)
    names = address_names(shape)
    network = Network("127.66.1", {name: number for number, name in enumerate(names, 2)})
    ports = {name: 40000 + number for number, name in enumerate(names)}
    files = topology_files.render(workloads(shape, network, ports), ISSUER, _KEYS, draining)
    return [Text(name, content) for name, content in files.items()]


def mesh(*more: Path | Text, draining: Sequence[str] = (), base: Path = ISTIO / "base") -> World:
    """Both regions, each with its own overlay."""
    return read_regions(
        {
            region: [
                ISTIO / "mesh.yaml",
                base,
                ISTIO / "overlays" / region / "gateway.yaml",
                *topology(draining),
                *more,
            ]
            for region in DEFAULT_REGIONS
        }
    )
