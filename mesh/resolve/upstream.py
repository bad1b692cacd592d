"""A DestinationRule's settings as those of a cluster, with Istio's defaults.

https://istio.io/latest/docs/reference/config/networking/destination-rule/ and
pilot/pkg/networking/core/cluster_traffic_policy.go, cluster_tls.go.
"""

from __future__ import annotations

from datetime import timedelta

from mesh.ir.cluster import (
    Balancing,
    ConnectionPool,
    HashOn,
    LoadBalancer,
    OutlierDetection,
    UpstreamTls,
    UpstreamTlsMode,
)
from mesh.ir.origin import default
from mesh.manifests import destination_rule as api
from mesh.manifests.destination_rule import H2UpgradePolicy, SimpleLB
from mesh.resolve.settings import Settings
from mesh.resolve.traffic_policy import Policy, Said

_SIMPLE = {
    SimpleLB.RANDOM: Balancing.RANDOM,
    SimpleLB.ROUND_ROBIN: Balancing.ROUND_ROBIN,
    SimpleLB.LEAST_REQUEST: Balancing.LEAST_REQUEST,
    SimpleLB.PASSTHROUGH: Balancing.PASSTHROUGH,
}
_RING_SIZE = 1024
_CONSECUTIVE = 5
_INTERVAL = timedelta(seconds=10)
_BASE_EJECTION = timedelta(seconds=30)
_MAX_EJECTION = 10
"""Percent. Envoy's defaults, which Istio leaves in place."""
_AUTO_MTLS = default("mutual TLS to every host with a sidecar (meshConfig.enableAutoMtls)")


def load_balancer(said: Said[api.LoadBalancerSettings] | None, *, locality_weighted: bool) -> LoadBalancer:
    """Among the hosts of a priority. Least requests where nothing is said."""
    if said is None:
        return LoadBalancer(locality_weighted=locality_weighted)
    value = said.value
    chosen = _SIMPLE.get(value.simple or SimpleLB.UNSPECIFIED, Balancing.LEAST_REQUEST)
    ring: int | None = None
    table: int | None = None
    hashed = value.consistent_hash
    if hashed is not None and hashed.maglev is not None:
        chosen, table = Balancing.MAGLEV, hashed.maglev.table_size or None
    elif hashed is not None:
        chosen, ring = Balancing.RING_HASH, _RING_SIZE
        if hashed.ring_hash is not None:
            ring = hashed.ring_hash.minimum_ring_size or None
    warmup = value.warmup
    return LoadBalancer(
        policy=chosen,
        hash_on=hash_on(value),
        minimum_ring_size=ring,
        table_size=table,
        warmup=warmup.duration if warmup else None,
        warmup_aggression=warmup.aggression if warmup else None,
        warmup_minimum_percent=round(warmup.minimum_percent) if warmup and warmup.minimum_percent else None,
        locality_weighted=locality_weighted,
        origin=said.origin,
    )


def hash_on(value: api.LoadBalancerSettings | None) -> HashOn | None:
    """What a consistent hash is taken of."""
    hashed = value.consistent_hash if value else None
    if hashed is None:
        return None
    cookie = hashed.http_cookie
    if cookie is not None:
        return HashOn(cookie=cookie.name or "", cookie_path=cookie.path or "", cookie_ttl=cookie.ttl)
    return HashOn(
        header=hashed.http_header_name or "",
        query_parameter=hashed.http_query_parameter_name or "",
        source_ip=bool(hashed.use_source_ip),
    )


def outlier_detection(said: Said[api.OutlierDetection] | None) -> OutlierDetection | None:
    """None where nothing is said: no host is ever left out, and no region fails over."""
    if said is None:
        return None
    value = said.value
    split = bool(value.split_external_local_origin_errors)
    consecutive = value.consecutive_5xx_errors
    return OutlierDetection(
        consecutive_5xx=_CONSECUTIVE if consecutive is None else consecutive or None,
        consecutive_gateway_errors=value.consecutive_gateway_errors or None,
        consecutive_local_origin_failures=(
            (value.consecutive_local_origin_failures or _CONSECUTIVE) if split else None
        ),
        split_local_origin=split,
        interval=value.interval or _INTERVAL,
        base_ejection=value.base_ejection_time or _BASE_EJECTION,
        max_ejection_percent=value.max_ejection_percent or _MAX_EJECTION,
        min_health_percent=value.min_health_percent or 0,
        origin=said.origin,
    )


def connection_pool(
    said: Said[api.ConnectionPoolSettings] | None, settings: Settings, *, http_port: bool = False
) -> ConnectionPool:
    """Without limits where nothing is said, retries included: Envoy's own three are too few while workloads
    come and go. 0 means that nothing is said."""
    tcp = (said.value.tcp if said else None) or api.TCPSettings()
    http = (said.value.http if said else None) or api.HTTPSettings()
    keepalive = tcp.tcp_keepalive or settings.keepalive
    upgrade = http.h2_upgrade_policy or H2UpgradePolicy.DEFAULT
    by_default = upgrade is H2UpgradePolicy.DEFAULT and settings.upgrade_to_http2 and http_port
    return ConnectionPool(
        max_connections=tcp.max_connections or None,
        connect_timeout=tcp.connect_timeout or settings.connect_timeout,
        tcp_keepalive_probes=keepalive.probes if keepalive else None,
        tcp_keepalive_time=keepalive.time if keepalive else None,
        tcp_keepalive_interval=keepalive.interval if keepalive else None,
        max_connection_duration=tcp.max_connection_duration,
        idle_timeout_tcp=tcp.idle_timeout,
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_retries=http.max_retries or None,
        idle_timeout=http.idle_timeout,
        max_concurrent_streams=http.max_concurrent_streams or None,
        upgrade_to_http2=upgrade is H2UpgradePolicy.UPGRADE or by_default,
        use_client_protocol=bool(http.use_client_protocol),
        origin=said.origin if said else default("connection pool"),
    )


def upstream_tls(
    policy: Policy, identities: tuple[str, ...], sni: str, settings: Settings, *, external: bool
) -> tuple[UpstreamTls | None, bool]:
    """How a connection is secured, and whether that holds for every host.

    Where nothing is said, hosts of the mesh with a sidecar are called with mutual TLS and the others in
    plaintext; what is said holds for all of them. `identities` are those of the service's workloads, and what
    a service outside the mesh declares.
    """
    said = policy.tls
    if said is None:
        if external or not settings.auto_mtls:
            return None, True
        return UpstreamTls(
            mode=UpstreamTlsMode.ISTIO_MUTUAL, identities=identities, sni=sni, origin=_AUTO_MTLS
        ), False
    value = said.value
    mode = UpstreamTlsMode((value.mode or api.ClientTLSMode.DISABLE).value)
    if mode is UpstreamTlsMode.DISABLE:
        return UpstreamTls(mode=mode, origin=said.origin), True
    ours = mode is UpstreamTlsMode.ISTIO_MUTUAL
    names = value.subject_alt_names or (identities if ours or external else ())
    authority = value.ca_certificates or ""
    return UpstreamTls(
        mode=mode,
        identities=names,
        sni=value.sni or (sni if ours else ""),
        certificate_file="" if ours else value.client_certificate or "",
        key_file="" if ours else value.private_key or "",
        ca_file="" if ours or authority == "system" else authority,
        skip_verify=bool(value.insecure_skip_verify),
        origin=said.origin,
    ), True
