"""How an Envoy is started: its bootstrap and its command line. Pure.

The bootstrap says who the proxy is and where its control planes are; all else comes over delta ADS, with
mutual TLS. Its own control plane has priority 0, the others follow: a control plane that dies or hangs is
noticed by health checks on the kept connection, and its streams are cut so that they move on.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesh.local import addresses
from mesh.local.workloads import Workload
from mesh.pki.svid import ISTIOD

_TYPE = "type.googleapis.com/envoy."
_TLS = f"{_TYPE}extensions.transport_sockets.tls.v3."
XDS_CLUSTER = "xds-grpc"
"""Name of the control planes' cluster; Istio's, so that EnvoyFilters that leave it alone do so here too."""

BOOTSTRAP_FILE = "bootstrap.json"
IDENTITY_FILE = "identity.json"
TRUST_FILE = "trust.json"

_RETRY = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"}}
"""A lost stream is opened again soon: Envoy's own limit of 30 s would leave proxies without news long after
their control plane is back."""

KEPT_STATS = (
    "cluster.",
    "cluster_manager.",
    "control_plane.",
    "http.",
    "listener.",
    "listener_manager.",
    "server.",
    "tls_inspector.",
    "wasmcustom.",
)


def command(binary: Path, folder: Path, log_level: str) -> tuple[str, ...]:
    """Program and arguments; `folder` holds the proxy's files.

    One worker thread: a laptop runs a dozen of these. Without hot restart they share no memory, so that any
    number can run on a machine.
    """
    level = {"warning": "warning", "error": "error", "debug": "debug"}.get(log_level, "warning")
    return (
        str(binary),
        "--config-path",
        str(folder / BOOTSTRAP_FILE),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        level,
        "--drain-time-s",
        "5",
    )


def bootstrap(workload: Workload, control_planes: Sequence[str], folder: Path) -> dict[str, object]:
    """The whole bootstrap document.

    `control_planes` are `address:port`, the preferred one first; `folder` is where the identity and whom to
    trust lie (`identity`, `trust`), which Envoy reads again whenever they are replaced.
    """
    return {
        "node": _node(workload),
        "admin": {"address": _address(workload.address, addresses.ADMIN), "ignore_global_conn_limit": True},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": _RETRY}}],
            },
            # Without a time limit: a proxy without configuration must not call itself ready.
            "cds_config": _from_ads(),
            "lds_config": _from_ads(),
        },
        "static_resources": {"clusters": [_control_plane_cluster(control_planes, folder)]},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": name} for name in KEPT_STATS]}}
        },
        "stats_flush_on_admin": True,
        # Envoy warns without a limit; a file descriptor is what really ends it.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}extensions.resource_monitors.downstream_connections.v3."
                        "DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 20_000,
                    },
                }
            ]
        },
    }


def identity(chain: str, key: str) -> dict[str, object]:
    """A certificate (PEM, leaf first) and its key as a file that Envoy watches.

    In one file, so that a renewal can never be read half done.
    """
    content = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    return _secret("default", {"tls_certificate": content})


def trust(roots: str) -> dict[str, object]:
    """Whom the proxy believes (PEM), as a file that Envoy watches."""
    return _secret("ROOTCA", {"validation_context": {"trusted_ca": {"inline_string": roots}}})


def _node(workload: Workload) -> dict[str, object]:
    node: dict[str, object] = {
        "id": workload.node_id,
        "cluster": f"{workload.app}.{workload.namespace}",
        "metadata": {
            "NAME": workload.name,
            "NAMESPACE": workload.namespace,
            "SERVICE_ACCOUNT": workload.service_account,
            "LABELS": {"app": workload.app},
        },
    }
    if workload.region:
        node["locality"] = {"region": workload.region, "zone": workload.zone}
    return node


def _from_ads() -> dict[str, object]:
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _control_plane_cluster(control_planes: Sequence[str], folder: Path) -> dict[str, object]:
    istiod = {"san_type": "URI", "matcher": {"exact": ISTIOD.uri}}
    endpoints = []
    for priority, target in enumerate(control_planes):
        host, _, port = target.rpartition(":")
        endpoint = {"endpoint": {"address": _address(host, int(port))}}
        endpoints.append({"priority": priority, "lb_endpoints": [endpoint]})
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": XDS_CLUSTER, "endpoints": endpoints},
        # One of one host down is all of them: without this, Envoy would go on asking the dead one.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.25s",
                "no_traffic_healthy_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "close_connections_on_host_health_failure": True,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "5s", "timeout": "2s"},
                        "max_concurrent_streams": 100,
                    }
                },
            }
        },
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 10, "keepalive_interval": 5, "keepalive_probes": 2}
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TLS}UpstreamTlsContext",
                "common_tls_context": {
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        # As a client Envoy would offer 1.2 at most.
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [_from_file("default", folder / IDENTITY_FILE)],
                    "combined_validation_context": {
                        "default_validation_context": {"match_typed_subject_alt_names": [istiod]},
                        "validation_context_sds_secret_config": _from_file("ROOTCA", folder / TRUST_FILE),
                    },
                },
            },
        },
    }


def _from_file(name: str, path: Path) -> dict[str, object]:
    return {"name": name, "sds_config": {"path_config_source": {"path": str(path)}}}


def _secret(name: str, content: dict[str, object]) -> dict[str, object]:
    return {"resources": [{"@type": f"{_TLS}Secret", "name": name, **content}]}


def _address(host: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}
