"""Cluster: an upstream, how one of its hosts is chosen, and when one is left out."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf import any_pb2, wrappers_pb2

from mesh.ir.cluster import (
    Balancing,
    Cluster,
    ConnectionPool,
    Discovery,
    HealthCheck,
    LoadBalancer,
    OutlierDetection,
    UpstreamTlsMode,
)
from mesh.translate import metrics, tls
from mesh.translate.endpoint import load_assignment, matches_plaintext
from mesh.translate.packing import (
    UNLIMITED,
    Proto,
    boolean,
    duration,
    maybe_duration,
    maybe_number,
    number,
    over_ads,
    pack,
)
from mesh.xds.protos import (
    address_pb2,
    base_pb2,
    circuit_breaker_pb2,
    cluster_pb2,
    health_check_pb2,
    http_protocol_options_pb2,
    outlier_detection_pb2,
    percent_pb2,
    protocol_pb2,
)

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

PING_INTERVAL = timedelta(seconds=5)
PING_TIMEOUT = timedelta(seconds=3)
"""A connection whose peer hangs is found by a PING without an answer; its streams then fail at once, where
they would otherwise wait for their deadlines."""

_DISCOVERY = {
    Discovery.EDS: cluster_pb2.Cluster.EDS,
    Discovery.STATIC: cluster_pb2.Cluster.STATIC,
    Discovery.DNS: cluster_pb2.Cluster.STRICT_DNS,
    Discovery.DNS_ROUND_ROBIN: cluster_pb2.Cluster.LOGICAL_DNS,
    Discovery.ORIGINAL_DST: cluster_pb2.Cluster.ORIGINAL_DST,
}
_DNS = (Discovery.DNS, Discovery.DNS_ROUND_ROBIN)
_POLICY = {
    Balancing.ROUND_ROBIN: cluster_pb2.Cluster.ROUND_ROBIN,
    Balancing.LEAST_REQUEST: cluster_pb2.Cluster.LEAST_REQUEST,
    Balancing.RANDOM: cluster_pb2.Cluster.RANDOM,
    Balancing.PASSTHROUGH: cluster_pb2.Cluster.CLUSTER_PROVIDED,
    Balancing.RING_HASH: cluster_pb2.Cluster.RING_HASH,
    Balancing.MAGLEV: cluster_pb2.Cluster.MAGLEV,
}


def translate_cluster(cluster: Cluster) -> Proto:
    """The cluster. With EDS it says nothing of its hosts, so that it stays the same while they come and
    go."""
    made = cluster_pb2.Cluster(
        name=cluster.name,
        type=_DISCOVERY[discovery(cluster)],
        connect_timeout=duration(cluster.pool.connect_timeout),
        circuit_breakers=_limits(cluster.pool),
        # A host that was taken out of the configuration gets nothing more, even if it still answers checks.
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options=_http_options(cluster),
    )
    _find_hosts(made, cluster)
    _balance(made, cluster)
    if cluster.outlier is not None:
        made.outlier_detection.CopyFrom(_outlier(cluster.outlier, checked=cluster.health_check is not None))
    if cluster.health_check is not None:
        made.health_checks.append(_health_check(cluster.health_check, cluster.service))
    _secure(made, cluster)
    _keep_alive(made, cluster.pool)
    if cluster.named is not None:
        said = metrics.service_metadata(cluster.named)
        made.metadata.filter_metadata[metrics.METADATA].CopyFrom(said)
    return made


def discovery(cluster: Cluster) -> Discovery:
    """How its hosts are found: PASSTHROUGH takes the address that was dialled, whatever was declared."""
    if cluster.balancer.policy is Balancing.PASSTHROUGH:
        return Discovery.ORIGINAL_DST
    return cluster.discovery


def _find_hosts(made: Proto, cluster: Cluster) -> None:
    how = discovery(cluster)
    if how is Discovery.EDS:
        made.eds_cluster_config.CopyFrom(
            cluster_pb2.Cluster.EdsClusterConfig(eds_config=over_ads(), service_name=cluster.name)
        )
    elif how is not Discovery.ORIGINAL_DST:
        made.load_assignment.CopyFrom(load_assignment(cluster))
    if how in _DNS:
        made.dns_lookup_family = cluster_pb2.Cluster.V4_PREFERRED


def _balance(made: Proto, cluster: Cluster) -> None:
    balancer = cluster.balancer
    if discovery(cluster) is Discovery.ORIGINAL_DST:
        made.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    else:
        made.lb_policy = _POLICY[balancer.policy]
        _tune(made, balancer)
    # Envoy's panic, which uses all hosts once half of them are ill, is off unless asked for, as in Istio: it
    # would send requests to hosts that drain or are ejected although another priority is well.
    panic = cluster.outlier.min_health_percent if cluster.outlier is not None else 0
    made.common_lb_config.healthy_panic_threshold.CopyFrom(percent_pb2.Percent(value=panic))
    if balancer.locality_weighted:
        made.common_lb_config.locality_weighted_lb_config.SetInParent()


def _tune(made: Proto, balancer: LoadBalancer) -> None:
    if balancer.policy is Balancing.RING_HASH and balancer.minimum_ring_size is not None:
        made.ring_hash_lb_config.minimum_ring_size.value = balancer.minimum_ring_size
    if balancer.policy is Balancing.MAGLEV and balancer.table_size is not None:
        made.maglev_lb_config.table_size.value = balancer.table_size
    if balancer.warmup is None:
        return
    slow = cluster_pb2.Cluster.SlowStartConfig(slow_start_window=duration(balancer.warmup))
    if balancer.warmup_aggression is not None:
        slow.aggression.CopyFrom(
            base_pb2.RuntimeDouble(
                default_value=balancer.warmup_aggression, runtime_key="upstream.slow_start.aggression"
            )
        )
    if balancer.warmup_minimum_percent is not None:
        slow.min_weight_percent.CopyFrom(percent_pb2.Percent(value=balancer.warmup_minimum_percent))
    if balancer.policy is Balancing.ROUND_ROBIN:
        made.round_robin_lb_config.slow_start_config.CopyFrom(slow)
    elif balancer.policy is Balancing.LEAST_REQUEST:
        made.least_request_lb_config.slow_start_config.CopyFrom(slow)


def _limits(pool: ConnectionPool) -> Proto:
    """Envoy's own limits (1024 connections and requests, 3 retries) are lifted, as in Istio.

    Three retries at a time are fewer than fail at once when a region is lost.
    """

    def limit(value: int | None) -> wrappers_pb2.UInt32Value:
        return number(UNLIMITED if value is None else value)

    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            circuit_breaker_pb2.CircuitBreakers.Thresholds(
                max_connections=limit(pool.max_connections),
                max_pending_requests=limit(pool.max_pending_requests),
                max_requests=limit(pool.max_requests),
                max_retries=limit(pool.max_retries),
                track_remaining=True,
            )
        ]
    )


def _outlier(outlier: OutlierDetection, *, checked: bool) -> Proto:
    """What is not asked for is switched off: Envoy ejects by success rate unless told not to."""

    def enforced(count: int | None) -> wrappers_pb2.UInt32Value:
        return number(100 if count else 0)

    made = outlier_detection_pb2.OutlierDetection(
        interval=duration(outlier.interval),
        base_ejection_time=duration(outlier.base_ejection),
        max_ejection_percent=number(outlier.max_ejection_percent),
        consecutive_5xx=maybe_number(outlier.consecutive_5xx or None),
        enforcing_consecutive_5xx=enforced(outlier.consecutive_5xx),
        consecutive_gateway_failure=maybe_number(outlier.consecutive_gateway_errors or None),
        enforcing_consecutive_gateway_failure=enforced(outlier.consecutive_gateway_errors),
        enforcing_success_rate=number(0),
    )
    if outlier.split_local_origin:
        made.split_external_local_origin_errors = True
        made.enforcing_local_origin_success_rate.CopyFrom(number(0))
        if outlier.consecutive_local_origin_failures:
            made.consecutive_local_origin_failure.CopyFrom(number(outlier.consecutive_local_origin_failures))
            made.enforcing_consecutive_local_origin_failure.CopyFrom(number(100))
    if checked:
        # Left out for its answers, a host stays out for its time, as where nothing checks it.
        made.successful_active_health_check_uneject_host.CopyFrom(boolean(False))
    return made


def _health_check(check: HealthCheck, authority: str) -> Proto:
    made = health_check_pb2.HealthCheck(
        timeout=duration(check.timeout),
        interval=duration(check.interval),
        # A cluster that nobody has used yet would otherwise be looked at once a minute.
        no_traffic_interval=duration(check.interval),
        unhealthy_threshold=number(check.unhealthy_after),
        healthy_threshold=number(check.healthy_after),
    )
    if check.grpc_service is None:
        made.tcp_health_check.SetInParent()
    else:
        made.grpc_health_check.CopyFrom(
            health_check_pb2.HealthCheck.GrpcHealthCheck(service_name=check.grpc_service, authority=authority)
        )
    return made


def _http_options(cluster: Cluster) -> dict[str, any_pb2.Any]:
    pool = cluster.pool
    common = protocol_pb2.HttpProtocolOptions(
        idle_timeout=maybe_duration(
            pool.idle_timeout if pool.idle_timeout is not None else pool.idle_timeout_tcp
        ),
        max_connection_duration=maybe_duration(pool.max_connection_duration),
        max_requests_per_connection=maybe_number(pool.max_requests_per_connection or None),
    )
    options = http_protocol_options_pb2.HttpProtocolOptions()
    http2 = _http2(pool)
    if pool.use_client_protocol:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2)
    elif tls.speaks_http2(cluster):
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    named = tls.verifies_by_dialled_name(cluster.tls)
    if named:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = True
    if common.ByteSize():
        options.common_http_protocol_options.CopyFrom(common)
    elif not (named or pool.use_client_protocol or tls.speaks_http2(cluster)):
        return {}
    return {HTTP_OPTIONS: pack(options)}


def _http2(pool: ConnectionPool) -> Proto:
    options = protocol_pb2.Http2ProtocolOptions(
        connection_keepalive=protocol_pb2.KeepaliveSettings(
            interval=duration(PING_INTERVAL), timeout=duration(PING_TIMEOUT)
        )
    )
    if pool.max_concurrent_streams:
        options.max_concurrent_streams.CopyFrom(number(pool.max_concurrent_streams))
    return options


def _secure(made: Proto, cluster: Cluster) -> None:
    socket = tls.upstream(cluster)
    if socket is None:
        return
    made.transport_socket.CopyFrom(socket)
    if cluster.tls is not None and cluster.tls.mode is UpstreamTlsMode.ISTIO_MUTUAL:
        made.transport_socket_matches.append(
            cluster_pb2.Cluster.TransportSocketMatch(
                name=tls.PLAINTEXT_HOST, match=matches_plaintext(), transport_socket=tls.plaintext()
            )
        )


def _keep_alive(made: Proto, pool: ConnectionPool) -> None:
    probes, idle, interval = pool.tcp_keepalive_probes, pool.tcp_keepalive_time, pool.tcp_keepalive_interval
    if probes is None and idle is None and interval is None:
        return
    made.upstream_connection_options.tcp_keepalive.CopyFrom(
        address_pb2.TcpKeepalive(
            keepalive_probes=maybe_number(probes),
            keepalive_time=maybe_number(None if idle is None else int(idle.total_seconds())),
            keepalive_interval=maybe_number(None if interval is None else int(interval.total_seconds())),
        )
    )
