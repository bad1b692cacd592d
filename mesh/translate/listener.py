"""Listener: where a proxy listens, and what happens to what arrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from mesh.ir.listener import Chain, Direction, HttpChain, Listener
from mesh.ir.security import MutualTls
from mesh.ir.view import Proxy
from mesh.translate import metrics, tls
from mesh.translate.filters import http_filters, network_filter, network_filters
from mesh.translate.names import HCM, TLS_INSPECTOR, chain_names
from mesh.translate.packing import ZERO, Proto, address_of, boolean, duration, empty, over_ads, pack
from mesh.translate.rbac_terms import cidr
from mesh.translate.reuse import Reuse
from mesh.translate.telemetry import access_logs, tracing
from mesh.xds.protos import (
    base_pb2,
    http_connection_manager_pb2,
    listener_components_pb2,
    listener_pb2,
    tls_inspector_pb2,
)

INSPECTION = timedelta(seconds=5)
"""How long a listener waits to see whether a connection begins with TLS; then it counts as plaintext."""

_DIRECTIONS = {
    Direction.INBOUND: base_pb2.TrafficDirection.INBOUND,
    Direction.OUTBOUND: base_pb2.TrafficDirection.OUTBOUND,
    Direction.GATEWAY: base_pb2.TrafficDirection.OUTBOUND,
}
_Manager = http_connection_manager_pb2.HttpConnectionManager


class Context(NamedTuple):
    """What listeners are translated in."""

    proxy: Proxy
    tables: Mapping[str, Proto]
    """Route configurations of inbound ports by name. They become part of the listener: they change with it,
    and must never be there later than it."""
    reuse: Reuse


def translate_listener(listener: Listener, context: Context) -> Proto:
    """The listener."""
    chains = [made for chain in listener.chains for made in _chains(chain, listener, context)]
    made = listener_pb2.Listener(
        name=listener.name,
        address=address_of(listener.address, listener.port),
        filter_chains=chains,
        traffic_direction=_DIRECTIONS[listener.direction],
    )
    if any(_needs_inspection(chain) for chain in chains):
        made.listener_filters.add(name=TLS_INSPECTOR, typed_config=empty(tls_inspector_pb2.TlsInspector))
        # In some protocols the server speaks first; such a client sends nothing to inspect.
        made.continue_on_listener_filters_timeout = True
        made.listener_filters_timeout.CopyFrom(duration(INSPECTION))
    return made


def _needs_inspection(chain: Proto) -> bool:
    match = chain.filter_chain_match
    return bool(match.server_names or match.transport_protocol or match.application_protocols)


def _chains(chain: Chain, listener: Listener, context: Context) -> list[Proto]:
    names = chain_names(listener, chain)
    http = isinstance(chain.content, HttpChain)
    if listener.direction is Direction.GATEWAY:
        socket = tls.gateway(chain.gateway_tls, http=http) if chain.gateway_tls is not None else None
        return [_chain(names[0], chain, listener, context, socket=socket)]
    if listener.direction is Direction.OUTBOUND or listener.mutual_tls is MutualTls.DISABLE:
        return [_chain(names[0], chain, listener, context)]
    socket = tls.inbound(context.proxy.trust_domain, http=http)
    if listener.mutual_tls is MutualTls.STRICT:
        # Nothing is inspected: what does not begin with a TLS handshake fails in it.
        return [_chain(names[0], chain, listener, context, socket=socket)]
    return [
        _chain(names[0], chain, listener, context, socket=socket, transport="tls"),
        _chain(names[1], chain, listener, context, transport="raw_buffer"),
    ]


def _chain(
    name: str,
    chain: Chain,
    listener: Listener,
    context: Context,
    *,
    socket: Proto | None = None,
    transport: str = "",
) -> Proto:
    made = listener_components_pb2.FilterChain(name=name, transport_socket=socket)
    if chain.server_names or chain.destination_cidrs or transport:
        made.filter_chain_match.CopyFrom(
            listener_components_pb2.FilterChainMatch(
                server_names=chain.server_names,
                prefix_ranges=[cidr(item) for item in chain.destination_cidrs],
                transport_protocol=transport,
            )
        )
    content = chain.content
    if isinstance(content, HttpChain):
        manager = connection_manager(content, listener, context, secured=socket is not None)
        made.filters.append(network_filter(HCM, pack(manager)))
    else:
        told = listener.telemetry
        made.filters.extend(network_filters(content, listener.direction, told, secured=socket is not None))
    return made


def connection_manager(content: HttpChain, listener: Listener, context: Context, *, secured: bool) -> Proto:
    """An HttpConnectionManager. `secured` is whether TLS ends at this listener.

    Most of it is the same for all workloads of a service.
    """
    direction = listener.direction
    workloads = (
        ""
        if direction is Direction.OUTBOUND
        else f"{context.proxy.namespace}/{context.proxy.service_account}"
    )
    if listener.telemetry.metrics is not None:
        workloads = f"{workloads} {context.proxy.namespace}/{context.proxy.name}"
    common = context.reuse.get(
        HCM,
        workloads,
        (
            direction,
            content.security,
            content.fault,
            content.cors,
            content.grpc_web,
            listener.telemetry,
            secured,
        ),
        lambda: _common(content, listener, secured=secured),
    )
    made = _Manager()
    made.CopyFrom(common)
    made.stat_prefix = content.stats_prefix
    if direction is Direction.INBOUND:
        made.route_config.CopyFrom(context.tables[content.route_table])
    else:
        made.rds.route_config_name = content.route_table
        made.rds.config_source.CopyFrom(over_ads())
    return made


def _common(content: HttpChain, listener: Listener, *, secured: bool) -> Proto:
    direction = listener.direction
    made = _Manager(
        codec_type=_Manager.AUTO,
        http_filters=http_filters(content, direction),
        access_log=[
            *access_logs(listener.telemetry),
            *metrics.http_loggers(listener.telemetry.metrics, direction, secured=secured),
        ],
        tracing=tracing(listener.telemetry, direction),
        # Only a gateway meets clients whose word on where they are is not taken.
        use_remote_address=boolean(direction is Direction.GATEWAY),
        normalize_path=boolean(True),
        # Chat streams may be silent for long; deadlines end requests, not silence.
        stream_idle_timeout=duration(ZERO),
    )
    made.upgrade_configs.add(upgrade_type="websocket")
    if secured:
        # The application is told who its caller proved to be. What the caller itself says of that is dropped:
        # a sidecar's direct peer is who calls (Istio appends, and leaves the choice to the application).
        made.forward_client_cert_details = _Manager.SANITIZE_SET
        made.set_current_client_cert_details.uri = True
        made.set_current_client_cert_details.dns = True
        made.set_current_client_cert_details.subject.value = True
    return made
