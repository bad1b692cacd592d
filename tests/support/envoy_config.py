"""Small pieces of Envoy configuration for tests, written as a person would write them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict

from mesh.ir.origin import Origin
from mesh.ir.values import Locality
from mesh.ir.view import Proxy, ProxyKind
from mesh.simulate.world import Node
from mesh.xds.protos import message_class
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources

Plain = dict[str, Any]

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
SESSION = "session.causeway.svc.cluster.local"
OUTBOUND = f"outbound|8080||{SESSION}"


def message(type_url: str, plain: Plain) -> Any:
    """The message that JSON describes."""
    kind = message_class(type_url)
    assert kind is not None, type_url
    _load(plain)
    return ParseDict(plain, kind())


def _load(plain: object) -> None:
    """Makes the types known that are named inside."""
    if isinstance(plain, dict):
        if "@type" in plain:
            assert message_class(plain["@type"]) is not None, plain["@type"]
        for inner in plain.values():
            _load(inner)
    elif isinstance(plain, list):
        for inner in plain:
            _load(inner)


def spiffe(account: str) -> str:
    """An identity of the mesh."""
    return f"spiffe://cluster.local/ns/causeway/sa/{account}"


def router() -> Plain:
    """The last filter."""
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}


def http_chain(table: Plain | str, filters: Sequence[Plain] = (), name: str = "chain", **more: Any) -> Plain:
    """A filter chain that routes requests: by a table of its own, or the one that is named."""
    manager: Plain = {"@type": HCM, "stat_prefix": "test", "http_filters": [*filters, router()]}
    if isinstance(table, str):
        manager["rds"] = {"route_config_name": table, "config_source": {"ads": {}}}
    else:
        manager["route_config"] = table
    hcm = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": name, "filters": [hcm], **more}


def tcp_chain(cluster: str, **more: Any) -> Plain:
    """A filter chain that passes connections on."""
    proxy = {"@type": TCP, "stat_prefix": "test", "cluster": cluster}
    return {
        "name": "tcp",
        "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
        **more,
    }


def table(name: str, routes: Sequence[Plain], domains: Sequence[str] = ("*",)) -> Plain:
    """A route table with one virtual host."""
    return {
        "name": name,
        "virtual_hosts": [{"name": "host", "domains": list(domains), "routes": list(routes)}],
    }


def to(cluster: str, prefix: str = "/", **action: Any) -> Plain:
    """A route that forwards."""
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, **action}}


def listener(name: str, address: str, port: int, chains: Sequence[Plain], **more: Any) -> Plain:
    """A listener that looks into TLS."""
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        },
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": list(chains),
        "listener_filters": [inspector],
        **more,
    }


def server_tls(prefix: str = "spiffe://cluster.local/") -> Plain:
    """Mutual TLS, demanded."""
    common = {
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": prefix}}]
            },
            "validation_context_sds_secret_config": {"name": "ROOTCA"},
        },
    }
    context = {
        "@type": f"{TLS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": common,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def client_tls(expected: str) -> Plain:
    """Mutual TLS, offered."""
    common = {
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "alpn_protocols": ["h2"],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": expected}}]
            },
            "validation_context_sds_secret_config": {"name": "ROOTCA"},
        },
    }
    context = {
        "@type": f"{TLS}.UpstreamTlsContext",
        "common_tls_context": common,
        "sni": "outbound_.8080_._.x",
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def rbac(policies: Mapping[str, Plain], action: str = "ALLOW", **more: Any) -> Plain:
    """The HTTP filter."""
    rules = {"action": action, "policies": dict(policies)}
    config = {"@type": f"{HTTP}.rbac.v3.RBAC", "rules": rules, **more}
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def policy(account: str, path: str) -> Plain:
    """Lets a service account ask for paths with a prefix."""
    return {
        "permissions": [{"url_path": {"path": {"prefix": path}}}],
        "principals": [{"authenticated": {"principal_name": {"exact": spiffe(account)}}}],
    }


def endpoints(name: str, groups: Sequence[tuple[str, int, Sequence[str]]], **more: Any) -> Plain:
    """Hosts by region and priority, all on port 9443."""
    return {
        "cluster_name": name,
        "endpoints": [
            {
                "locality": {"region": region},
                "priority": priority,
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 9443}}}}
                    for host in hosts
                ],
            }
            for region, priority, hosts in groups
        ],
        **more,
    }


def eds(name: str, **more: Any) -> Plain:
    """A cluster whose hosts come over EDS."""
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}}, "service_name": name},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        **more,
    }


def local(port: int = 50051) -> Plain:
    """The application behind a sidecar."""
    host = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    assignment = {"cluster_name": "inbound|9443||", "endpoints": [{"lb_endpoints": [host]}]}
    return {"name": "inbound|9443||", "type": "STATIC", "load_assignment": assignment}


def node(
    app: str,
    region: str,
    address: str,
    *,
    listeners: Sequence[Plain] = (),
    clusters: Sequence[Plain] = (),
    assignments: Sequence[Plain] = (),
    tables: Sequence[Plain] = (),
    kind: ProxyKind = ProxyKind.SIDECAR,
    origins: Mapping[tuple[str, ...], Origin] | None = None,
) -> Node:
    """A proxy with this configuration."""

    def named(type_url: str, items: Sequence[Plain], key: str = "name") -> dict[str, Any]:
        return {item[key]: message(type_url, item) for item in items}

    resources = Resources(
        {
            LISTENER: named(LISTENER, listeners),
            CLUSTER: named(CLUSTER, clusters),
            ENDPOINTS: named(ENDPOINTS, assignments, "cluster_name"),
            ROUTES: named(ROUTES, tables),
        },
        dict(origins or {}),
    )
    proxy = Proxy(
        name=f"{app}-{region}",
        namespace="causeway",
        kind=kind,
        service_account=app,
        locality=Locality(region, f"{region}a"),
        labels={"app": app},
        address=address,
    )
    return Node(proxy, resources)


RETRY: Plain = {
    "retry_on": "connect-failure,unavailable",
    "num_retries": 2,
    "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts"}],
    "retry_priority": {"name": "envoy.retry_priorities.previous_priorities"},
}

OUTLIER: Plain = {
    "consecutive_gateway_failure": 1,
    "enforcing_consecutive_gateway_failure": 100,
    "max_ejection_percent": 100,
}


def session_server(region: str, address: str, filters: Sequence[Plain] | None = None) -> Node:
    """A session server behind its sidecar: mutual TLS, and only the gateway may read messages."""
    allowed = rbac({"may-read": policy("gateway", "/causeway.session.v1.MessageService/")})
    chain = http_chain(
        table("inbound|9443||", [to("inbound|9443||")]),
        [allowed] if filters is None else filters,
        transport_socket=server_tls(),
    )
    inbound = listener(f"{address}_9443", address, 9443, [chain], traffic_direction="INBOUND")
    return node("session", region, address, listeners=[inbound], clusters=[local()])


def session_client(
    app: str,
    region: str,
    address: str,
    groups: Sequence[tuple[str, int, Sequence[str]]],
    *,
    routes: Sequence[Plain] | None = None,
    cluster: Plain | None = None,
    origins: Mapping[tuple[str, ...], Origin] | None = None,
) -> Node:
    """A caller of the session service."""
    made = cluster or eds(OUTBOUND, outlier_detection=OUTLIER, transport_socket=client_tls(spiffe("session")))
    domains = [SESSION, f"{SESSION}:8080", "session.causeway"]
    outbound = listener(f"{address}_8080", address, 8080, [http_chain("8080")], traffic_direction="OUTBOUND")
    return node(
        app,
        region,
        address,
        listeners=[outbound],
        clusters=[made],
        assignments=[endpoints(OUTBOUND, groups)],
        tables=[table("8080", routes or [to(OUTBOUND, retry_policy=RETRY)], domains)],
        origins=origins,
    )
