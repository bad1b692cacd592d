"""A Kubernetes Service, as far as a service registry needs it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.manifests.message import IntOrString, Message, UInt32


class ServiceType(enum.Enum):
    """How a Service is reached."""

    ClusterIP = "ClusterIP"
    NodePort = "NodePort"
    LoadBalancer = "LoadBalancer"
    ExternalName = "ExternalName"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesServicePort(Message):
    """A port of a Service."""

    open_ended = True

    name: str | None = None
    port: UInt32 | None = None
    target_port: IntOrString | None = None
    """A number or the name of a container's port."""
    protocol: str | None = None
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Message):
    """A Service; what does not concern a registry is passed over."""

    open_ended = True

    ports: tuple[KubernetesServicePort, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    type: ServiceType | None = None
