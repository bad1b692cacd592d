from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.local import topology_files
from mesh.local.addresses import Network
from mesh.local.names import DEFAULT_REGIONS, DataPlane, Shape
from mesh.local.workloads import address_names, workloads
from mesh.manifests import Manifests, Text, read

ISTIO = Path(__file__).parents[3] / "istio"
KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "test"}]}'
ONLY_IN_A_CLUSTER = ("ServiceEntry", "Sidecar", "RequestAuthentication")


@pytest.fixture(scope="session")
def topology() -> list[Text]:
    """What the supervisor would write for both regions."""
    shape = Shape(DEFAULT_REGIONS, DataPlane.SIDECAR)
    network = Network("127.70.1", {name: number for number, name in enumerate(address_names(shape), 2)})
    ports = {member.name: 41000 + number for number, member in enumerate(shape.members)}
    running = workloads(shape, network, ports)
    files = topology_files.render(running, "https://issuer.causeway.local", KEYS)
    return [Text(name, text) for name, text in files.items()]


@pytest.fixture(scope="session")
def cluster() -> Callable[[str], Manifests]:
    """What a cluster applies: `clusters/us-west-2`, `examples/canary`."""

    def read_cluster(name: str) -> Manifests:
        return read([ISTIO / "mesh.yaml", ISTIO / name])

    return read_cluster


@pytest.fixture(scope="session")
def local(topology: list[Text]) -> Callable[[str], Manifests]:
    """What a local control plane reads: of a region, or of an example with this machine's topology."""

    def read_local(name: str) -> Manifests:
        if (ISTIO / "overlays" / name).is_dir():
            return read([ISTIO / "mesh.yaml", ISTIO / "overlays" / name, *topology])
        applied = read([ISTIO / "mesh.yaml", ISTIO / "examples" / name])
        shared = tuple(one for one in applied if one.kind not in ONLY_IN_A_CLUSTER)
        return Manifests(shared + read(topology).all)

    return read_local
