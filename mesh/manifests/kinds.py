"""Which documents are read, which are passed over, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.gateway import Gateway
from mesh.manifests.kubernetes import Service
from mesh.manifests.mesh_config import IstioOperator
from mesh.manifests.message import Message
from mesh.manifests.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from mesh.manifests.service_entry import ServiceEntry
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import Telemetry
from mesh.manifests.virtual_service import VirtualService
from mesh.manifests.workload import WorkloadEntry, WorkloadGroup


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document that is read."""

    group: str
    """Empty for Kubernetes' core."""
    versions: tuple[str, ...]
    name: str
    spec: type[Message]


_NETWORKING = ("v1", "v1beta1", "v1alpha3")
_SECURITY = ("v1", "v1beta1")

KINDS: tuple[Kind, ...] = (
    Kind("networking.istio.io", _NETWORKING, "VirtualService", VirtualService),
    Kind("networking.istio.io", _NETWORKING, "DestinationRule", DestinationRule),
    Kind("networking.istio.io", _NETWORKING, "Gateway", Gateway),
    Kind("networking.istio.io", _NETWORKING, "ServiceEntry", ServiceEntry),
    Kind("networking.istio.io", _NETWORKING, "WorkloadEntry", WorkloadEntry),
    Kind("networking.istio.io", _NETWORKING, "WorkloadGroup", WorkloadGroup),
    Kind("networking.istio.io", _NETWORKING, "Sidecar", Sidecar),
    Kind("networking.istio.io", ("v1alpha3",), "EnvoyFilter", EnvoyFilter),
    Kind("security.istio.io", _SECURITY, "PeerAuthentication", PeerAuthentication),
    Kind("security.istio.io", _SECURITY, "RequestAuthentication", RequestAuthentication),
    Kind("security.istio.io", _SECURITY, "AuthorizationPolicy", AuthorizationPolicy),
    Kind("telemetry.istio.io", ("v1", "v1alpha1"), "Telemetry", Telemetry),
    Kind("install.istio.io", ("v1alpha1",), "IstioOperator", IstioOperator),
    Kind("", ("v1",), "Service", Service),
)

REFUSED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (
            "networking.istio.io",
            "ProxyConfig",
        ): "settings of proxies are the same for all: write meshConfig.defaultConfig",
        ("extensions.istio.io", "WasmPlugin"): "proxies run no WebAssembly: write an EnvoyFilter",
        (
            "extensions.istio.io",
            "TrafficExtension",
        ): "proxies run no extensions of others: write an EnvoyFilter",
        ("", "List"): "write its items as documents of their own",
    }
)
"""Kinds (group and name) of Istio's or Kubernetes' that would do something, and here do not."""

GATEWAY_API = "gateway.networking.k8s.io"
KUBERNETES_GROUPS = frozenset({"", "apps", "autoscaling", "batch", "extensions", "policy"})
"""Groups of Kubernetes' own without a dot; the others end in `.k8s.io`."""


def group_and_version(api_version: str) -> tuple[str, str]:
    """`networking.istio.io/v1` → its two parts; the group of `v1` is empty."""
    group, _, version = api_version.rpartition("/")
    return group, version


def is_kubernetes(group: str) -> bool:
    """Whether a group is Kubernetes' own."""
    return group in KUBERNETES_GROUPS or group.endswith(".k8s.io")
