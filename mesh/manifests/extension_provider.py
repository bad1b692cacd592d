"""The extensionProviders of MeshConfig: who decides, who keeps logs, who takes spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from mesh.manifests.message import Message, OneOf, UInt32

_OTEL = "write opentelemetry, which collectors of every make understand"
_ALS = "write envoyFileAccessLog or envoyOtelAls"
_ROUTE_CACHE = "the route is chosen before the check and stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyExternalAuthorizationRequestBody(Message):
    """How much of the body the authorizer sees."""

    max_request_bytes: UInt32 | None = None
    allow_partial_message: bool | None = None
    pack_as_bytes: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyExternalAuthorizationGrpcProvider(Message):
    """Envoy's ext_authz over gRPC."""

    rejected: ClassVar = {"clearRouteCache": _ROUTE_CACHE}

    service: str | None = None
    """`[namespace/]host`."""
    port: UInt32 | None = None
    timeout: timedelta | None = None
    fail_open: bool | None = None
    status_on_error: str | None = None
    include_request_body_in_check: EnvoyExternalAuthorizationRequestBody | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyExternalAuthorizationHttpProvider(Message):
    """Envoy's ext_authz over HTTP."""

    rejected: ClassVar = {
        "clearRouteCache": _ROUTE_CACHE,
        "includeHeadersInCheck": "Istio has deprecated it: write includeRequestHeadersInCheck",
        "includeAdditionalHeadersInCheck": "the authorizer sees headers of the request alone",
        "headersToDownstreamOnAllow": "answers that are let through are not changed",
    }

    service: str | None = None
    """`[namespace/]host`."""
    port: UInt32 | None = None
    timeout: timedelta | None = None
    path_prefix: str | None = None
    fail_open: bool | None = None
    status_on_error: str | None = None
    include_request_headers_in_check: tuple[str, ...] = ()
    include_request_body_in_check: EnvoyExternalAuthorizationRequestBody | None = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFormat(Message):
    """One line of a file's access log, as text or as JSON."""

    one_ofs = (OneOf(("text", "labels"), required=True),)

    text: str | None = None
    labels: Mapping[str, object] | None = None
    """Empty: Envoy's default JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFileAccessLogProvider(Message):
    """An access log in a file."""

    rejected: ClassVar = {"omitEmptyValues": "values that are absent are written as `-` or null"}

    path: str | None = None
    log_format: LogFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelLogFormat(Message):
    """The body of a log record, and its attributes."""

    text: str | None = None
    labels: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOpenTelemetryLogProvider(Message):
    """An access log that an OpenTelemetry collector takes over gRPC."""

    rejected: ClassVar = {
        "logName": "records carry the provider's name",
        "filterStateObjectsToLog": "write the objects in logFormat",
    }

    service: str | None = None
    """`[namespace/]host`."""
    port: UInt32 | None = None
    log_format: OtelLogFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpService(Message):
    """A path that spans are posted to."""

    rejected: ClassVar = {
        "timeout": "it is three seconds, Istio's default",
        "headers": "no further headers are sent to a collector",
    }

    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTelemetryTracingProvider(Message):
    """A collector of spans."""

    rejected: ClassVar = {
        "maxTagLength": "tags of spans are not shortened",
        "resourceDetectors": "spans carry the service's name alone as their resource",
        "dynatraceSampler": "spans are sampled by randomSamplingPercentage",
        "grpc": "calls to a collector have no settings of their own",
        "disableContextPropagation": "trace context always travels on",
    }

    service: str | None = None
    """`[namespace/]host`."""
    port: UInt32 | None = None
    http: HttpService | None = None
    """None: OTLP over gRPC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusMetricsProvider(Message):
    """Metrics that wait at the proxy's admin port to be scraped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionProvider(Message):
    """Somebody outside the proxy, by a name that policies and Telemetry use."""

    rejected: ClassVar = {
        "zipkin": _OTEL,
        "lightstep": _OTEL,
        "datadog": _OTEL,
        "stackdriver": _OTEL,
        "opencensus": _OTEL,
        "skywalking": _OTEL,
        "envoyHttpAls": _ALS,
        "envoyTcpAls": _ALS,
        "sds": "secrets come from this mesh's own control plane",
    }
    one_ofs = (
        OneOf(
            (
                "envoy_ext_authz_grpc",
                "envoy_ext_authz_http",
                "envoy_file_access_log",
                "envoy_otel_als",
                "opentelemetry",
                "prometheus",
            ),
            required=True,
        ),
    )

    name: str | None = None
    envoy_ext_authz_grpc: EnvoyExternalAuthorizationGrpcProvider | None = None
    envoy_ext_authz_http: EnvoyExternalAuthorizationHttpProvider | None = None
    envoy_file_access_log: EnvoyFileAccessLogProvider | None = None
    envoy_otel_als: EnvoyOpenTelemetryLogProvider | None = None
    opentelemetry: OpenTelemetryTracingProvider | None = None
    prometheus: PrometheusMetricsProvider | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultProviders(Message):
    """Providers where no Telemetry resource names one."""

    tracing: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
