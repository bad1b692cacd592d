"""Rules about leaving hosts and regions that fail."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Level, Mesh, levels
from mesh.manifests.destination_rule import DestinationRule, LocalityLoadBalancerSetting
from mesh.manifests.message import position_of

_LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/failover/"
_OUTLIER = "https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection"
_SETTING = (
    "https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting"
)


def setting_of(mesh: Mesh, level: Level) -> LocalityLoadBalancerSetting | None:
    """The locality setting that holds at a level: its own, else the mesh's."""
    own = level.load_balancer.locality_lb_setting if level.load_balancer else None
    setting = own or mesh.manifests.mesh_config.locality_lb_setting
    return None if setting is None or setting.enabled is False else setting


def _fails_over(mesh: Mesh, level: Level) -> bool:
    setting = setting_of(mesh, level)
    return setting is not None and not setting.distribute


def _of(level: Level) -> str:
    return f"{level.manifest.spec.host} ({level.label})" if level.label else str(level.manifest.spec.host)


def without_outlier_detection(mesh: Mesh) -> Iterator[Problem]:
    """Locality failover needs outlierDetection."""
    for level in levels(mesh):
        if _fails_over(mesh, level) and level.outlier is None:
            at = level.where.at
            own = level.load_balancer.locality_lb_setting if level.load_balancer else None
            if own is not None and level.load_balancer is not None:
                at = position_of(level.load_balancer, "locality_lb_setting")
            message = f"{_of(level)} is to fail over between localities, but has no outlierDetection"
            yield Problem(level.manifest, at, message)


def ejection_limit(mesh: Mesh) -> Iterator[Problem]:
    """A whole region's hosts must be ejectable."""
    for level in levels(mesh):
        outlier = level.outlier
        if outlier is None or not _fails_over(mesh, level):
            continue
        limit = 10 if outlier.max_ejection_percent is None else outlier.max_ejection_percent
        needed, counted = _share_of_largest_region(mesh, level)
        if limit < needed:
            message = f"{_of(level)}: {counted}, but only {limit} % of the hosts may be ejected"
            yield Problem(level.manifest, position_of(outlier, "max_ejection_percent"), message)


def _share_of_largest_region(mesh: Mesh, level: Level) -> tuple[float, str]:
    regions: dict[str, int] = {}
    for service in mesh.find(level.manifest.spec.host or "", level.manifest.namespace):
        for workload in mesh.workloads_of(service):
            regions[workload.region] = regions.get(workload.region, 0) + 1
    total = sum(regions.values())
    if not total:
        return 100.0, "a region may hold most of the hosts"
    region, most = max(regions.items(), key=lambda item: item[1])
    return 100.0 * most / total, f"{region or 'one region'} holds {most} of {total} hosts"


def distribute_is_not_failover(mesh: Mesh) -> Iterator[Problem]:
    """`distribute` shares traffic out, also when a place is gone."""
    for level in levels(mesh):
        setting = setting_of(mesh, level)
        if setting is None or level.load_balancer is None:
            continue
        if setting is not level.load_balancer.locality_lb_setting:
            continue
        if setting.distribute and (setting.failover or setting.failover_priority):
            message = "distribute and failover exclude each other; with both, distribute is taken"
            yield Problem(level.manifest, position_of(setting, "distribute"), f"{_of(level)}: {message}")
            continue
        for index, share in enumerate(setting.distribute):
            regions = {place.partition("/")[0] for place, percent in share.to.items() if percent}
            if len(regions) == 1 and "*" not in regions:
                message = f"calls from {share.from_} go to {regions.pop()} alone; no other region takes over"
                at = position_of(setting, "distribute", index)
                yield Problem(level.manifest, at, f"{_of(level)}: {message}")


NOBODY_LEFT = 1
"""Percent of healthy hosts below which none is, in services of up to a hundred."""


def panic_threshold(mesh: Mesh) -> Iterator[Problem]:
    """minHealthPercent stops failover."""
    for level in levels(mesh):
        outlier = level.outlier
        share = (outlier.min_health_percent or 0) if outlier is not None else 0
        if outlier is not None and share > NOBODY_LEFT and _fails_over(mesh, level):
            message = f"{_of(level)}: below {share} % of healthy hosts, ejected ones are called again"
            yield Problem(level.manifest, position_of(outlier, "min_health_percent"), message)


def gateway_errors_behind_5xx(mesh: Mesh) -> Iterator[Problem]:
    """Gateway errors are 5xx errors too."""
    for level in levels(mesh):
        outlier = level.outlier
        if outlier is None or not outlier.consecutive_gateway_errors:
            continue
        limit = 5 if outlier.consecutive_5xx_errors is None else outlier.consecutive_5xx_errors
        if limit and outlier.consecutive_gateway_errors > limit:
            message = (
                f"{_of(level)}: after {limit} errors of any kind the host is ejected already, "
                f"so {outlier.consecutive_gateway_errors} gateway errors are never reached"
            )
            yield Problem(level.manifest, position_of(outlier, "consecutive_gateway_errors"), message)


