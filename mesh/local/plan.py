"""What was decided about one platform before anything starts: its shape, its ports, its addresses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.local import addresses
from mesh.local.addresses import Network
from mesh.local.names import FRONT, DataPlane, Shape, in_region
from mesh.local.workloads import SERVICE_PORTS, Workload, control_planes, service_host, workloads

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Plan:
    """One platform's decisions."""

    shape: Shape
    ports: Mapping[str, int]
    """Port at 127.0.0.1 by name (`Shape.port_names`)."""
    network: Network | None = None
    """Of the mesh; None without one."""

    def port(self, program: str, region: str = "") -> int:
        """Where at 127.0.0.1 a program listens."""
        return self.ports[in_region(program, region)]

    def address(self, program: str, region: str = "") -> str:
        """The loopback address of a workload. Raises KeyError when it has none of its own."""
        if self.network is None:
            raise KeyError(program)
        return self.network.address(in_region(program, region))

    def target(self, caller: str, peer: str, region: str) -> str:
        """Where `caller` dials the service `peer`: its own sidecar, which finds a host; or the peer
        itself."""
        match self.shape.data_plane:
            case DataPlane.NONE:
                return f"{LOOPBACK}:{self.port(peer, region)}"
            case DataPlane.PROXYLESS:
                return f"xds:///{service_host(peer)}:{SERVICE_PORTS[peer]}"
            case DataPlane.SIDECAR:
                port = addresses.EGRESS_TRITON if peer == "triton" else addresses.EGRESS
                return f"{self.address(caller, region)}:{port}"

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """Every workload with a proxy; none without a mesh."""
        return workloads(self.shape, self.network, self.ports) if self.network else ()

    def control_planes(self, region: str) -> tuple[str, ...]:
        """`address:port` of every control plane, that of `region` first."""
        return control_planes(self.shape, self.network, region) if self.network else ()

    @property
    def front(self) -> str:
        """`address:port` that people are given; empty without a mesh."""
        return f"{self.address(FRONT)}:{addresses.HTTPS}" if self.network else ""
