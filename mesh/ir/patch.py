"""Changes to the generated configuration that an EnvoyFilter asks for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.ir.listener import Direction
from mesh.ir.origin import Origin


class Target(enum.Enum):
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


class Operation(enum.Enum):
    """What is done with the matched object; Istio's words and meanings."""

    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchMatch:
    """Which objects; what is empty or None matches all."""

    direction: Direction | None = None
    listener_name: str = ""
    listener_port: int | None = None
    chain_name: str = ""
    chain_sni: str = ""
    chain_transport_protocol: str = ""
    chain_application_protocols: str = ""
    filter_name: str = ""
    sub_filter_name: str = ""
    route_table_name: str = ""
    route_port: int | None = None
    route_port_name: str = ""
    gateway: str = ""
    virtual_host_name: str = ""
    virtual_host_domain: str = ""
    route_name: str = ""
    route_action: str = "ANY"
    """ANY, ROUTE, REDIRECT or DIRECT_RESPONSE."""
    cluster_name: str = ""
    cluster_service: str = ""
    cluster_subset: str = ""
    cluster_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One change, in the order it is applied."""

    target: Target
    operation: Operation
    match: PatchMatch = field(default_factory=PatchMatch)
    value: Mapping[str, object] = field(default_factory=dict)
    """Envoy's own JSON, with `@type` where it is needed; empty for REMOVE."""
    filter_class: str = "UNSPECIFIED"
    """AUTHN, AUTHZ, STATS or UNSPECIFIED: where an added HTTP filter goes."""
    origin: Origin
