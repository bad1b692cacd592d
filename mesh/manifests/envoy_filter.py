"""EnvoyFilter (https://istio.io/latest/docs/reference/config/networking/envoy-filter/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.common import ONLY_GATEWAY_API, LabelsSelector
from mesh.manifests.message import Int32, Message, OneOf, UInt32


class ApplyTo(enum.Enum):
    """What is patched."""

    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"


class PatchContext(enum.Enum):
    """Which traffic's configuration is patched."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"


class PatchOperation(enum.Enum):
    """What is done."""

    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"


class FilterClass(enum.Enum):
    """Where among the HTTP filters an added one goes."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class RouteAction(enum.Enum):
    """What a matched route does."""

    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFilterMatch(Message):
    """A filter inside a filter: an HTTP filter of the connection manager."""

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterMatch(Message):
    """A network filter."""

    name: str | None = None
    sub_filter: SubFilterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChainMatch(Message):
    """A filter chain of a listener."""

    rejected: ClassVar = {
        "destinationPort": "chains here do not match by destination port: match the listener's portNumber"
    }

    name: str | None = None
    sni: str | None = None
    transport_protocol: str | None = None
    application_protocols: str | None = None
    """Separated by commas."""
    filter: FilterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerMatch(Message):
    """A listener."""

    rejected: ClassVar = {
        "portName": "Istio hides it and does not carry it out: write portNumber",
        "listenerFilter": "listener filters are not patched",
    }

    port_number: UInt32 | None = None
    filter_chain: FilterChainMatch | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch(Message):
    """A route of a virtual host."""

    name: str | None = None
    action: RouteAction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHostMatch(Message):
    """A virtual host of a route configuration."""

    name: str | None = None
    """`host:port`."""
    domain_name: str | None = None
    route: RouteMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfigurationMatch(Message):
    """A route configuration."""

    port_number: UInt32 | None = None
    port_name: str | None = None
    gateway: str | None = None
    """`namespace/name`."""
    vhost: VirtualHostMatch | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMatch(Message):
    """A cluster."""

    port_number: UInt32 | None = None
    service: str | None = None
    subset: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyConfigObjectMatch(Message):
    """Which objects."""

    rejected: ClassVar = {
        "proxy": "proxies here have neither a version of Istio nor free metadata: select workloads by labels",
        "waypoint": "there are no waypoints",
    }
    refused_values: ClassVar = {"context": {"WAYPOINT": "there are no waypoints"}}
    one_ofs = (OneOf(("listener", "route_configuration", "cluster")),)

    context: PatchContext | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch(Message):
    """The change."""

    refused_values: ClassVar = {"operation": {"INVALID": "it means that none was chosen"}}

    operation: PatchOperation | None = None
    value: Mapping[str, object] = field(default_factory=dict)
    """Envoy's own JSON."""
    filter_class: FilterClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyConfigObjectPatch(Message):
    """One change to the generated configuration."""

    refused_values: ClassVar = {
        "apply_to": {
            "INVALID": "it means that none was chosen",
            "BOOTSTRAP": "a proxy's bootstrap is written before any manifest is read",
            "LISTENER_FILTER": "listener filters are not patched",
        }
    }

    apply_to: ApplyTo | None = None
    match: EnvoyConfigObjectMatch | None = None
    patch: Patch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFilter(Message):
    """Changes to the generated configuration."""

    rejected: ClassVar = {"targetRefs": ONLY_GATEWAY_API}

    workload_selector: LabelsSelector | None = None
    config_patches: tuple[EnvoyConfigObjectPatch, ...] = ()
    priority: Int32 | None = None
