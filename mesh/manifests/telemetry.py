"""Telemetry (https://istio.io/latest/docs/reference/config/telemetry/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.common import NO_METRICS, ONLY_GATEWAY_API, WorkloadSelector
from mesh.manifests.message import Message, OneOf


class WorkloadMode(enum.Enum):
    """Which side of a call reports it."""

    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRef(Message):
    """A provider of MeshConfig's extensionProviders, by name."""

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSelector(Message):
    """Which side of a call."""

    mode: WorkloadMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal(Message):
    """The same tag on every span."""

    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Message):
    """A tag from the proxy's environment."""

    rejected: ClassVar = {"defaultValue": "a tag whose variable is absent is left out"}

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader(Message):
    """A tag from a request's header."""

    rejected: ClassVar = {"defaultValue": "a tag whose header is absent is left out"}

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTag(Message):
    """Where a tag's value comes from."""

    rejected: ClassVar = {"formatter": "tags are literals, headers or environment variables"}
    one_ofs = (OneOf(("literal", "environment", "header"), required=True),)

    literal: Literal | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing(Message):
    """Which calls are traced, and where spans go."""

    rejected: ClassVar = {
        "useRequestIdForTraceSampling": "the sampling decision is always kept in the request id",
        "enableIstioTags": "Istio's own tags are always on spans",
        "disableContextPropagation": "trace context always travels on",
    }

    match: TracingSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool | None = None
    custom_tags: Mapping[str, CustomTag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSelector(Message):
    """Which side of a call."""

    mode: WorkloadMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Message):
    """Which requests are logged."""

    expression: str | None = None
    """CEL, over Envoy's attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogging(Message):
    """Which requests are logged, and where."""

    match: LogSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry(Message):
    """What proxies tell about the traffic they see."""

    rejected: ClassVar = {
        "metrics": NO_METRICS,
        "targetRef": ONLY_GATEWAY_API,
        "targetRefs": ONLY_GATEWAY_API,
    }

    selector: WorkloadSelector | None = None
    tracing: tuple[Tracing, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
