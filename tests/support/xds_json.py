"""Small xDS resources as JSON, for tests that are about how they travel and not about what they say."""

from __future__ import annotations

from typing import Any

ADS = {"ads": {}, "resource_api_version": "V3"}
_TYPE = "type.googleapis.com/envoy.extensions."
_TLS = f"{_TYPE}transport_sockets.tls.v3."


def cluster(name: str, **more: Any) -> dict[str, Any]:
    """A cluster whose hosts come over EDS."""
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": "1s",
        **more,
    }


def endpoints(name: str, *ports: int, host: str = "127.0.0.1") -> dict[str, Any]:
    """Hosts on this machine."""
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for port in ports
    ]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}


def route_table(name: str, cluster: str = "", *, text: str = "") -> dict[str, Any]:
    """Everything to a cluster, or answered with a text."""
    route: dict[str, Any] = {"match": {"prefix": "/"}}
    if cluster:
        route["route"] = {"cluster": cluster}
    else:
        route["direct_response"] = {"status": 200, "body": {"inline_string": text}}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def manager(**more: Any) -> dict[str, Any]:
    """An HTTP connection manager."""
    return {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"},
            }
        ],
        **more,
    }


def listener(
    name: str, port: int, table: str, *, mutual_tls: bool = False, identity: str = "default"
) -> dict[str, Any]:
    """An HTTP listener that routes by a table that comes over RDS."""
    http = manager(rds={"route_config_name": table, "config_source": ADS})
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]
    }
    if mutual_tls:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TLS}DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [{"name": identity, "sds_config": ADS}],
                    "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
                },
            },
        }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
