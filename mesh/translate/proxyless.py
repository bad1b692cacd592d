"""xDS for a gRPC client that is its own proxy and dials `xds:///session.causeway.svc.cluster.local:8080`.

gRPC knows less of xDS than Envoy, and refuses or overlooks the rest
(https://grpc.github.io/grpc/cpp/md_doc_grpc_xds_features.html). So:
- A listener is an `api_listener` named as the target; each service has a route table of its own.
- Least-request balancing becomes round robin, which the C core has; so does maglev, unlike ring hash.
- There is no ejection by consecutive failures: hosts are ejected when half of their requests fail.
- There are no health checks. A host that hangs is found by gRPC's keepalive.
- Certificates come from the bootstrap's provider `default`, which reads the files that hold the SVID.
- Header changes, rewrites, mirrors, and answers without an upstream have no effect: a client makes its own
  calls.
"""

from __future__ import annotations

from mesh.ir.cluster import Balancing, Cluster, OutlierDetection, UpstreamTlsMode
from mesh.ir.listener import HttpChain, Listener
from mesh.ir.route import Route, RouteTable
from mesh.ir.values import MatchKind, StringMatcher
from mesh.translate.names import FAULT, ROUTER, TLS
from mesh.translate.packing import Proto, duration, empty, number, over_ads, pack, string_match
from mesh.translate.route import translate_route
from mesh.xds.protos import (
    api_listener_pb2,
    base_pb2,
    cluster_pb2,
    fault_pb2,
    http_connection_manager_pb2,
    listener_pb2,
    outlier_detection_pb2,
    route_components_pb2,
    route_pb2,
    router_pb2,
    tls_common_pb2,
    tls_pb2,
)

PROVIDER = "default"
"""Of certificates, in the client's bootstrap file."""

FAILING_PERCENT = 50
"""Of a host's requests in one interval, at which it is ejected."""

REQUESTS_TO_JUDGE = 5
"""In an interval, of which fewer say nothing."""

_RETRIED = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
"""All the conditions that gRPC knows."""

_MEANS_UNAVAILABLE = frozenset({"reset", "gateway-error", "5xx"})
"""Envoy's words for what a gRPC client sees as UNAVAILABLE.

Not those for calls that nobody has begun on (`connect-failure`, `refused-stream`, `reset-before-request`):
gRPC sends these again by itself (A6, transparent retries), and a route that names only them must not be
repeated after a server's own UNAVAILABLE.
"""

_INSTANCE = tls_common_pb2.CertificateProviderPluginInstance


def listener(target: Listener) -> Proto:
    """What `xds:///<name>` asks for first."""
    content = target.chains[0].content
    manager = http_connection_manager_pb2.HttpConnectionManager()
    manager.rds.config_source.CopyFrom(over_ads(wait=False))
    if isinstance(content, HttpChain):
        manager.rds.route_config_name = content.route_table
        if content.fault:
            manager.http_filters.add(name=FAULT, typed_config=empty(fault_pb2.HTTPFault))
    manager.http_filters.add(name=ROUTER, typed_config=empty(router_pb2.Router))
    return listener_pb2.Listener(
        name=target.name, api_listener=api_listener_pb2.ApiListener(api_listener=pack(manager))
    )


def routes(table: RouteTable) -> Proto:
    """The routes of one service. Whatever the caller calls it, it is the one that was dialled."""
    return route_pb2.RouteConfiguration(
        name=table.name,
        virtual_hosts=[
            route_components_pb2.VirtualHost(
                name=host.name, domains=["*"], routes=[_route(route) for route in host.routes]
            )
            for host in table.hosts[:1]
        ],
    )


def _route(route: Route) -> Proto:
    made = translate_route(route)
    if not made.HasField("route"):
        return made
    action = made.route
    # What gRPC reads as the limit of a call.
    if action.timeout.seconds or action.timeout.nanos:
        action.max_stream_duration.max_stream_duration.CopyFrom(action.timeout)
    action.ClearField("timeout")
    if action.HasField("retry_policy"):
        policy = action.retry_policy
        policy.retry_on = ",".join(_conditions(policy.retry_on.split(",")))
        for unknown in (
            "retry_host_predicate",
            "retry_priority",
            "per_try_timeout",
            "retriable_status_codes",
        ):
            policy.ClearField(unknown)
        policy.host_selection_retry_max_attempts = 0
        if not policy.retry_on:
            action.ClearField("retry_policy")
    return made


def _conditions(wanted: list[str]) -> list[str]:
    known = {name for name in wanted if name in _RETRIED}
    if _MEANS_UNAVAILABLE.intersection(wanted):
        known.add("unavailable")
    return sorted(known)


def cluster(upstream: Cluster) -> Proto:
    """A cluster as gRPC takes it. Its hosts come over EDS whatever Envoy would be told."""
    hashed = upstream.balancer.policy is Balancing.RING_HASH
    made = cluster_pb2.Cluster(
        name=upstream.name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(
            eds_config=over_ads(wait=False), service_name=upstream.name
        ),
        lb_policy=cluster_pb2.Cluster.RING_HASH if hashed else cluster_pb2.Cluster.ROUND_ROBIN,
    )
    if hashed and upstream.balancer.minimum_ring_size is not None:
        made.ring_hash_lb_config.minimum_ring_size.value = upstream.balancer.minimum_ring_size
    if upstream.pool.max_requests is not None:
        made.circuit_breakers.thresholds.add(max_requests=number(upstream.pool.max_requests))
    if upstream.outlier is not None:
        made.outlier_detection.CopyFrom(_outlier(upstream.outlier))
    if upstream.tls is not None and upstream.tls.mode is UpstreamTlsMode.ISTIO_MUTUAL:
        made.transport_socket.CopyFrom(_mutual_tls(upstream.tls.identities))
    return made


def _outlier(outlier: OutlierDetection) -> Proto:
    return outlier_detection_pb2.OutlierDetection(
        interval=duration(outlier.interval),
        base_ejection_time=duration(outlier.base_ejection),
        max_ejection_percent=number(outlier.max_ejection_percent),
        enforcing_success_rate=number(0),
        enforcing_failure_percentage=number(100),
        failure_percentage_threshold=number(FAILING_PERCENT),
        failure_percentage_minimum_hosts=number(1),
        failure_percentage_request_volume=number(REQUESTS_TO_JUDGE),
    )


def _mutual_tls(identities: tuple[str, ...]) -> Proto:
    names = [string_match(StringMatcher(MatchKind.EXACT, name)) for name in identities]
    context = tls_pb2.UpstreamTlsContext()
    common = context.common_tls_context
    common.tls_certificate_provider_instance.CopyFrom(_INSTANCE(instance_name=PROVIDER))
    # gRPC reads the untyped list of names only.
    common.combined_validation_context.default_validation_context.CopyFrom(
        tls_common_pb2.CertificateValidationContext(
            ca_certificate_provider_instance=_INSTANCE(instance_name=PROVIDER), match_subject_alt_names=names
        )
    )
    return base_pb2.TransportSocket(name=TLS, typed_config=pack(context))
