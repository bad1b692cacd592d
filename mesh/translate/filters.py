"""Which filters stand in a filter chain, in which order. That is decided here and nowhere else."""

from __future__ import annotations

from google.protobuf import any_pb2

from mesh.ir.listener import Direction, HttpChain, TcpChain
from mesh.ir.telemetry import Telemetry
from mesh.translate import metrics, rbac
from mesh.translate.jwt import jwt_filter
from mesh.translate.names import CORS, FAULT, GRPC_WEB, JWT, ROUTER, TCP_PROXY
from mesh.translate.packing import Proto, empty, pack
from mesh.translate.telemetry import access_logs
from mesh.xds.protos import (
    cors_pb2,
    fault_pb2,
    grpc_web_pb2,
    http_connection_manager_pb2,
    listener_components_pb2,
    router_pb2,
    tcp_proxy_pb2,
)


def http_filters(content: HttpChain, direction: Direction) -> list[Proto]:
    """The HTTP filters of a connection manager, first to last. It is Istio's order, so that an EnvoyFilter
    that says "before the router" or "after JWT" lands where it would in a cluster.

    1. CUSTOM authorization: a filter that notes which policies match, then the one that asks the service. It
       comes before JWT: such policies cannot look at claims, and the service sees the request as the client
       sent it, good token or bad.
    2. JWT: refuses bad tokens, and leaves the claims of good ones for what follows.
    3. AUDIT, DENY, ALLOW, which may look at claims.
    4. gRPC-Web: from here on the request is gRPC. Behind authorization, which is thus decided by what the
       client really sent, and before everything that speaks gRPC.
    5. Faults, so that only requests which would have been let through get them.
    6. CORS.
    7. The router, always last: it ends the chain.
    """
    found: list[Proto] = []
    security = content.security
    if security is not None:
        found += [_http(name, pack(config)) for name, config in rbac.custom_filters(security, http=True)]
        if security.issuers:
            # Only at the edge are there routes by claim; a second look-up costs every request.
            config = jwt_filter(security.issuers, reroute=direction is Direction.GATEWAY)
            found.append(_http(JWT, pack(config)))
        found += [_http(name, pack(config)) for name, config in rbac.filters(security, http=True)]
    if content.grpc_web:
        found.append(_http(GRPC_WEB, empty(grpc_web_pb2.GrpcWeb)))
    if content.fault:
        found.append(_http(FAULT, empty(fault_pb2.HTTPFault)))
    if content.cors:
        found.append(_http(CORS, empty(cors_pb2.Cors)))
    found.append(_http(ROUTER, empty(router_pb2.Router)))
    return found


def network_filters(
    content: TcpChain, direction: Direction, telemetry: Telemetry, *, secured: bool
) -> list[Proto]:
    """The filters of a chain that passes connections on: authorization in the order of requests, then the
    proxy. `secured` is whether TLS ends at the listener."""
    found: list[Proto] = []
    if content.security is not None:
        for name, config in (
            *rbac.custom_filters(content.security, http=False),
            *rbac.filters(content.security, http=False),
        ):
            found.append(network_filter(name, pack(config)))
    found.append(network_filter(TCP_PROXY, pack(_tcp_proxy(content, direction, telemetry, secured=secured))))
    return found


def _tcp_proxy(content: TcpChain, direction: Direction, telemetry: Telemetry, *, secured: bool) -> Proto:
    logs = access_logs(telemetry)
    made = tcp_proxy_pb2.TcpProxy(stat_prefix=content.stats_prefix)
    if metrics.log_when_connected(telemetry.metrics):
        made.access_log_options.flush_access_log_on_connected = True
        logs = [metrics.at_end(log) for log in logs]
    made.access_log.extend(logs + metrics.tcp_loggers(telemetry.metrics, direction, secured=secured))
    destinations = [item for item in content.destinations if item.weight > 0]
    if len(destinations) == 1:
        made.cluster = destinations[0].cluster
        return made
    weight = tcp_proxy_pb2.TcpProxy.WeightedCluster.ClusterWeight
    made.weighted_clusters.clusters.extend(
        weight(name=item.cluster, weight=item.weight) for item in destinations
    )
    return made


def network_filter(name: str, config: any_pb2.Any) -> Proto:
    """A network filter."""
    return listener_components_pb2.Filter(name=name, typed_config=config)


def _http(name: str, config: any_pb2.Any) -> Proto:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=config)
