"""Which metrics a proxy keeps, with which labels."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mesh.ir.origin import Origin


class MetricKind(enum.Enum):
    """Istio's standard metrics but for those of gRPC's messages, by the names that Prometheus gets
    (https://istio.io/latest/docs/reference/config/metrics/)."""

    REQUEST_COUNT = "istio_requests_total"
    REQUEST_DURATION = "istio_request_duration_milliseconds"
    REQUEST_SIZE = "istio_request_bytes"
    RESPONSE_SIZE = "istio_response_bytes"
    TCP_OPENED_CONNECTIONS = "istio_tcp_connections_opened_total"
    TCP_CLOSED_CONNECTIONS = "istio_tcp_connections_closed_total"
    TCP_SENT_BYTES = "istio_tcp_sent_bytes_total"
    TCP_RECEIVED_BYTES = "istio_tcp_received_bytes_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A workload at one end of a call, as labels name it. What is not known is empty."""

    workload: str
    namespace: str
    app: str
    version: str
    service: str
    """Its canonical service."""
    revision: str
    """Of its canonical service."""
    cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedService:
    """A service that is called, as labels name it."""

    host: str
    name: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric on one side of calls."""

    kind: MetricKind
    tags: tuple[tuple[str, str | None], ...] = ()
    """Labels that are not Istio's own, ordered by name, each with a CEL expression; None: it has no such
    label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """All metrics of one side of calls."""

    provider: str
    metrics: tuple[Metric, ...]
    """Ordered by kind; those that are switched off are not there."""
    own: Party | None = None
    """The proxy's own workload; None as long as what is said holds for several."""
    origin: Origin
