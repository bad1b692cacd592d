"""Istio's standard metrics, kept by Envoy's stats access logger.

Istio's own Envoy has a filter for them (istio/proxy, source/extensions/filters/http/istio_stats), whose names
and values these are. What an Envoy without it does not know of a call, its label says as `unknown`: who the
caller's workload is, apart from its principal and namespace.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/access_loggers/stats/v3/stats.proto
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mesh.ir.listener import Direction
from mesh.ir.metrics import Metric, MetricKind, Metrics, NamedService, Party
from mesh.ir.values import MatchKind, NamedMatcher, StringMatcher
from mesh.translate.packing import Proto, header_match, pack
from mesh.translate.telemetry import struct
from mesh.xds.protos import accesslog_pb2, cel_pb2, typed_struct_pb2, wasm_access_log_pb2

METADATA = "istio"
"""Under which clusters and hosts say who they are, in the words of labels."""
_NAMESPACE = "wasmcustom"
"""Envoy gives the statistics in it to Prometheus under their own names; all others get `envoy_` before
them. Only what a Wasm plugin keeps is meant to be there, and only a plugin makes Envoy know it."""
_PLUGIN = bytes.fromhex(
    "0061736d 01000000"  # WebAssembly, version 1
    "0109 02 600000 60017f017f"  # two types: () -> (), (i32) -> i32
    "0303 02 00 01"  # two functions, one of each
    "0503 01 0001"  # a memory of one page
    "072d 03"  # three exports
    "06 6d656d6f7279 0200"  # "memory"
    "17 70726f78795f6162695f76657273696f6e5f305f325f31 0000"  # "proxy_abi_version_0_2_1"
    "06 6d616c6c6f63 0001"  # "malloc"
    "0a09 02 02000b 0400 4100 0b"  # the first does nothing, the second gives 0
)
"""A plugin that does nothing, in WebAssembly. It is there for `_NAMESPACE`."""

LIMIT = 2000
"""Counters, and histograms, that a listener keeps of one kind of requests. A label that is made of a header
is written by callers: whoever thinks up new ones must not have the proxy's memory. Further series are not
kept."""

_CONFIG = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_SCOPE: Mapping[str, object] = {"prefix": _NAMESPACE, "max_counters": LIMIT, "max_histograms": LIMIT}
_UNKNOWN = "unknown"
_HTTP = (
    MetricKind.REQUEST_COUNT,
    MetricKind.REQUEST_DURATION,
    MetricKind.REQUEST_SIZE,
    MetricKind.RESPONSE_SIZE,
)
_AT_CLOSE = (
    MetricKind.TCP_CLOSED_CONNECTIONS,
    MetricKind.TCP_SENT_BYTES,
    MetricKind.TCP_RECEIVED_BYTES,
)
_AT_OPENING = (MetricKind.TCP_OPENED_CONNECTIONS,)

_HISTOGRAMS: Mapping[MetricKind, tuple[str, str]] = {
    MetricKind.REQUEST_DURATION: ("Milliseconds", "%DURATION%"),
    MetricKind.REQUEST_SIZE: ("Bytes", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
    MetricKind.RESPONSE_SIZE: ("Bytes", "%DOWNSTREAM_WIRE_BYTES_SENT%"),
}
_SUMS: Mapping[MetricKind, str] = {
    MetricKind.TCP_SENT_BYTES: "%DOWNSTREAM_WIRE_BYTES_SENT%",
    MetricKind.TCP_RECEIVED_BYTES: "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
}
"""Counters of something else than requests and connections."""

_SERVICE = ("destination_service", "destination_service_name", "destination_service_namespace")
_PARTY = {
    "workload": "workload",
    "workload_namespace": "namespace",
    "app": "app",
    "version": "version",
    "canonical_service": "service",
    "canonical_revision": "revision",
    "cluster": "cluster",
}
"""What labels call the fields of a Party."""


def http_loggers(metrics: Metrics | None, direction: Direction, *, secured: bool) -> list[Proto]:
    """The access loggers that count requests. `secured` is whether TLS ends at the listener.

    An expression in a label is worked out for each metric of each request; four metrics whose labels were
    expressions took as long as all else that a proxy does. So what most requests have in common is sorted out
    by filters: the calls with mutual TLS, whose labels Envoy has ready, and the calls of gRPC.
    """
    if metrics is None:
        return []
    counted = _of(metrics, _HTTP)
    if direction is Direction.INBOUND:
        return _with_plugin(_by_protocol(counted, _inbound_tags(metrics, secured=secured)))
    others = {**_outbound_tags(metrics, mutual=False), "request_protocol": _cel(_PROTOCOL), **_REQUEST_TAGS}
    return _with_plugin(
        [
            *_by_protocol(counted, _outbound_tags(metrics, mutual=True), _where(_MUTUAL)),
            *_logger(counted, others, _where(f"!{_MUTUAL}")),
        ]
    )


def tcp_loggers(metrics: Metrics | None, direction: Direction, *, secured: bool) -> list[Proto]:
    """The access loggers that count connections. They need `log_when_connected`."""
    if metrics is None:
        return []
    inbound = direction is Direction.INBOUND
    tags = {
        **(_inbound_tags(metrics, secured=secured) if inbound else _outbound_tags(metrics, mutual=False)),
        "request_protocol": "tcp",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    opened = _of(metrics, _AT_OPENING)
    return _with_plugin(
        [
            *_logger(opened, tags, _at("TcpUpstreamConnected")),
            # One that never got so far was opened all the same.
            *_logger(opened, tags, _all(_at("TcpConnectionEnd"), _where("!has(upstream.local_address)"))),
            *_logger(_of(metrics, _AT_CLOSE), tags, _at("TcpConnectionEnd")),
        ]
    )


def log_when_connected(metrics: Metrics | None) -> bool:
    """Whether connections are logged once more, when they are made: other logs then ask for `at_end`."""
    return bool(metrics and _of(metrics, _AT_OPENING))


def at_end(log: Proto) -> Proto:
    """The access log of connections without the entries of `log_when_connected`."""
    made = accesslog_pb2.AccessLog()
    made.CopyFrom(log)
    own = [log.filter] if log.HasField("filter") else []
    made.filter.CopyFrom(_all(_at("TcpConnectionEnd"), *own))
    return made


def service_metadata(named: NamedService) -> Proto:
    """What a cluster says of the service it leads to."""
    return struct(dict(zip(_SERVICE, (named.host, named.name, named.namespace), strict=True)))


def party_metadata(party: Party) -> Proto:
    """What a host says of itself."""
    return struct({field: getattr(party, field) or _UNKNOWN for field in _PARTY.values()})


def _of(metrics: Metrics, kinds: Iterable[MetricKind]) -> Sequence[Metric]:
    return [metric for metric in metrics.metrics if metric.kind in kinds]


# Labels.


def _cel(expression: str) -> str:
    return f"%CEL({expression})%"


def _known(path: str) -> str:
    """An attribute, or `unknown`; in CEL, nothing can be asked of what is not there."""
    parts = path.split(".")
    there = " && ".join(f"has({'.'.join(parts[:end])})" for end in range(2, len(parts) + 1))
    return _cel(f"{there} ? {path} : '{_UNKNOWN}'")


def _plain(text: str) -> str:
    """Text that stands for itself; a label without a value is none."""
    return text.replace("%", "%%") or _UNKNOWN


_REQUEST_TAGS: Mapping[str, str] = {
    "response_code": "%RESPONSE_CODE%",
    "grpc_response_status": "%GRPC_STATUS_NUMBER%",
    "response_flags": "%RESPONSE_FLAGS%",
}
_GRPC_TYPE = "application/grpc"
_PROTOCOL = (
    f"'content-type' in request.headers && (request.headers['content-type'] == '{_GRPC_TYPE}' || "
    f"request.headers['content-type'].startsWith('{_GRPC_TYPE}+')) ? 'grpc' : 'http'"
)
_PEER = "connection.uri_san_peer_certificate"
_UPSTREAM_PEER = "upstream.uri_san_peer_certificate"
_MUTUAL = f"has({_UPSTREAM_PEER})"
"""The call went to somebody who proved an identity."""


def _us(metrics: Metrics) -> dict[str, str]:
    """Who the proxy itself is does not change."""
    own = metrics.own
    return {name: _plain(getattr(own, field) if own else "") for name, field in _PARTY.items()}


def _service_tags() -> dict[str, str]:
    return {name: f"%CLUSTER_METADATA({METADATA}:{name})%" for name in _SERVICE}


def _namespace_of(principal: str, likely: str) -> str:
    """The namespace in a SPIFFE ID. The one of most callers is looked for first: taking it out of the text,
    by a regular expression that is compiled each time, costs ten times as much."""
    taken = f"re.extract({principal}, '/ns/([^/]+)', '\\\\1')"
    other = f"{principal}.contains('/ns/') ? {taken} : '{_UNKNOWN}'"
    return f"{principal}.contains('/ns/{likely}/') ? '{likely}' : {other}" if likely else other


def _inbound_tags(metrics: Metrics, *, secured: bool) -> dict[str, str]:
    them = dict.fromkeys(("principal", *_PARTY), _UNKNOWN)
    them["canonical_revision"] = "latest"
    principal = _UNKNOWN
    if secured:
        # Without a certificate nobody gets in where mutual TLS ends.
        principal, them["principal"] = "%DOWNSTREAM_LOCAL_URI_SAN%", "%DOWNSTREAM_PEER_URI_SAN%"
        them["workload_namespace"] = _cel(_namespace_of(_PEER, metrics.own.namespace if metrics.own else ""))
    return {
        "reporter": "destination",
        **{f"source_{name}": value for name, value in them.items()},
        **{f"destination_{name}": value for name, value in _us(metrics).items()},
        "destination_principal": principal,
        **_service_tags(),
        "connection_security_policy": "mutual_tls" if secured else "none",
    }


def _outbound_tags(metrics: Metrics, *, mutual: bool) -> dict[str, str]:
    """`mutual`: of calls whose other side proved an identity."""
    if mutual:
        them = {name: f"%UPSTREAM_METADATA({METADATA}:{field})%" for name, field in _PARTY.items()}
        principals, services = ("%UPSTREAM_LOCAL_URI_SAN%", "%UPSTREAM_PEER_URI_SAN%"), _service_tags()
    else:
        host, cluster = "xds.upstream_host_metadata", "xds.cluster_metadata"
        them = {name: _known(f"{host}.filter_metadata.{METADATA}.{field}") for name, field in _PARTY.items()}
        principals = (_known("upstream.uri_san_local_certificate"), _known(_UPSTREAM_PEER))
        services = {name: _known(f"{cluster}.filter_metadata.{METADATA}.{name}") for name in _SERVICE}
    return {
        "reporter": "source",
        **{f"source_{name}": value for name, value in _us(metrics).items()},
        "source_principal": principals[0],
        **{f"destination_{name}": value for name, value in them.items()},
        "destination_principal": principals[1],
        **services,
        "connection_security_policy": _UNKNOWN,
    }


# Loggers.


def _logger(metrics: Sequence[Metric], tags: Mapping[str, str], only: Proto | None = None) -> list[Proto]:
    if not metrics:
        return []
    counters: list[Mapping[str, object]] = []
    histograms: list[Mapping[str, object]] = []
    for metric in metrics:
        stat: Mapping[str, object] = {"name": metric.kind.value, "tags": _with_changes(tags, metric)}
        if metric.kind in _HISTOGRAMS:
            unit, value = _HISTOGRAMS[metric.kind]
            histograms.append({"stat": stat, "unit": unit, "value_format": value})
        elif metric.kind in _SUMS:
            counters.append({"stat": stat, "value_format": _SUMS[metric.kind]})
        else:
            counters.append({"stat": stat, "value_fixed": 1})
    # As a structure: the generated classes do not have `stats_scope` yet, which replaces a deprecated field.
    config = typed_struct_pb2.TypedStruct(
        type_url=_CONFIG,
        value=struct({"stats_scope": _SCOPE, "counters": counters, "histograms": histograms}),
    )
    return [
        accesslog_pb2.AccessLog(name="envoy.access_loggers.stats", filter=only, typed_config=pack(config))
    ]


def _by_protocol(counted: Sequence[Metric], tags: Mapping[str, str], *only: Proto) -> list[Proto]:
    """Two, for the requests of gRPC and for all others."""
    found = []
    for protocol, grpc in (("grpc", True), ("http", False)):
        kind = StringMatcher(MatchKind.REGEX, f"{_GRPC_TYPE}(\\+.*)?")
        which = _Filter()
        which.header_filter.header.CopyFrom(header_match(NamedMatcher("content-type", kind, invert=not grpc)))
        found += _logger(counted, {**tags, "request_protocol": protocol, **_REQUEST_TAGS}, _all(which, *only))
    return found


def _with_changes(tags: Mapping[str, str], metric: Metric) -> list[Mapping[str, str]]:
    changes = dict(metric.tags)
    changed = {name: _cel(expression) for name, expression in changes.items() if expression is not None}
    merged = {name: value for name, value in tags.items() if name not in changes} | changed
    return [{"name": name, "value_format": value} for name, value in sorted(merged.items())]


def _with_plugin(loggers: list[Proto]) -> list[Proto]:
    if not loggers:
        return []
    made = wasm_access_log_pb2.WasmAccessLog()
    made.config.name = _NAMESPACE
    made.config.vm_config.runtime = "envoy.wasm.runtime.v8"
    made.config.vm_config.code.local.inline_bytes = _PLUGIN
    # Called for no entry: requests are not logged while they run.
    never = _at("DownstreamPeriodic")
    plugin = accesslog_pb2.AccessLog(name="envoy.access_loggers.wasm", filter=never, typed_config=pack(made))
    return [plugin, *loggers]


_Filter: Callable[..., Proto] = accesslog_pb2.AccessLogFilter


def _at(kind: str) -> Proto:
    made = _Filter()
    made.log_type_filter.types.append(kind)
    return made


def _where(expression: str) -> Proto:
    made = _Filter()
    made.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    made.extension_filter.typed_config.CopyFrom(pack(cel_pb2.ExpressionFilter(expression=expression)))
    return made


def _all(*filters: Proto) -> Proto:
    if len(filters) == 1:
        return filters[0]
    made = _Filter()
    made.and_filter.filters.extend(filters)
    return made
