"""What a proxy tells about the traffic it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.ir.metrics import Metrics
from mesh.ir.origin import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """One log of requests."""

    provider: str
    path: str = "/dev/stdout"
    """File, for `envoyFileAccessLog`."""
    otel_cluster: str = ""
    """For `envoyOtelAls`; `path` is then unused."""
    text_format: str = ""
    json_format: Mapping[str, object] = field(default_factory=dict)
    """At most one of the formats is set; with neither, Istio's default text."""
    filter: str = ""
    """A CEL expression; empty: every request."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Where spans go, and how many."""

    provider: str
    cluster: str
    """Of the OpenTelemetry collector."""
    grpc: bool = True
    http_path: str = ""
    service_name: str
    sampling_percent: float = 1.0
    disabled: bool = False
    tags: tuple[tuple[str, str, str], ...] = ()
    """Name, source ("literal", "header", "environment"), and value (for a header, its name)."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """All of it for one proxy."""

    access_logs: tuple[AccessLog, ...] = ()
    tracing: Tracing | None = None
    metrics: Metrics | None = None
