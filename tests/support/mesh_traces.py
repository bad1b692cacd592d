"""A collector of traces, as much of one as a test needs (https://opentelemetry.io/docs/specs/otlp/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.envoy_api import module

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_MESSAGES = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"


@dataclass(frozen=True)
class Span:
    """One proxy's part of a call."""

    service: str
    name: str
    trace: str
    """In hexadecimal, as in a `traceparent` header; so are the next two."""
    id: str
    parent: str
    """Empty for the first."""
    tags: Mapping[str, str]


class Spans:
    """All that came."""

    def __init__(self) -> None:
        self.all: list[Span] = []
        self._messages = module(_MESSAGES)

    def take(self, request: bytes) -> bytes:
        """Serves `EXPORT`."""
        for resource in self._messages.ExportTraceServiceRequest.FromString(request).resource_spans:
            service = _tags(resource.resource.attributes)["service.name"]
            # What OTLP calls `scope_spans` since 1.0, under the same number.
            for scope in resource.instrumentation_library_spans:
                self.all += [_span(service, span) for span in scope.spans]
        return bytes(self._messages.ExportTraceServiceResponse().SerializeToString())

    def of(self, trace: str) -> list[Span]:
        """Those of one trace."""
        return [span for span in self.all if span.trace == trace]


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        tags=_tags(span.attributes),
    )


def _tags(attributes: Any) -> dict[str, str]:
    return {item.key: item.value.string_value for item in attributes}
