"""A control plane that serves the manifests of a recorded case."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from golden import recorded
from support.ads_envoy import free_port

from mesh.control.app import ControlPlane
from mesh.control.config import MeshConfig
from mesh.control.wiring import pipeline
from mesh.pki import bootstrap
from mesh.pki.gateways import GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity
from services.common.config import Address

REGION = "us-west-2"


class GoldenSite:
    """A control plane with the manifests of a case."""

    def __init__(self, folder: Path, case: str) -> None:
        self.folder = folder
        self.pki = folder / "pki"
        self.port = free_port()
        manifests = folder / "manifests"
        manifests.mkdir()
        text = (recorded.FOLDER / f"{case}{recorded.IN}").read_text("utf-8")
        (manifests / f"{case}.yaml").write_text(text, "utf-8")
        root = RootAuthority(self.pki, "cluster.local")
        root.open_or_create()
        root.ensure_region(REGION)
        self._config = MeshConfig(
            listen=Address("127.0.0.1", self.port),
            region=REGION,
            manifests=str(manifests),
            pki=self.pki,
            status=folder / "status.json",
        )

    def control(self) -> ControlPlane[Any, Any]:
        """The control plane, with the real steps."""
        return ControlPlane(self._config, pipeline())

    def identity(self, identity: Identity) -> Path:
        """The folder with a bootstrap identity."""
        folder = self.folder / "identities" / identity.service_account
        bootstrap.ensure(RegionalAuthority.open(self.pki, REGION), identity, folder)
        return folder

    def certify(self, credentials: Iterable[str]) -> None:
        """Certificates for a gateway, and whom it accepts."""
        certificates = GatewayCertificates(self.pki, REGION)
        for credential in credentials:
            name = credential.removeprefix("kubernetes://")
            if name.endswith("-cacert"):
                certificates.path(name).write_bytes(certificates.trust.read_bytes())
            else:
                certificates.ensure(name, [f"{name}.causeway.local"])

    def status(self, name: str) -> dict[str, Any]:
        """What the control plane says of a proxy."""
        known = json.loads((self.folder / "status.json").read_text())["proxies"]
        found: list[dict[str, Any]] = [p for p in known if name == f"{p['namespace']}/{p['name']}"]
        assert found, f"the status does not speak of {name} yet"
        return found[0]
