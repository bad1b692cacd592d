"""Finding one's way in Envoy's messages."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from mesh.xds.protos import message_class

Proto = Any
"""A message of Envoy's API. Its generated classes have no published types."""

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
NETWORK_RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"
UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


def type_name(packed: any_pb2.Any) -> str:
    """Full name of what is inside, such as "envoy.extensions.filters.http.router.v3.Router"."""
    return packed.type_url.rpartition("/")[2]


def unpack(packed: any_pb2.Any) -> Proto | None:
    """What is inside; None when this program does not know its type."""
    kind = message_class(packed.type_url)
    if kind is None:
        return None
    found = kind()
    try:
        found.ParseFromString(packed.value)
    except DecodeError:
        return None
    return found


def which(message: Proto, oneof: str) -> str:
    """Name of the field that is set; empty when none is."""
    return str(message.WhichOneof(oneof) or "")


def wrapped(message: Proto, field: str, default: Any) -> Any:
    """A wrapper's value (UInt32Value, BoolValue), or the default when it is absent."""
    return getattr(message, field).value if message.HasField(field) else default


def seconds(duration: Proto) -> float:
    """A google.protobuf.Duration."""
    return float(duration.seconds) + float(duration.nanos) / 1e9


def struct_value(value: Proto) -> object:
    """A google.protobuf.Value or Struct as plain Python."""
    if value.DESCRIPTOR.name == "Struct":
        return {key: struct_value(inner) for key, inner in value.fields.items()}
    kind = which(value, "kind")
    if kind == "struct_value":
        return struct_value(value.struct_value)
    if kind == "list_value":
        return [struct_value(inner) for inner in value.list_value.values]
    return None if kind in ("", "null_value") else getattr(value, kind)
