"""Names that appear in the generated configuration, Istio's wherever it has one: EnvoyFilters match by
them."""

from __future__ import annotations

from mesh.ir.listener import Chain, Direction, Listener
from mesh.ir.security import Effect, MutualTls, Policy

HCM = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
NETWORK_RBAC = "envoy.filters.network.rbac"
NETWORK_EXT_AUTHZ = "envoy.filters.network.ext_authz"

RBAC = "envoy.filters.http.rbac"
EXT_AUTHZ = "envoy.filters.http.ext_authz"
JWT = "envoy.filters.http.jwt_authn"
GRPC_WEB = "envoy.filters.http.grpc_web"
GRPC_STATS = "envoy.filters.http.grpc_stats"
FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
ROUTER = "envoy.filters.http.router"

TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
TLS = "envoy.transport_sockets.tls"
RAW_BUFFER = "envoy.transport_sockets.raw_buffer"

JWT_PAYLOAD = "payload"
"""Key under which the claims of a checked token are, in the metadata of the JWT filter."""

EXT_AUTHZ_PREFIX = "istio-ext-authz"


def policy_id(policy: Policy, rule: int) -> str:
    """`ns[causeway]-policy[session]-rule[0]`; a CUSTOM policy's begins with the provider it asks."""
    namespace, _, name = policy.name.rpartition("/")
    plain = f"ns[{namespace}]-policy[{name}]-rule[{rule}]"
    if policy.effect is Effect.CUSTOM:
        return f"{EXT_AUTHZ_PREFIX}-{policy.provider}-{plain}"
    return plain


def chain_names(listener: Listener, chain: Chain) -> tuple[str, ...]:
    """The filter chains that one chain becomes: two where mutual TLS is permitted but not demanded."""
    if listener.direction is Direction.INBOUND and listener.mutual_tls is MutualTls.PERMISSIVE:
        return (chain.name, f"{chain.name}-plaintext")
    return (chain.name,)


def server_name(cluster: str) -> str:
    """The TLS server name of a mesh cluster: `outbound_.8080_.v1_.session.causeway.svc.cluster.local`."""
    return cluster.replace("|", "_.")


def split(cluster: str) -> tuple[str, str, str, int | None]:
    """Direction, subset, host and port of a cluster named `outbound|8080|v1|host`; empty ones for another
    name."""
    parts = cluster.split("|")
    if len(parts) != 4:
        return "", "", "", None
    direction, port, subset, host = parts
    return direction, subset, host, int(port) if port.isdigit() else None
