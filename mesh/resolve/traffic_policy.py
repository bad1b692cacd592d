"""The policy of one port and subset: what is said for all, for the subset, and for the port.

What a subset says replaces what is said for all, setting by setting. What is said for a port replaces
everything said above it as a whole: settings that it leaves out have their defaults
(https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy;
pilot/pkg/networking/util, `MergeTrafficPolicy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.ir.origin import Origin
from mesh.manifests.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TrafficPolicy,
)
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message
from mesh.resolve import origins
from mesh.resolve.destination_rules import Rule, Subset

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Said(Generic[M]):
    """A setting, and where it is written."""

    value: M
    origin: Origin


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts for one port and subset; None: nothing is said."""

    balancer: Said[LoadBalancerSettings] | None = None
    pool: Said[ConnectionPoolSettings] | None = None
    outlier: Said[OutlierDetection] | None = None
    tls: Said[ClientTLSSettings] | None = None


def policy(rule: Rule | None, port: int, subset: Subset | None = None) -> Policy:
    """What `rule` says of a port, for the hosts of a subset or for all."""
    if rule is None:
        return Policy()
    whole = _over(Policy(), rule.policy, port, rule.policy_from)
    if subset is None:
        return whole
    return _over(whole, subset.spec.traffic_policy, port, subset.manifest)


def _over(above: Policy, own: TrafficPolicy | None, port: int, manifest: Manifest[DestinationRule]) -> Policy:
    if own is None:
        return above
    for entry in own.port_level_settings:
        if entry.port is not None and entry.port.number == port:
            return _said(entry, manifest)
    said = _said(own, manifest)
    return Policy(
        balancer=said.balancer or above.balancer,
        pool=said.pool or above.pool,
        outlier=said.outlier or above.outlier,
        tls=said.tls or above.tls,
    )


def _said(own: TrafficPolicy | PortTrafficPolicy, manifest: Manifest[DestinationRule]) -> Policy:
    def setting(value: M | None, field: str) -> Said[M] | None:
        return None if value is None else Said(value, origins.of(manifest, own, field))

    return Policy(
        balancer=setting(own.load_balancer, "load_balancer"),
        pool=setting(own.connection_pool, "connection_pool"),
        outlier=setting(own.outlier_detection, "outlier_detection"),
        tls=setting(own.tls, "tls"),
    )
