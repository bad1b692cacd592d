"""ClusterLoadAssignment: the hosts of a cluster by priority and locality."""

from __future__ import annotations

from google.protobuf import struct_pb2

from mesh.ir.cluster import Cluster, Host, HostGroup
from mesh.ir.values import Locality
from mesh.translate import metrics
from mesh.translate.packing import Proto, address_of, number
from mesh.translate.tls import PLAINTEXT_LABEL
from mesh.xds.protos import base_pb2, endpoint_components_pb2, endpoint_pb2, health_check_pb2

SOCKET_MATCH = "envoy.transport_socket_match"
"""Metadata by which a host chooses among its cluster's transport sockets."""


def load_assignment(cluster: Cluster) -> Proto:
    """The hosts of a cluster, under the cluster's name.

    Draining hosts stay in it, marked: Envoy then keeps their streams and starts none there
    (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority).
    """
    secure = cluster.tls is not None
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=cluster.name,
        endpoints=[_group(group, secure) for group in cluster.groups if group.weight != 0],
    )


def _group(group: HostGroup, secure: bool) -> Proto:
    weight = group.weight if group.weight is not None else sum(host.weight for host in group.hosts)
    return endpoint_components_pb2.LocalityLbEndpoints(
        locality=locality(group.locality),
        priority=group.priority,
        # Without a weight, a locality gets nothing where weights count, and gRPC leaves it out.
        load_balancing_weight=number(max(weight, 1)),
        lb_endpoints=[_host(host, secure) for host in group.hosts],
    )


def locality(place: Locality) -> Proto:
    """Envoy's Locality."""
    return base_pb2.Locality(region=place.region, zone=place.zone, sub_zone=place.subzone)


def _host(host: Host, secure: bool) -> Proto:
    """This runs once a host and proxy: most of what a translation costs."""
    made = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_of(host.address, host.port)),
        load_balancing_weight=number(max(host.weight, 1)),
    )
    if host.draining:
        made.health_status = health_check_pb2.HealthStatus.DRAINING
    if secure and not host.tls:
        key, value = PLAINTEXT_LABEL
        made.metadata.filter_metadata[SOCKET_MATCH].fields[key].string_value = value
    if host.party is not None:
        made.metadata.filter_metadata[metrics.METADATA].CopyFrom(metrics.party_metadata(host.party))
    return made


def matches_plaintext() -> struct_pb2.Struct:
    """What a host's metadata must hold for it to be dialled in plaintext."""
    key, value = PLAINTEXT_LABEL
    return struct_pb2.Struct(fields={key: struct_pb2.Value(string_value=value)})
