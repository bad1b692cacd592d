"""Telemetry (https://istio.io/latest/docs/reference/config/telemetry/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.common import ONLY_GATEWAY_API, WorkloadSelector
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


class IstioMetric(enum.Enum):
    """Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/)."""

    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"


CUSTOM_METRICS: Mapping[str, IstioMetric] = {
    "requests_total": IstioMetric.REQUEST_COUNT,
    "request_duration_milliseconds": IstioMetric.REQUEST_DURATION,
    "request_bytes": IstioMetric.REQUEST_SIZE,
    "response_bytes": IstioMetric.RESPONSE_SIZE,
    "tcp_connections_opened_total": IstioMetric.TCP_OPENED_CONNECTIONS,
    "tcp_connections_closed_total": IstioMetric.TCP_CLOSED_CONNECTIONS,
    "tcp_sent_bytes_total": IstioMetric.TCP_SENT_BYTES,
    "tcp_received_bytes_total": IstioMetric.TCP_RECEIVED_BYTES,
}
"""What `customMetric` can name: the metrics that there are, in the words of Istio's filter. Others would have
to be defined in that filter's own configuration, which no manifest reaches."""


class TagOperation(enum.Enum):
    """What is done to a label."""

    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSelector(Message):
    """Which metrics, and on which side of a call."""

    refused_values: ClassVar = {
        "metric": dict.fromkeys(
            ("GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES"),
            "Envoy's stats access logger cannot read how many messages a call had: there is no such metric",
        )
    }
    one_ofs = (OneOf(("metric", "custom_metric")),)

    metric: IstioMetric | None = None
    custom_metric: str | None = None
    mode: WorkloadMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOverride(Message):
    """A label that is added, changed or taken away."""

    operation: TagOperation | None = None
    """None: UPSERT."""
    value: str | None = None
    """CEL, over Envoy's attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOverrides(Message):
    """What is different about some metrics."""

    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: Mapping[str, TagOverride] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Message):
    """Which metrics there are, with which labels."""

    rejected: ClassVar = {
        "reportingInterval": "metrics change when a request or a connection ends; Envoy's stats access "
        "logger cannot count a part of one"
    }

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry(Message):
    """What proxies tell about the traffic they see."""

    rejected: ClassVar = {
        "targetRef": ONLY_GATEWAY_API,
        "targetRefs": ONLY_GATEWAY_API,
    }

    selector: WorkloadSelector | None = None
    tracing: tuple[Tracing, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
    metrics: tuple[Metrics, ...] = ()
