"""Clusters: what decides where a request goes, and when a host is left out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from golden.views import EAST, WEST, application, cluster, group, host, mutual, origin

from mesh.ir.cluster import (
    Balancing,
    ConnectionPool,
    Discovery,
    HashOn,
    HealthCheck,
    LoadBalancer,
    OutlierDetection,
    UpstreamTls,
    UpstreamTlsMode,
)
from mesh.translate.cluster import HTTP_OPTIONS, translate_cluster
from mesh.translate.endpoint import load_assignment
from mesh.xds.protos import cluster_pb2, health_check_pb2, http_protocol_options_pb2, tls_pb2


def _options(made: Any) -> Any:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    assert made.typed_extension_protocol_options[HTTP_OPTIONS].Unpack(options)
    return options


def _tls(made: Any) -> Any:
    context = tls_pb2.UpstreamTlsContext()
    assert made.transport_socket.typed_config.Unpack(context)
    return context


def test_an_eds_cluster_stays_the_same_while_hosts_come_and_go() -> None:
    few, many = cluster(groups=()), cluster(groups=(group(host(1), host(2, draining=True, tls=False)),))
    assert translate_cluster(few) == translate_cluster(many)
    assert translate_cluster(few).eds_cluster_config.service_name == few.name


def test_grpc_clusters_speak_http2_and_notice_a_peer_that_hangs() -> None:
    http2 = _options(translate_cluster(cluster())).explicit_http_config.http2_protocol_options
    assert http2.connection_keepalive.interval.seconds == 5
    assert http2.connection_keepalive.timeout.seconds == 3


def test_a_plain_http_cluster_needs_no_options() -> None:
    assert not translate_cluster(cluster(http2=False, tls=None)).typed_extension_protocol_options


def test_the_clients_protocol_is_kept_where_asked() -> None:
    made = translate_cluster(cluster(http2=False, pool=ConnectionPool(use_client_protocol=True)))
    assert _options(made).use_downstream_protocol_config.HasField("http2_protocol_options")


def test_limits_that_nobody_set_are_lifted() -> None:
    limits = translate_cluster(cluster()).circuit_breakers.thresholds[0]
    assert limits.max_retries.value == limits.max_requests.value == 2**32 - 1
    limited = translate_cluster(cluster(pool=ConnectionPool(max_retries=7, max_connections=3)))
    assert limited.circuit_breakers.thresholds[0].max_retries.value == 7
    assert limited.circuit_breakers.thresholds[0].max_connections.value == 3


def test_limits_of_connections_are_carried_over() -> None:
    pool = ConnectionPool(
        connect_timeout=timedelta(milliseconds=500),
        tcp_keepalive_probes=3,
        tcp_keepalive_time=timedelta(seconds=10),
        tcp_keepalive_interval=timedelta(seconds=5),
        max_requests_per_connection=100,
        max_connection_duration=timedelta(minutes=10),
        idle_timeout=timedelta(minutes=1),
        max_concurrent_streams=50,
    )
    made = translate_cluster(cluster(pool=pool))
    assert made.connect_timeout.nanos == 500_000_000
    keepalive = made.upstream_connection_options.tcp_keepalive
    assert (keepalive.keepalive_probes.value, keepalive.keepalive_time.value) == (3, 10)
    options = _options(made)
    assert options.common_http_protocol_options.max_requests_per_connection.value == 100
    assert options.common_http_protocol_options.max_connection_duration.seconds == 600
    assert options.common_http_protocol_options.idle_timeout.seconds == 60
    assert options.explicit_http_config.http2_protocol_options.max_concurrent_streams.value == 50


@pytest.mark.parametrize(
    "policy, expected",
    [
        (Balancing.ROUND_ROBIN, cluster_pb2.Cluster.ROUND_ROBIN),
        (Balancing.LEAST_REQUEST, cluster_pb2.Cluster.LEAST_REQUEST),
        (Balancing.RANDOM, cluster_pb2.Cluster.RANDOM),
        (Balancing.RING_HASH, cluster_pb2.Cluster.RING_HASH),
        (Balancing.MAGLEV, cluster_pb2.Cluster.MAGLEV),
    ],
)
def test_every_balancer_is_known(policy: Balancing, expected: int) -> None:
    assert translate_cluster(cluster(balancer=LoadBalancer(policy=policy))).lb_policy == expected


def test_hashing_balancers_have_their_sizes() -> None:
    ring = LoadBalancer(policy=Balancing.RING_HASH, minimum_ring_size=64, hash_on=HashOn(header="x"))
    assert translate_cluster(cluster(balancer=ring)).ring_hash_lb_config.minimum_ring_size.value == 64
    maglev = LoadBalancer(policy=Balancing.MAGLEV, table_size=101, hash_on=HashOn(source_ip=True))
    assert translate_cluster(cluster(balancer=maglev)).maglev_lb_config.table_size.value == 101


def test_a_new_host_warms_up() -> None:
    balancer = LoadBalancer(warmup=timedelta(seconds=30), warmup_aggression=1.5, warmup_minimum_percent=20)
    slow = translate_cluster(cluster(balancer=balancer)).least_request_lb_config.slow_start_config
    assert slow.slow_start_window.seconds == 30
    assert slow.aggression.default_value == 1.5
    assert slow.min_weight_percent.value == 20


def test_passthrough_takes_the_address_that_was_dialled() -> None:
    made = translate_cluster(cluster(balancer=LoadBalancer(policy=Balancing.PASSTHROUGH)))
    assert made.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert made.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED


def test_the_first_gateway_error_ejects_where_asked() -> None:
    outlier = OutlierDetection(
        consecutive_5xx=None, consecutive_gateway_errors=1, max_ejection_percent=100, origin=origin()
    )
    made = translate_cluster(cluster(outlier=outlier)).outlier_detection
    assert made.consecutive_gateway_failure.value == 1
    assert made.enforcing_consecutive_gateway_failure.value == 100
    assert made.enforcing_consecutive_5xx.value == 0
    assert made.enforcing_success_rate.value == 0, "nothing that was not asked for"
    assert made.max_ejection_percent.value == 100


def test_failures_to_connect_are_counted_apart_where_asked() -> None:
    outlier = OutlierDetection(split_local_origin=True, consecutive_local_origin_failures=3, origin=origin())
    made = translate_cluster(cluster(outlier=outlier)).outlier_detection
    assert made.split_external_local_origin_errors
    assert made.consecutive_local_origin_failure.value == 3
    assert made.enforcing_local_origin_success_rate.value == 0


def test_panic_is_off_unless_a_minimum_of_healthy_hosts_is_asked_for() -> None:
    assert translate_cluster(cluster()).common_lb_config.healthy_panic_threshold.value == 0
    outlier = OutlierDetection(min_health_percent=30, origin=origin())
    made = translate_cluster(cluster(outlier=outlier))
    assert made.common_lb_config.healthy_panic_threshold.value == 30


def test_health_checks_ask_the_host_often_even_without_traffic() -> None:
    check = HealthCheck(
        interval=timedelta(milliseconds=500),
        timeout=timedelta(milliseconds=300),
        grpc_service="causeway.session.v1.SessionService",
        origin=origin(),
    )
    outlier = OutlierDetection(origin=origin())
    made = translate_cluster(cluster(health_check=check, outlier=outlier))
    asked = made.health_checks[0]
    assert asked.interval.nanos == asked.no_traffic_interval.nanos == 500_000_000
    assert asked.grpc_health_check.service_name == "causeway.session.v1.SessionService"
    assert not made.outlier_detection.successful_active_health_check_uneject_host.value
    assert made.ignore_health_on_host_removal


def test_a_check_without_a_service_connects() -> None:
    check = HealthCheck(interval=timedelta(seconds=1), timeout=timedelta(seconds=1), origin=origin())
    assert translate_cluster(cluster(health_check=check)).health_checks[0].HasField("tcp_health_check")


def test_mutual_tls_proves_both_sides_over_sds() -> None:
    context = _tls(translate_cluster(cluster()))
    common = context.common_tls_context
    assert [item.name for item in common.tls_certificate_sds_secret_configs] == ["default"]
    combined = common.combined_validation_context
    assert combined.validation_context_sds_secret_config.name == "ROOTCA"
    subjects = combined.default_validation_context.match_typed_subject_alt_names
    assert [item.matcher.exact for item in subjects] == ["spiffe://cluster.local/ns/causeway/sa/session"]
    assert context.sni == "outbound_.8080_._.session.causeway.svc.cluster.local"
    assert list(common.alpn_protocols) == ["h2"]


def test_a_host_without_a_sidecar_is_the_marked_exception() -> None:
    known = cluster(groups=(group(host(1), host(2, tls=False)),))
    made, hosts = translate_cluster(known), load_assignment(known).endpoints[0].lb_endpoints
    exception = made.transport_socket_matches[0]
    assert exception.transport_socket.name == "envoy.transport_sockets.raw_buffer"
    marks = hosts[1].metadata.filter_metadata["envoy.transport_socket_match"]
    assert marks == exception.match
    assert not hosts[0].HasField("metadata"), "what is not marked is dialled with TLS"


def test_tls_to_the_outside_verifies_the_name_that_was_dialled() -> None:
    outside = UpstreamTls(mode=UpstreamTlsMode.SIMPLE, ca_file="/roots.pem", origin=origin())
    made = translate_cluster(cluster(tls=outside, http2=False))
    assert _options(made).upstream_http_protocol_options.auto_san_validation
    validation = _tls(made).common_tls_context.validation_context
    assert validation.trusted_ca.filename == "/roots.pem"


def test_verification_is_skipped_only_when_asked() -> None:
    outside = UpstreamTls(mode=UpstreamTlsMode.SIMPLE, skip_verify=True, origin=origin())
    common = _tls(translate_cluster(cluster(tls=outside))).common_tls_context
    assert not common.WhichOneof("validation_context_type")


def test_a_client_certificate_of_its_own_comes_from_files() -> None:
    own = UpstreamTls(
        mode=UpstreamTlsMode.MUTUAL, certificate_file="/c", key_file="/k", ca_file="/r", origin=origin()
    )
    common = _tls(translate_cluster(cluster(tls=own))).common_tls_context
    assert common.tls_certificates[0].private_key.filename == "/k"


def test_disabled_tls_is_plaintext() -> None:
    plain = UpstreamTls(mode=UpstreamTlsMode.DISABLE, origin=origin())
    assert not translate_cluster(cluster(tls=plain)).HasField("transport_socket")


def test_an_application_is_part_of_its_cluster() -> None:
    made = translate_cluster(application())
    address = made.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("127.0.0.1", 41001)


def test_an_application_may_listen_on_a_unix_socket() -> None:
    known = cluster(
        discovery=Discovery.STATIC, groups=(group(host(1, address="/run/app.sock", port=0)),), tls=mutual()
    )
    endpoint = translate_cluster(known).load_assignment.endpoints[0].lb_endpoints[0].endpoint
    assert endpoint.address.pipe.path == "/run/app.sock"


def test_names_are_looked_up() -> None:
    made = translate_cluster(cluster(discovery=Discovery.DNS, tls=None))
    assert made.type == cluster_pb2.Cluster.STRICT_DNS
    assert made.load_assignment.cluster_name == made.name


def test_hosts_keep_their_order_priority_locality_and_weight() -> None:
    known = cluster(
        groups=(
            group(host(1, weight=3), host(2)),
            group(host(3), place=EAST, priority=1, weight=7),
        )
    )
    groups = load_assignment(known).endpoints
    assert [(item.locality.region, item.priority) for item in groups] == [("us-west-2", 0), ("us-east-1", 1)]
    assert [item.load_balancing_weight.value for item in groups] == [4, 7], (
        "a locality's is its hosts' unless set"
    )
    assert [item.load_balancing_weight.value for item in groups[0].lb_endpoints] == [3, 1]


def test_a_locality_without_a_share_is_left_out() -> None:
    known = cluster(groups=(group(host(1), weight=100), group(host(2), place=EAST, weight=0)))
    assert [item.locality.region for item in load_assignment(known).endpoints] == [WEST.region]


def test_a_draining_host_stays_and_is_marked() -> None:
    hosts = (
        load_assignment(cluster(groups=(group(host(1, draining=True), host(2)),))).endpoints[0].lb_endpoints
    )
    assert [item.health_status for item in hosts] == [
        health_check_pb2.HealthStatus.DRAINING,
        health_check_pb2.HealthStatus.UNKNOWN,
    ]
