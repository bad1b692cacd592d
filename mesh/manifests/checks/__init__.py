"""What Istio's validating webhook refuses, per kind.

Source: https://github.com/istio/istio/tree/master/pkg/config/validation, in our own words. Where Istio
only warns that it ignores something, it is an error here: nothing is ignored in silence.
"""

from __future__ import annotations

from typing import Any

from mesh.manifests.checks.destination_rule import check_destination_rule
from mesh.manifests.checks.envoy_filter import check_envoy_filter
from mesh.manifests.checks.gateway import check_gateway
from mesh.manifests.checks.mesh_config import check_istio_operator
from mesh.manifests.checks.security import (
    check_authorization_policy,
    check_peer_authentication,
    check_request_authentication,
)
from mesh.manifests.checks.services import (
    check_kubernetes_service,
    check_service_entry,
    check_workload_entry,
    check_workload_group,
)
from mesh.manifests.checks.sidecar import check_sidecar
from mesh.manifests.checks.telemetry import check_telemetry
from mesh.manifests.checks.virtual_service import check_virtual_service
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.findings import Findings
from mesh.manifests.gateway import Gateway
from mesh.manifests.kubernetes import Service
from mesh.manifests.manifests import Manifest
from mesh.manifests.mesh_config import IstioOperator
from mesh.manifests.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from mesh.manifests.service_entry import ServiceEntry
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import Telemetry
from mesh.manifests.virtual_service import VirtualService
from mesh.manifests.workload import WorkloadEntry, WorkloadGroup


def check(manifest: Manifest[Any], findings: Findings) -> None:
    """Notes every rule that a manifest breaks."""
    match manifest.spec:
        case WorkloadEntry():
            check_workload_entry(manifest.spec, findings)
        case ServiceEntry():
            check_service_entry(manifest, findings)
        case VirtualService():
            check_virtual_service(manifest, findings)
        case DestinationRule():
            check_destination_rule(manifest, findings)
        case Gateway():
            check_gateway(manifest, findings)
        case WorkloadGroup():
            check_workload_group(manifest.spec, findings)
        case Sidecar():
            check_sidecar(manifest, findings)
        case EnvoyFilter():
            check_envoy_filter(manifest.spec, findings)
        case PeerAuthentication():
            check_peer_authentication(manifest.spec, findings)
        case RequestAuthentication():
            check_request_authentication(manifest.spec, findings)
        case AuthorizationPolicy():
            check_authorization_policy(manifest.spec, findings)
        case Telemetry():
            check_telemetry(manifest.spec, findings)
        case IstioOperator():
            check_istio_operator(manifest.spec, findings)
        case Service():
            check_kubernetes_service(manifest.spec, findings)
        case other:
            raise TypeError(f"no checks for {type(other).__name__}")
