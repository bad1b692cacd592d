"""A control plane in this process, fed by a folder of JSON, with an authority of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.ads_envoy import free_port

from fakes.mesh_pipeline import FakeIndex, FakeManifests, FakeSteps
from mesh.control.app import ControlPlane
from mesh.control.config import MeshConfig
from mesh.ir.view import Proxy, ProxyKind
from mesh.pki import bootstrap
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity
from mesh.xds.nodes import node_id
from mesh.xds.server import Limits
from services.common.config import Address

REGION = "us-west-2"

Control = ControlPlane[FakeManifests, FakeIndex]


class Mesh:
    """What a control plane needs, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = folder / "pki"
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        self.root = RootAuthority(self.pki, "cluster.local")
        self.root.open_or_create()
        self.root.ensure_region(REGION)
        self.steps = FakeSteps()
        self.port = free_port()
        self.write("proxies", {"proxies": [{"name": "a"}, {"name": "b"}]})
        for name in "ab":
            self.resources(name)

    def control(
        self,
        leaf_life: timedelta = timedelta(hours=1),
        limits: Limits = Limits(),  # noqa: B008
    ) -> Control:
        """A control plane; always at the same address."""
        config = MeshConfig(
            listen=Address("127.0.0.1", self.port),
            region=REGION,
            manifests=str(self.manifests),
            pki=self.pki,
            status=self.folder / "status.json",
            leaf_life=leaf_life,
            drain=timedelta(seconds=0.5),
        )
        return ControlPlane(config, self.steps.pipeline(), limits=limits)

    def status(self) -> Any:
        """What the status file says."""
        return json.loads((self.folder / "status.json").read_text())

    def proxy_status(self, name: str, kind: str = "sidecar") -> Any:
        """What it says of one proxy."""
        found = [p for p in self.status()["proxies"] if p["name"] == name and p["kind"] == kind]
        assert found, f"the status does not speak of {name} ({kind}) yet"
        return found[0]

    def write(self, name: str, document: dict[str, Any]) -> None:
        """A manifest, replaced in one step."""
        temporary = self.manifests / f".{name}"
        temporary.write_text(json.dumps(document))
        temporary.replace(self.manifests / f"{name}.json")

    def resources(self, name: str, **types: list[dict[str, Any]]) -> None:
        """All resources of a proxy: `CDS=[…], LDS=[…]`."""
        self.write(f"resources-{name}", {"resources": {name: types}})

    def identity(self, service_account: str, namespace: str = "causeway") -> Path:
        """The folder with a bootstrap identity."""
        folder = self.folder / "identities" / service_account
        authority = RegionalAuthority.open(self.pki, REGION)
        bootstrap.ensure(authority, Identity(namespace, service_account), folder)
        return folder

    @staticmethod
    def node(name: str, kind: ProxyKind = ProxyKind.SIDECAR) -> str:
        """The node id of a proxy."""
        return node_id(Proxy(name=name, namespace="causeway", kind=kind, service_account=name))
