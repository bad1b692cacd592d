"""gRPC clients that are their own proxies get what they understand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from golden.views import (
    EAST,
    OUTBOUND,
    SESSION,
    application,
    cluster,
    forward,
    group,
    host,
    origin,
    outbound,
    route,
    table,
)
from golden.views import proxy as a_proxy

from mesh.ir.cluster import Balancing, LoadBalancer, OutlierDetection
from mesh.ir.listener import Chain, HttpChain
from mesh.ir.route import Destination, Fault, Forward, Retries, Route
from mesh.ir.view import ProxyKind, ProxyView
from mesh.translate import translate
from mesh.xds.protos import cluster_pb2, http_connection_manager_pb2, tls_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources

TARGET = f"{SESSION}:8080"


def made(*routes: Route, **said: Any) -> Resources:
    """What the client is sent."""
    fault = any(item.fault for item in routes)
    content = HttpChain(route_table=OUTBOUND, fault=fault, stats_prefix="x")
    chain = Chain(name=TARGET, content=content, origin=origin("session", kind="ServiceEntry"))
    listener = outbound(name=TARGET, address="", chains=(chain,))
    known = cluster(**{"groups": (group(host(1)), group(host(2), place=EAST, priority=1)), **said})
    return translate(
        ProxyView(
            proxy=a_proxy(ProxyKind.PROXYLESS),
            clusters=(application(), known),
            route_tables=(table(OUTBOUND, routes),),
            listeners=(listener,),
        )
    )


def _cluster(resources: Resources) -> Any:
    return resources.of(CLUSTER)[OUTBOUND]


def test_a_target_is_a_listener_that_leads_to_routes_cluster_and_hosts() -> None:
    resources = made()
    listener: Any = resources.of(LISTENER)[TARGET]
    manager = http_connection_manager_pb2.HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(manager)
    routes: Any = resources.of(ROUTES)[manager.rds.route_config_name]
    (virtual,) = routes.virtual_hosts
    assert list(virtual.domains) == ["*"]
    assert virtual.routes[0].route.cluster in resources.of(CLUSTER)
    assert [item.priority for item in resources.of(ENDPOINTS)[OUTBOUND].endpoints] == [0, 1]  # type: ignore[attr-defined]
    assert manager.http_filters[-1].name == "envoy.filters.http.router"


def test_the_application_behind_a_sidecar_is_no_concern_of_a_client() -> None:
    assert list(made().of(CLUSTER)) == [OUTBOUND]


def test_hosts_are_ejected_by_the_share_of_failures() -> None:
    outlier = OutlierDetection(consecutive_gateway_errors=1, max_ejection_percent=100, origin=origin())
    found = _cluster(made(outlier=outlier)).outlier_detection
    assert found.enforcing_failure_percentage.value == 100
    assert found.failure_percentage_minimum_hosts.value == 1
    assert not found.HasField("consecutive_gateway_failure"), "gRPC does not know it"


def test_balancers_that_grpc_lacks_become_round_robin() -> None:
    assert _cluster(made()).lb_policy == cluster_pb2.Cluster.ROUND_ROBIN
    hashed = LoadBalancer(policy=Balancing.RING_HASH, minimum_ring_size=64)
    assert _cluster(made(balancer=hashed)).lb_policy == cluster_pb2.Cluster.RING_HASH


def test_certificates_come_from_the_clients_own_bootstrap() -> None:
    context = tls_pb2.UpstreamTlsContext()
    assert _cluster(made()).transport_socket.typed_config.Unpack(context)
    common = context.common_tls_context
    assert common.tls_certificate_provider_instance.instance_name == "default"
    validation = common.combined_validation_context.default_validation_context
    assert validation.ca_certificate_provider_instance.instance_name == "default"
    assert [item.exact for item in validation.match_subject_alt_names] == [
        "spiffe://cluster.local/ns/causeway/sa/session"
    ]


def _action(**said: Any) -> Any:
    action = Forward(**{"destinations": (Destination(cluster=OUTBOUND),), **said})
    routes: Any = made(route(action=action)).of(ROUTES)[OUTBOUND]
    return routes.virtual_hosts[0].routes[0].route


def test_only_conditions_that_grpc_knows_are_retried() -> None:
    retries = Retries(
        attempts=2,
        conditions=("connect-failure", "retriable-status-codes", "cancelled"),
        per_try_timeout=timedelta(seconds=1),
        statuses=(503,),
        remote_localities=True,
        origin=origin(),
    )
    policy = _action(retries=retries).retry_policy
    assert policy.retry_on == "cancelled"
    assert not policy.retry_host_predicate
    assert not policy.HasField("retry_priority")
    none = Retries(attempts=2, conditions=("retriable-4xx",), origin=origin())
    assert not _action(retries=none).HasField("retry_policy")


def test_a_limit_of_time_is_said_in_grpcs_words() -> None:
    limited = _action(timeout=timedelta(seconds=5))
    assert limited.max_stream_duration.max_stream_duration.seconds == 5
    assert not _action().HasField("max_stream_duration")


def test_faults_work_in_the_client_too() -> None:
    fault = Fault(abort_grpc=14, abort_percent=1, origin=origin())
    resources = made(route(action=forward(OUTBOUND), fault=fault))
    listener: Any = resources.of(LISTENER)[TARGET]
    manager = http_connection_manager_pb2.HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(manager)
    assert [item.name for item in manager.http_filters] == [
        "envoy.filters.http.fault",
        "envoy.filters.http.router",
    ]


def test_origins_are_under_the_names_that_are_sent() -> None:
    resources = made()
    found = resources.origin(LISTENER, TARGET)
    assert found is not None
    assert found.kind == "VirtualService"
    assert resources.origin(ROUTES, OUTBOUND, TARGET, "0") is not None
