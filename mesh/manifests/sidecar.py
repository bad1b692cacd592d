"""Sidecar (https://istio.io/latest/docs/reference/config/networking/sidecar/)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from mesh.manifests.common import REGISTRY_ONLY, LabelsSelector, OutboundTrafficPolicy, SidecarPort
from mesh.manifests.destination_rule import ConnectionPoolSettings
from mesh.manifests.message import Message

_OWN_PORTS = "listeners have ports of their own here, as NONE has it: nothing captures traffic"


class CaptureMode(enum.Enum):
    """How traffic reaches a listener."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioIngressListener(Message):
    """A port on which a sidecar takes calls for its application."""

    passed_over: ClassVar = {"capture_mode": _OWN_PORTS}
    rejected: ClassVar = {
        "tls": "sidecars take mutual TLS of the mesh, as PeerAuthentication says: write a Gateway"
    }

    port: SidecarPort | None = None
    bind: str | None = None
    capture_mode: CaptureMode | None = None
    default_endpoint: str | None = None
    """`127.0.0.1:port`, `0.0.0.0:port` or `unix:///path`."""
    connection_pool: ConnectionPoolSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioEgressListener(Message):
    """A port on which a sidecar takes calls of its application."""

    passed_over: ClassVar = {"capture_mode": _OWN_PORTS}

    port: SidecarPort | None = None
    bind: str | None = None
    capture_mode: CaptureMode | None = None
    hosts: tuple[str, ...] = ()
    """`namespace/host`, where the namespace may be `.`, `*` or `~` and the host `*` or `*.suffix`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar(Message):
    """What the sidecars of some workloads listen on and see."""

    passed_over: ClassVar = {"outbound_traffic_policy": REGISTRY_ONLY}

    workload_selector: LabelsSelector | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
