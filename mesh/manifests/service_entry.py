"""ServiceEntry (https://istio.io/latest/docs/reference/config/networking/service-entry/)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from mesh.manifests.common import LabelsSelector
from mesh.manifests.message import Message, UInt32
from mesh.manifests.workload import WorkloadEntry


class Location(enum.Enum):
    """Whether a service is part of the mesh."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(enum.Enum):
    """How the hosts of a service are found."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort(Message):
    """A port of a service."""

    number: UInt32 | None = None
    protocol: str | None = None
    name: str | None = None
    target_port: UInt32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry(Message):
    """A service of the registry."""

    refused_values: ClassVar = {
        "resolution": {"DYNAMIC_DNS": "hosts are not looked up for each request: write DNS"}
    }

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Location | None = None
    resolution: Resolution | None = None
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: LabelsSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
