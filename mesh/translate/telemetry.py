"""Access logs and tracing of a connection manager or a TCP proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from mesh.ir.listener import Direction
from mesh.ir.telemetry import AccessLog, Telemetry, Tracing
from mesh.translate.names import split
from mesh.translate.packing import Proto, boolean, pack
from mesh.xds.protos import (
    accesslog_pb2,
    base_pb2,
    cel_pb2,
    config_source_pb2,
    custom_tag_pb2,
    extension_pb2,
    file_pb2,
    grpc_service_pb2,
    http_connection_manager_pb2,
    http_tracer_pb2,
    http_uri_pb2,
    logs_service_pb2,
    message_class,
    opentelemetry_pb2,
    percent_pb2,
    substitution_format_string_pb2,
)

DEFAULT_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's (https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format)."""

_FORMATTERS = {
    "%REQ_WITHOUT_QUERY": (
        "envoy.formatter.req_without_query",
        "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    ),
    "%CEL": ("envoy.formatter.cel", "envoy.extensions.formatter.cel.v3.Cel"),
}
"""Operators that are extensions: they must be named to be understood."""

_TRACE_TIMEOUT_SECONDS = 5


def access_logs(telemetry: Telemetry) -> list[Proto]:
    """In the order they were asked for."""
    return [_access_log(log) for log in telemetry.access_logs]


def _access_log(log: AccessLog) -> Proto:
    if log.otel_cluster:
        made = accesslog_pb2.AccessLog(
            name="envoy.access_loggers.open_telemetry", typed_config=pack(_otel_log(log))
        )
    else:
        made = accesslog_pb2.AccessLog(
            name="envoy.access_loggers.file",
            typed_config=pack(file_pb2.FileAccessLog(path=log.path, log_format=_format(log))),
        )
    if log.filter:
        made.filter.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
        made.filter.extension_filter.typed_config.CopyFrom(
            pack(cel_pb2.ExpressionFilter(expression=log.filter))
        )
    return made


def _format(log: AccessLog) -> Proto:
    made = substitution_format_string_pb2.SubstitutionFormatString()
    if log.json_format:
        made.json_format.CopyFrom(struct(log.json_format))
        used = str(log.json_format)
    else:
        used = log.text_format or DEFAULT_TEXT
        made.text_format_source.CopyFrom(base_pb2.DataSource(inline_string=_line(used)))
    made.formatters.extend(_formatters(used))
    return made


def _line(text: str) -> str:
    """Istio adds the end of line that people forget."""
    return text if text.endswith("\n") else f"{text}\n"


def _formatters(used: str) -> list[Proto]:
    found = []
    for operator, (name, message) in _FORMATTERS.items():
        kind = message_class(message) if operator in used else None
        if kind is not None:
            found.append(extension_pb2.TypedExtensionConfig(name=name, typed_config=pack(kind())))
    return found


def _otel_log(log: AccessLog) -> Proto:
    made = logs_service_pb2.OpenTelemetryAccessLogConfig()
    made.body.string_value = log.text_format or DEFAULT_TEXT.rstrip("\n")
    for key, value in sorted(log.json_format.items()):
        made.attributes.values.add(key=key).value.string_value = str(value)
    made.common_config.log_name = log.provider
    made.common_config.transport_api_version = config_source_pb2.ApiVersion.V3
    made.common_config.grpc_service.CopyFrom(grpc_service(log.otel_cluster))
    made.formatters.extend(_formatters(f"{log.text_format}{log.json_format}"))
    return made


def grpc_service(cluster: str) -> Proto:
    """A collector behind a cluster; the authority is its host's name, as a cluster's name cannot be one."""
    _, _, host, _ = split(cluster)
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster, authority=host)
    )


def tracing(telemetry: Telemetry, direction: Direction) -> Proto | None:
    """A connection manager's tracing; None when it makes no spans."""
    wanted = telemetry.tracing
    if wanted is None or wanted.disabled:
        return None
    return http_connection_manager_pb2.HttpConnectionManager.Tracing(
        client_sampling=percent_pb2.Percent(value=100),
        random_sampling=percent_pb2.Percent(value=wanted.sampling_percent),
        overall_sampling=percent_pb2.Percent(value=100),
        provider=http_tracer_pb2.Tracing.Http(
            name="envoy.tracers.opentelemetry", typed_config=pack(_collector(wanted))
        ),
        custom_tags=[_tag(*tag) for tag in wanted.tags],
        # A gateway's span of its own tells its work from the service's behind it.
        spawn_upstream_span=boolean(True) if direction is Direction.GATEWAY else None,
    )


def _collector(wanted: Tracing) -> Proto:
    made = opentelemetry_pb2.OpenTelemetryConfig(service_name=wanted.service_name)
    if wanted.grpc:
        made.grpc_service.CopyFrom(grpc_service(wanted.cluster))
        return made
    _, _, host, port = split(wanted.cluster)
    uri = http_uri_pb2.HttpUri(uri=f"http://{host}:{port}{wanted.http_path}", cluster=wanted.cluster)
    uri.timeout.seconds = _TRACE_TIMEOUT_SECONDS
    made.http_service.http_uri.CopyFrom(uri)
    return made


def _tag(name: str, source: str, value: str) -> Proto:
    made = custom_tag_pb2.CustomTag(tag=name)
    if source == "literal":
        made.literal.value = value
    elif source == "environment":
        made.environment.name = value
    else:
        made.request_header.name = value
    return made


def struct(values: Mapping[str, object]) -> struct_pb2.Struct:
    """A Struct of plain values, mappings and sequences."""
    return struct_pb2.Struct(fields={key: _value(value) for key, value in values.items()})


def _value(value: Any) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=struct(value))
    if isinstance(value, list | tuple):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(item) for item in value]))
    return struct_pb2.Value(string_value=str(value))
