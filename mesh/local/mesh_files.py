"""Writes the files that the mesh's processes live on, and keeps them true while the platform runs.

Topology for the control planes; for each proxy its bootstrap, and the identity by which it is known to a
control plane (`identities`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

from mesh.local import envoy, proxyless, topology_files
from mesh.local.files import write_json
from mesh.local.identities import Identities
from mesh.local.issuer import ISSUER
from mesh.local.layout import Layout
from mesh.local.names import DataPlane, in_region
from mesh.local.plan import Plan
from mesh.local.spec import Hooks
from mesh.local.supervisor import Mesh
from mesh.local.workloads import CALLS, Workload

_log = logging.getLogger(__name__)

Prepare = Callable[[], Awaitable[None]]


class MeshFiles:
    """Everything below `home/mesh` that the supervisor writes."""

    def __init__(self, layout: Layout, plan: Plan, shared: Collection[str] = ()) -> None:
        """``shared``: services, as `gateway@us-west-2`, whose port several workers share."""
        self._shared = shared
        self._layout = layout
        self._plan = plan
        regions = plan.shape.regions
        self._identities = Identities(
            layout.pki,
            regions,
            {layout.proxy(workload.process): workload for workload in plan.workloads},
            {region: gateway_hosts(region) for region in regions},
        )

    def write(self) -> None:
        """All of it, as of now. Raises SetupError when the certificate authority cannot be used."""
        self.write_topology()
        self._layout.control_status("").parent.mkdir(exist_ok=True)
        for workload in self._plan.workloads:
            self._write_proxy(workload)
        self._identities.open()

    def write_topology(self, draining: Collection[str] = ()) -> None:
        """Where workloads run, and which regions drain."""
        jwks = self._layout.jwks.read_text("ascii")
        files = topology_files.render(self._plan.workloads, ISSUER, jwks, draining, self._shared)
        changed = topology_files.write(self._layout.topology, files)
        topology_files.write(self._layout.overlays, topology_files.gateways(self._plan.shape.regions))
        if changed:
            _log.info("topology: wrote %s", ", ".join(changed))

    def hooks(self) -> dict[str, Hooks]:
        """Work before a control plane starts, by process."""
        regions = self._plan.shape.regions
        return {in_region("control", region): Hooks(prepare=self._forget(region)) for region in regions}

    def mesh(self) -> Mesh:
        """What the supervisor has to know."""
        return Mesh(
            data_plane=str(self._plan.shape.data_plane),
            regions=self._plan.shape.regions,
            front=self._plan.front,
            mark_draining=self.write_topology,
            background=(self._identities.keep,),
        )

    def _forget(self, region: str) -> Prepare:
        async def prepare() -> None:
            # What an earlier control plane said must not count as this one's word.
            self._layout.control_status(region).unlink(missing_ok=True)

        return prepare

    def _write_proxy(self, workload: Workload) -> None:
        folder = self._layout.proxy(workload.process)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        control_planes = self._plan.control_planes(workload.region)
        write_json(folder / envoy.BOOTSTRAP_FILE, envoy.bootstrap(workload, control_planes, folder))
        if self._plan.shape.data_plane is DataPlane.PROXYLESS and workload.app in CALLS:
            write_json(folder / proxyless.FILE, proxyless.bootstrap(workload, control_planes, folder))


def gateway_hosts(region: str) -> dict[str, list[str]]:
    """The certificates a region's control plane hands to gateways: credential name to host names.

    Both regions' control planes have the front's, since it may ask either.
    """
    platform = topology_files.PLATFORM_HOST
    return {
        topology_files.INGRESS_CREDENTIAL: [platform, f"{region}.{platform}"],
        topology_files.FRONT_CREDENTIAL: [platform],
    }
