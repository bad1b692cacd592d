"""Access logs and spans."""

from __future__ import annotations

from typing import Any

from golden.views import origin

from mesh.ir.listener import Direction
from mesh.ir.telemetry import AccessLog, Telemetry, Tracing
from mesh.translate.telemetry import DEFAULT_TEXT, access_logs, tracing
from mesh.xds.protos import cel_pb2, file_pb2, logs_service_pb2, opentelemetry_pb2

COLLECTOR = "outbound|4317||collector.causeway.svc.cluster.local"


def log(**said: Any) -> Any:
    """One access log."""
    (made,) = access_logs(
        Telemetry(access_logs=(AccessLog(**{"provider": "log", "origin": origin(), **said}),))
    )
    return made


def _file(made: Any) -> Any:
    found = file_pb2.FileAccessLog()
    assert made.typed_config.Unpack(found)
    return found


def test_without_a_format_a_log_has_istios() -> None:
    found = _file(log(path="/dev/stderr"))
    assert found.path == "/dev/stderr"
    assert found.log_format.text_format_source.inline_string == DEFAULT_TEXT


def test_a_line_ends_even_if_the_format_does_not_say_so() -> None:
    assert _file(log(text_format="%PROTOCOL%")).log_format.text_format_source.inline_string == "%PROTOCOL%\n"


def test_a_json_log_keeps_its_shape() -> None:
    found = _file(log(json_format={"a": "%PROTOCOL%", "b": {"c": [1, True, None]}}))
    fields = found.log_format.json_format.fields
    assert fields["a"].string_value == "%PROTOCOL%"
    assert fields["b"].struct_value.fields["c"].list_value.values[1].bool_value


def test_operators_that_are_extensions_are_named() -> None:
    found = _file(log(text_format="%REQ_WITHOUT_QUERY(:PATH)%"))
    assert [item.name for item in found.log_format.formatters] == ["envoy.formatter.req_without_query"]


def test_a_log_can_be_filtered_by_expression() -> None:
    found = cel_pb2.ExpressionFilter()
    assert log(filter="response.code >= 400").filter.extension_filter.typed_config.Unpack(found)
    assert found.expression == "response.code >= 400"


def test_a_log_can_go_to_a_collector() -> None:
    made = log(otel_cluster=COLLECTOR, json_format={"b": "2", "a": "1"}, text_format="%PROTOCOL%")
    found = logs_service_pb2.OpenTelemetryAccessLogConfig()
    assert made.typed_config.Unpack(found)
    service = found.common_config.grpc_service.envoy_grpc
    assert (service.cluster_name, service.authority) == (COLLECTOR, "collector.causeway.svc.cluster.local")
    assert [item.key for item in found.attributes.values] == ["a", "b"]
    assert found.body.string_value == "%PROTOCOL%"


def _tracing(**said: Any) -> Tracing:
    return Tracing(
        **{
            "provider": "spans",
            "cluster": COLLECTOR,
            "service_name": "gateway.causeway",
            "origin": origin(),
            **said,
        }
    )


def test_spans_go_to_the_collector() -> None:
    tags = (
        ("region", "literal", "west"),
        ("tenant", "header", "x-tenant"),
        ("host", "environment", "HOSTNAME"),
    )
    made = tracing(Telemetry(tracing=_tracing(sampling_percent=10, tags=tags)), Direction.GATEWAY)
    assert made is not None
    assert made.random_sampling.value == 10
    assert [item.WhichOneof("type") for item in made.custom_tags] == [
        "literal",
        "request_header",
        "environment",
    ]
    config = opentelemetry_pb2.OpenTelemetryConfig()
    assert made.provider.typed_config.Unpack(config)
    assert config.service_name == "gateway.causeway"
    assert config.grpc_service.envoy_grpc.cluster_name == COLLECTOR


def test_spans_may_go_over_http() -> None:
    made = tracing(Telemetry(tracing=_tracing(grpc=False, http_path="/v1/traces")), Direction.INBOUND)
    assert made is not None
    config = opentelemetry_pb2.OpenTelemetryConfig()
    assert made.provider.typed_config.Unpack(config)
    assert config.http_service.http_uri.uri == "http://collector.causeway.svc.cluster.local:4317/v1/traces"


def test_disabled_tracing_makes_no_spans() -> None:
    assert tracing(Telemetry(tracing=_tracing(disabled=True)), Direction.INBOUND) is None
    assert tracing(Telemetry(), Direction.INBOUND) is None