def failover_to_nowhere(mesh: Mesh) -> Iterator[Problem]:
    """Regions of failover must exist."""
    known = {workload.region for workload in mesh.workloads if workload.region}
    for rule in mesh.manifests.of(DestinationRule):
        policy = rule.spec.traffic_policy
        balancer = policy.load_balancer if policy else None
        setting = balancer.locality_lb_setting if balancer else None
        for index, failover in enumerate(setting.failover if setting else ()):
            at = position_of(setting, "failover", index) if setting else rule.at
            if failover.from_ == failover.to:
                yield Problem(rule, at, f"{rule.spec.host}: {failover.from_} is to fail over to itself")
            elif known and failover.to not in known:
                yield Problem(rule, at, f"{rule.spec.host}: no workload runs in {failover.to}")


def few_retries_at_once(mesh: Mesh) -> Iterator[Problem]:
    """A region's calls are retried all at once."""
    for level in levels(mesh):
        http = level.pool.http if level.pool else None
        if http is None or http.max_retries is None or http.max_retries >= 50:
            continue
        if level.outlier is not None or _fails_over(mesh, level):
            message = f"{_of(level)}: at most {http.max_retries} calls can be retried at a time"
            yield Problem(level.manifest, position_of(http, "max_retries"), message)


RULES = (
    Rule(
        id="failover-without-outlier-detection",
        severity=Severity.ERROR,
        finds="Locality failover without outlierDetection.",
        why="Envoy leaves a locality only when its hosts count as unhealthy, and without outlierDetection "
        "none ever does: a dead region keeps getting its calls. Istio does not even set priorities then.",
        fix="Add outlierDetection to the same level of the DestinationRule (a port's settings inherit none).",
        source=_LOCALITY,
        check=without_outlier_detection,
    ),
    Rule(
        id="ejection-limit-stops-failover",
        severity=Severity.ERROR,
        finds="maxEjectionPercent (10 when absent) below the share of hosts that one region holds.",
        why="When a region dies, only so many of its hosts are ejected, and the others keep getting calls. "
        "https://github.com/istio/istio/issues/34605 is one of many reports.",
        fix="maxEjectionPercent: 100, with minHealthPercent: 1.",
        source=_OUTLIER,
        check=ejection_limit,
    ),
    Rule(
        id="distribute-does-not-fail-over",
        severity=Severity.WARNING,
        finds="distribute that names one region only, or stands beside failover.",
        why="distribute puts all named localities at one priority, and those that it does not name get "
        "nothing, even when the named ones are dead.",
        fix="Use failover or failoverPriority, or give the other region a share, even a small one.",
        source=_SETTING,
        check=distribute_is_not_failover,
    ),
    Rule(
        id="panic-threshold-stops-failover",
        severity=Severity.WARNING,
        finds="minHealthPercent above 1 where calls are to fail over.",
        why="Below it Envoy ignores outlier detection and calls all hosts, the ejected ones too: a service "
        "of a few hosts reaches it as soon as a region dies.",
        fix="minHealthPercent: 1: ejected hosts are called when nobody else is left, and only then.",
        source=_OUTLIER,
        check=panic_threshold,
    ),
    Rule(
        id="gateway-errors-never-counted",
        severity=Severity.WARNING,
        finds="consecutiveGatewayErrors above consecutive5xxErrors (5 when absent).",
        why="Gateway errors are counted as 5xx errors as well, whose lower limit is reached first.",
        fix="Lower consecutiveGatewayErrors, or set consecutive5xxErrors: 0.",
        source=_OUTLIER,
        check=gateway_errors_behind_5xx,
    ),
    Rule(
        id="failover-to-nowhere",
        severity=Severity.ERROR,
        finds="failover to the region it comes from, or to one in which no workload runs.",
        why="Regions are compared letter by letter; with a wrong one calls go to whatever region is left, "
        "or to none.",
        fix="Write the region as the workloads' locality has it.",
        source=_SETTING,
        check=failover_to_nowhere,
    ),
    Rule(
        id="few-retries-at-once",
        severity=Severity.WARNING,
        finds="connectionPool.http.maxRetries below 50 for a service that hosts are ejected from.",
        why="When a region dies, every call that was under way there is retried in the same moment; those "
        "above the limit fail. Envoy's own default is 3.",
        fix="Raise maxRetries to the number of calls that can be under way, or leave it out (no limit in "
        "Istio).",
        source="https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking",
        check=few_retries_at_once,
    ),
)
