"""DestinationRule, and what other kinds share with it."""

from __future__ import annotations

from datetime import timedelta

from mesh.manifests.checks import ranges
from mesh.manifests.checks.names import (
    check_export_to,
    check_labels,
    check_selector,
    host_problem,
    is_dns_label,
    is_ip,
    label_problem,
)
from mesh.manifests.destination_rule import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    H2UpgradePolicy,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    OutlierDetection,
    PortTrafficPolicy,
    TcpKeepalive,
    TrafficPolicy,
)
from mesh.manifests.findings import Findings
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, shown

_LARGEST_RING = 8 * 1024 * 1024
_LARGEST_TABLE = 5_000_011
_MOST_LOCALITIES = 200
_TOPOLOGY = frozenset(
    {"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}
)


def check_destination_rule(manifest: Manifest[DestinationRule], findings: Findings) -> None:
    """The host, its policies and subsets."""
    rule = manifest.spec
    if rule.host is None:
        findings.field(rule, "host", "is missing")
    elif not is_ip(rule.host) and (problem := host_problem(rule.host, wildcard=True)) is not None:
        findings.field(rule, "host", problem)
    _check_traffic_policy(rule.traffic_policy, findings)
    names: set[str] = set()
    for index, subset in enumerate(rule.subsets):
        if subset.name is None:
            findings.field(subset, "name", "is missing")
        elif not is_dns_label(subset.name):
            findings.field(subset, "name", f"`{shown(subset.name)}` is not the name of a subset")
        elif subset.name in names:
            findings.field(rule, "subsets", f"there are two subsets {subset.name}", index)
        names.add(subset.name or "")
        check_labels(subset, "labels", subset.labels, findings)
        _check_traffic_policy(subset.traffic_policy, findings)
    check_export_to(rule, manifest.namespace, rule.export_to, findings)
    check_selector(rule, "workload_selector", rule.workload_selector, findings)
    if rule.workload_selector is not None and any(
        entry not in (".", manifest.namespace) for entry in rule.export_to
    ):
        findings.field(rule, "export_to", "a rule with a workloadSelector holds in its own namespace alone")


def _check_traffic_policy(policy: TrafficPolicy | None, findings: Findings) -> None:
    if policy is None:
        return
    if not (_has_settings(policy) or policy.port_level_settings):
        findings.check(policy.at, "must say something")
    _check_settings(policy, findings)
    for port in policy.port_level_settings:
        if port.port is None:
            findings.field(port, "port", "is missing")
        ranges.check_port_selector(port, "port", port.port, findings)
        if not _has_settings(port):
            findings.check(port.at, "must say something beside the port")
        _check_settings(port, findings)


def _has_settings(policy: TrafficPolicy | PortTrafficPolicy) -> bool:
    parts = (policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls)
    return any(part is not None for part in parts)


def _check_settings(policy: TrafficPolicy | PortTrafficPolicy, findings: Findings) -> None:
    _check_load_balancer(policy.load_balancer, findings)
    check_connection_pool(policy.connection_pool, findings)
    _check_outlier_detection(policy.outlier_detection, findings)
    _check_tls(policy.tls, findings)


def _check_load_balancer(settings: LoadBalancerSettings | None, findings: Findings) -> None:
    if settings is None:
        return
    hashed = settings.consistent_hash
    if hashed is not None:
        if hashed.http_cookie is not None and hashed.http_cookie.name is None:
            findings.field(hashed.http_cookie, "name", "is missing")
        if hashed.use_source_ip is False:
            findings.field(
                hashed, "use_source_ip", "false hashes by nothing: leave it out and name another key"
            )
        ring = hashed.ring_hash.minimum_ring_size if hashed.ring_hash is not None else None
        if hashed.ring_hash is not None and ring is not None and ring > _LARGEST_RING:
            findings.field(hashed.ring_hash, "minimum_ring_size", f"must not be more than {_LARGEST_RING}")
        if hashed.maglev is not None:
            table = hashed.maglev.table_size
            if table is None:
                findings.field(hashed.maglev, "table_size", "is missing")
            elif table >= _LARGEST_TABLE or not ranges.is_prime(table):
                findings.field(hashed.maglev, "table_size", f"must be a prime number below {_LARGEST_TABLE}")
    check_locality(settings.locality_lb_setting, findings)
    warmup = settings.warmup
    if warmup is not None:
        if warmup.duration is None:
            findings.field(warmup, "duration", "is missing")
        ranges.check_duration(warmup, "duration", warmup.duration, findings)
        ranges.check_percent(warmup, "minimum_percent", warmup.minimum_percent, findings)
        if warmup.aggression is not None and warmup.aggression < 1:
            findings.field(warmup, "aggression", f"must be at least 1, not {warmup.aggression:g}")


def check_locality(setting: LocalityLoadBalancerSetting | None, findings: Findings) -> None:
    """Shares add up, and the ways to say it exclude one another."""
    if setting is None:
        return
    if setting.distribute and setting.failover:
        findings.field(setting, "failover", "only one of distribute, failover may be there")
    if setting.distribute and setting.failover_priority:
        findings.field(setting, "failover_priority", "only one of distribute, failoverPriority may be there")
    if max((len(setting.distribute), *(len(each.to) for each in setting.distribute))) > _MOST_LOCALITIES:
        findings.field(setting, "distribute", f"must not have more than {_MOST_LOCALITIES} localities")
        return
    for index, distribute in enumerate(setting.distribute):
        if distribute.from_ is None:
            findings.field(distribute, "from_", "is missing")
        elif problem := _locality_problem(
            distribute.from_, [other.from_ or "" for other in setting.distribute[:index]]
        ):
            findings.field(distribute, "from_", problem)
        seen: list[str] = []
        for locality, weight in distribute.to.items():
            if problem := _locality_problem(locality, seen):
                findings.field(distribute, "to", problem, locality)
            if not 1 <= weight <= 100:
                findings.field(distribute, "to", f"must be from 1 to 100, not {weight}", locality)
            seen.append(locality)
        total = sum(distribute.to.values())
        if total != 100:
            findings.field(distribute, "to", f"the shares must add up to 100, not {total}")
    for failover in setting.failover:
        for name in ("from_", "to"):
            region = getattr(failover, name)
            if region is None:
                findings.field(failover, name, "is missing")
            elif "/" in region or "*" in region:
                findings.field(failover, name, "must be the name of a region alone")
        if failover.from_ is not None and failover.from_ == failover.to:
            findings.field(failover, "to", "must be another region")
    for index, label in enumerate(setting.failover_priority):
        key, _, value = label.partition("=")
        if problem := label_problem(key, value):
            findings.field(setting, "failover_priority", problem, index)
        elif setting.failover and key in _TOPOLOGY:
            findings.field(setting, "failover_priority", f"{key} must not stand beside failover", index)


def _locality_problem(locality: str, others: list[str]) -> str | None:
    """What is wrong with `region/zone/subzone` beside others."""
    parts = locality.split("/")
    if len(parts) > 3 or not all(parts):
        return f"`{shown(locality)}` is not of the form region/zone/subzone"
    if "*" in locality and (locality.count("*") > 1 or parts[-1] != "*"):
        return f"`{shown(locality)}`: a wildcard stands for the last part"
    for other in others:
        first, second = _fixed_parts(locality), _fixed_parts(other)
        shorter = min(len(first), len(second))
        if first[:shorter] == second[:shorter]:
            return f"`{shown(locality)}` overlaps with `{shown(other)}`"
    return None


def _fixed_parts(locality: str) -> list[str]:
    return [part for part in locality.split("/") if part != "*"]


def check_keepalive(keepalive: TcpKeepalive | None, findings: Findings) -> None:
    """Durations of probes."""
    if keepalive is None:
        return
    for name in ("time", "interval"):
        value: timedelta | None = getattr(keepalive, name)
        ranges.check_duration(keepalive, name, value, findings)
        if value is not None and value.microseconds:
            findings.field(keepalive, name, "must be in whole seconds")


def check_connection_pool(pool: ConnectionPoolSettings | None, findings: Findings) -> None:
    """Limits are not negative, and settings do not contradict one another."""
    if pool is None:
        return
    if pool.http is None and pool.tcp is None:
        findings.check(pool.at, "must have http or tcp")
    if pool.tcp is not None:
        ranges.check_not_negative(pool.tcp, ("max_connections",), findings)
        check_connect_timeout(pool.tcp, pool.tcp.connect_timeout, findings)
        ranges.check_duration(pool.tcp, "max_connection_duration", pool.tcp.max_connection_duration, findings)
        ranges.check_duration(pool.tcp, "idle_timeout", pool.tcp.idle_timeout, findings)
        check_keepalive(pool.tcp.tcp_keepalive, findings)
    if pool.http is not None:
        names = (
            "http1_max_pending_requests",
            "http2_max_requests",
            "max_requests_per_connection",
            "max_retries",
            "max_concurrent_streams",
        )
        ranges.check_not_negative(pool.http, names, findings)
        ranges.check_duration(pool.http, "idle_timeout", pool.http.idle_timeout, findings)
        if pool.http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and pool.http.use_client_protocol:
            findings.field(pool.http, "use_client_protocol", "must not stand beside h2UpgradePolicy UPGRADE")


def check_connect_timeout(message: Message, value: timedelta | None, findings: Findings) -> None:
    """A millisecond to an hour."""
    ranges.check_duration(message, "connect_timeout", value, findings)
    if value is not None and value > timedelta(hours=1):
        findings.field(message, "connect_timeout", "must not be longer than 1h")


def _check_outlier_detection(outlier: OutlierDetection | None, findings: Findings) -> None:
    if outlier is None:
        return
    ranges.check_duration(outlier, "interval", outlier.interval, findings)
    ranges.check_duration(outlier, "base_ejection_time", outlier.base_ejection_time, findings)
    ranges.check_percent(outlier, "max_ejection_percent", outlier.max_ejection_percent, findings)
    ranges.check_percent(outlier, "min_health_percent", outlier.min_health_percent, findings)
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        findings.field(
            outlier,
            "consecutive_local_origin_failures",
            "means nothing without splitExternalLocalOriginErrors: true",
        )


def _check_tls(tls: ClientTLSSettings | None, findings: Findings) -> None:
    if tls is None:
        return
    if tls.mode is ClientTLSMode.MUTUAL:
        for name in ("client_certificate", "private_key"):
            if getattr(tls, name) is None:
                findings.field(tls, name, "is missing: MUTUAL shows a certificate of its own")
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL:
        for name in ("client_certificate", "private_key", "ca_certificates"):
            if getattr(tls, name) is not None:
                findings.field(
                    tls, name, "must not stand beside ISTIO_MUTUAL, which uses the mesh's certificates"
                )
    if tls.insecure_skip_verify and tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        for name in ("ca_certificates", "subject_alt_names"):
            if getattr(tls, name):
                findings.field(tls, name, "must not stand beside insecureSkipVerify: true")
