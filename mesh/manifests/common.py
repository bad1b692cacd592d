"""Messages that several kinds share."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.message import Message, OneOf, UInt32

ONLY_GATEWAY_API = (
    "it attaches to Gateway API resources and waypoints, and this mesh has neither: use a selector"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSelector(Message):
    """Workloads by labels, in security and telemetry (`istio.type.v1beta1`) and in DestinationRule."""

    match_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsSelector(Message):
    """Workloads by labels, in networking (`istio.networking.v1alpha3.WorkloadSelector`)."""

    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StringMatch(Message):
    """How a string must look. A header or query match that sets none of them asks only for presence."""

    one_ofs = (OneOf(("exact", "prefix", "regex")),)

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None
    """RE2, the whole string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSelector(Message):
    """A port of a service, by number."""

    number: UInt32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Message):
    """A service of the registry, and perhaps a subset and a port of it."""

    host: str | None = None
    subset: str | None = None
    port: PortSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percent(Message):
    """0 to 100."""

    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Message):
    """A port that a Gateway listens on."""

    rejected: ClassVar = {"targetPort": "Istio has deprecated it and ignores it"}

    number: UInt32 | None = None
    protocol: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarPort(Message):
    """A port that a Sidecar listens on."""

    rejected: ClassVar = {"targetPort": "Istio has deprecated it and ignores it"}
    passed_over: ClassVar = {"name": "a listener is called by its address and port"}

    number: UInt32 | None = None
    protocol: str | None = None
    name: str | None = None


REGISTRY_ONLY = "unknown hosts are refused, said or not"
"""Why nobody has to look at an OutboundTrafficPolicy."""


class OutboundTrafficPolicyMode(enum.Enum):
    """What happens to calls to hosts that no manifest names: they are refused, said or not."""

    REGISTRY_ONLY = "REGISTRY_ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundTrafficPolicy(Message):
    """What happens to calls to hosts that no manifest names."""

    rejected: ClassVar = {
        "egressProxy": "unknown hosts cannot be sent through an egress proxy: name them in a ServiceEntry"
    }
    refused_values: ClassVar = {
        "mode": {
            "ALLOW_ANY": "nothing captures what was dialled, so there is nowhere to pass it on to: "
            "name hosts in a ServiceEntry"
        }
    }

    mode: OutboundTrafficPolicyMode | None = None
