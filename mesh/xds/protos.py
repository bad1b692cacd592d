"""The parts of Envoy's API that this project writes or reads, under one name each.

`from mesh.xds.protos import cluster_pb2` instead of Envoy's own long paths: two modules of the same name in
different packages of Envoy get different names here. A type that only an EnvoyFilter mentions is found by
`message_class`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from envoy.admin.v3 import config_dump_pb2
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import (
    address_pb2,
    backoff_pb2,
    base_pb2,
    config_source_pb2,
    extension_pb2,
    grpc_service_pb2,
    health_check_pb2,
    http_uri_pb2,
    protocol_pb2,
    proxy_protocol_pb2,
    socket_option_pb2,
    substitution_format_string_pb2,
)
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_components_pb2, listener_pb2
from envoy.config.metrics.v3 import stats_pb2
from envoy.config.ratelimit.v3 import rls_pb2 as ratelimit_service_config_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.access_loggers.wasm.v3 import wasm_pb2 as wasm_access_log_pb2
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_fault_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats_pb2
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_authn_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import (
    proxy_protocol_pb2 as proxy_protocol_filter_pb2,
)
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_ext_authz_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.load_balancing_policies.common.v3 import common_pb2 as load_balancing_common_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.maglev.v3 import maglev_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.extensions.load_balancing_policies.wrr_locality.v3 import wrr_locality_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2 as tls_common_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2, external_auth_pb2_grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from envoy.type.matcher.v3 import metadata_pb2 as metadata_matcher_pb2
from envoy.type.matcher.v3 import number_pb2, path_pb2, regex_pb2, string_pb2, value_pb2
from envoy.type.metadata.v3 import metadata_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import http_status_pb2, percent_pb2, range_pb2, token_bucket_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from udpa.type.v1 import typed_struct_pb2 as udpa_typed_struct_pb2
from xds.core.v3 import authority_pb2
from xds.type.v3 import typed_struct_pb2

__all__ = [
    "PATCHED",
    "message_class",
    "accesslog_pb2",
    "address_pb2",
    "ads_pb2_grpc",
    "als_pb2",
    "api_listener_pb2",
    "attribute_context_pb2",
    "authority_pb2",
    "backoff_pb2",
    "base_pb2",
    "bootstrap_pb2",
    "cel_pb2",
    "circuit_breaker_pb2",
    "cluster_pb2",
    "common_fault_pb2",
    "config_dump_pb2",
    "config_source_pb2",
    "cors_pb2",
    "custom_tag_pb2",
    "discovery_pb2",
    "endpoint_components_pb2",
    "endpoint_pb2",
    "ext_authz_pb2",
    "extension_pb2",
    "external_auth_pb2",
    "external_auth_pb2_grpc",
    "fault_pb2",
    "file_pb2",
    "grpc_service_pb2",
    "grpc_stats_pb2",
    "grpc_web_pb2",
    "header_to_metadata_pb2",
    "health_check_pb2",
    "http_connection_manager_pb2",
    "http_inspector_pb2",
    "http_protocol_options_pb2",
    "http_rbac_pb2",
    "http_status_pb2",
    "http_tracer_pb2",
    "http_uri_pb2",
    "json_to_metadata_pb2",
    "jwt_authn_pb2",
    "least_request_pb2",
    "listener_components_pb2",
    "listener_pb2",
    "load_balancing_common_pb2",
    "local_rate_limit_pb2",
    "logs_service_pb2",
    "lua_pb2",
    "maglev_pb2",
    "metadata_matcher_pb2",
    "metadata_pb2",
    "mutation_rules_pb2",
    "network_ext_authz_pb2",
    "network_rbac_pb2",
    "number_pb2",
    "opentelemetry_pb2",
    "original_dst_pb2",
    "outlier_detection_pb2",
    "path_pb2",
    "percent_pb2",
    "previous_hosts_pb2",
    "previous_priorities_config_pb2",
    "protocol_pb2",
    "proxy_protocol_filter_pb2",
    "proxy_protocol_pb2",
    "random_pb2",
    "range_pb2",
    "rate_limit_pb2",
    "ratelimit_service_config_pb2",
    "raw_buffer_pb2",
    "rbac_pb2",
    "regex_pb2",
    "ring_hash_pb2",
    "rls_pb2",
    "rls_pb2_grpc",
    "round_robin_pb2",
    "route_components_pb2",
    "route_pb2",
    "router_pb2",
    "secret_pb2",
    "sni_cluster_pb2",
    "socket_option_pb2",
    "stats_pb2",
    "string_pb2",
    "substitution_format_string_pb2",
    "tcp_proxy_pb2",
    "tls_common_pb2",
    "tls_inspector_pb2",
    "tls_pb2",
    "token_bucket_pb2",
    "transcoder_pb2",
    "typed_struct_pb2",
    "udpa_typed_struct_pb2",
    "uri_template_match_pb2",
    "value_pb2",
    "wasm_access_log_pb2",
    "wrr_locality_pb2",
]


PATCHED: Mapping[str, type[Message]] = {
    "LISTENER": listener_pb2.Listener,
    "FILTER_CHAIN": listener_components_pb2.FilterChain,
    "NETWORK_FILTER": listener_components_pb2.Filter,
    "HTTP_FILTER": http_connection_manager_pb2.HttpFilter,
    "ROUTE_CONFIGURATION": route_pb2.RouteConfiguration,
    "VIRTUAL_HOST": route_components_pb2.VirtualHost,
    "HTTP_ROUTE": route_components_pb2.Route,
    "CLUSTER": cluster_pb2.Cluster,
    "EXTENSION_CONFIG": extension_pb2.TypedExtensionConfig,
}
"""What the value of an EnvoyFilter's patch is, by its applyTo."""


def message_class(type_url: str) -> Any | None:
    """The class of a message by its type URL or full name; None when `xds-protos` does not have it.

    For names that come out of manifests. The generated modules of the name's package are imported until one
    of them brings it: a proto package is a folder, and its messages may be in any file there.
    """
    name = type_url.rpartition("/")[2]
    found = _known(name)
    if found is not None:
        return found
    package = name.rpartition(".")[0]
    if not package.startswith(("envoy.", "xds.", "udpa.")) or not package.replace(".", "_").isidentifier():
        return None
    try:
        folder = importlib.import_module(package)
    except ModuleNotFoundError:
        return None
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
            found = _known(name)
            if found is not None:
                return found
    return None


def _known(name: str) -> Any | None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)
