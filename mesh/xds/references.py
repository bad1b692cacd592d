"""Which resources a resource points at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from mesh.xds.protos import cluster_pb2, http_connection_manager_pb2, tls_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET

Reference = tuple[str, str]
"""A type URL and a name."""


def references(type_url: str, message: Message) -> tuple[Reference, ...]:
    """What `message` needs to be found over xDS, in order, each once.

    Clusters to endpoints, listeners to route tables and extensions, both to secrets. That a route names a
    cluster is no reference here: Envoy takes such a route and answers 503, which is what Istio's users get
    for a host that no service has.
    """
    find = _FINDERS.get(type_url)
    return tuple(dict.fromkeys(find(message))) if find else ()


def _cluster(cluster: Any) -> Iterator[Reference]:
    if cluster.type == cluster_pb2.Cluster.EDS:
        yield ENDPOINTS, cluster.eds_cluster_config.service_name or cluster.name
    yield from _transport_socket(cluster.transport_socket)
    for match in cluster.transport_socket_matches:
        yield from _transport_socket(match.transport_socket)


def _listener(listener: Any) -> Iterator[Reference]:
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        yield from _transport_socket(chain.transport_socket)
        for network_filter in chain.filters:
            yield from _connection_manager(network_filter.typed_config)
    if listener.HasField("api_listener"):
        yield from _connection_manager(listener.api_listener.api_listener)


def _connection_manager(packed: AnyMessage) -> Iterator[Reference]:
    manager = http_connection_manager_pb2.HttpConnectionManager()
    if not packed.Unpack(manager):
        return
    if manager.HasField("rds"):
        yield ROUTES, manager.rds.route_config_name
    for http_filter in manager.http_filters:
        if http_filter.HasField("config_discovery"):
            yield EXTENSION, http_filter.name


def _transport_socket(socket: Any) -> Iterator[Reference]:
    for kind in (tls_pb2.UpstreamTlsContext, tls_pb2.DownstreamTlsContext):
        context = kind()
        if socket.typed_config.Unpack(context):
            yield from _secrets(context.common_tls_context)
    # Without a source, a secret is one of the bootstrap's own.


def _secrets(common: Any) -> Iterator[Reference]:
    configs = [*common.tls_certificate_sds_secret_configs]
    if common.HasField("validation_context_sds_secret_config"):
        configs.append(common.validation_context_sds_secret_config)
    if common.HasField("combined_validation_context"):
        configs.append(common.combined_validation_context.validation_context_sds_secret_config)
    for config in configs:
        if config.HasField("sds_config") and not config.sds_config.HasField("path_config_source"):
            yield SECRET, config.name


_FINDERS: Mapping[str, Callable[[Any], Iterator[Reference]]] = MappingProxyType(
    {CLUSTER: _cluster, LISTENER: _listener}
)
