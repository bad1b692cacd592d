"""WorkloadEntry and WorkloadGroup (https://istio.io/latest/docs/reference/config/networking/workload-entry/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.message import Int32, Message, OneOf, UInt32

_ASKED = "callers ask at the port that they call, and it must be one of the template's"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadEntry(Message):
    """One workload: where it is reached, and who it is. Also an endpoint of a ServiceEntry."""

    rejected: ClassVar = {
        "network": "all workloads reach one another directly: there are no networks behind gateways"
    }

    address: str | None = None
    """An IP address; a name where the ServiceEntry resolves by DNS."""
    ports: Mapping[str, UInt32] = field(default_factory=dict)
    """By the port names of the ServiceEntry."""
    labels: Mapping[str, str] = field(default_factory=dict)
    locality: str | None = None
    """`region/zone/subzone`."""
    weight: UInt32 | None = None
    service_account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta(Message):
    """Labels and annotations of the WorkloadEntries of a group."""

    passed_over: ClassVar = {"annotations": "no WorkloadEntry is made from a group"}

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPHealthCheckConfig(Message):
    """Connects."""

    rejected: ClassVar = {"host": "a workload is asked at its own address"}
    passed_over: ClassVar = {"port": _ASKED}

    port: UInt32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcHealthCheckConfig(Message):
    """Asks gRPC's health service."""

    passed_over: ClassVar = {"port": _ASKED}

    port: UInt32 | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessProbe(Message):
    """How the workloads of a group are asked whether they are well."""

    rejected: ClassVar = {
        "httpGet": "every server here speaks gRPC: write grpc, or tcpSocket",
        "exec": "proxies ask over the network: write grpc or tcpSocket",
        "initialDelaySeconds": "workloads are asked from their first moment",
    }
    passed_over: ClassVar = {"tcp_socket": "connecting is what is tried unless grpc is written"}
    one_ofs = (OneOf(("tcp_socket", "grpc"), required=True),)

    timeout_seconds: Int32 | None = None
    period_seconds: Int32 | None = None
    success_threshold: Int32 | None = None
    failure_threshold: Int32 | None = None
    tcp_socket: TCPHealthCheckConfig | None = None
    grpc: GrpcHealthCheckConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadGroup(Message):
    """What the workloads of a group have in common."""

    metadata: ObjectMeta | None = None
    template: WorkloadEntry | None = None
    probe: ReadinessProbe | None = None
