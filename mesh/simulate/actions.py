"""What a route does with a request: sends it on, changed, to a cluster, or answers by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mesh.simulate import tables
from mesh.simulate.filters import Stop
from mesh.simulate.matchers import runtime_share
from mesh.simulate.messages import Proto, seconds, which
from mesh.simulate.request import Request
from mesh.simulate.retries import Policy, policy_of
from mesh.simulate.tables import FoundRoute
from mesh.simulate.trail import Trail
from mesh.simulate.walk import Result

_REDIRECT_CODES = (301, 302, 303, 307, 308)
_APPEND, _ADD_IF_ABSENT, _OVERWRITE, _OVERWRITE_IF_PRESENT = range(4)

Clusters = tuple[tuple[str, float], ...]
"""Clusters with their shares of the requests, which add up to 1."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    cluster: str
    request: Request
    """As it leaves."""
    retries: Policy
    timeout: float
    """Seconds; 0: none."""
    clusters: Clusters = ()


def clusters_of(pairs: Iterable[tuple[str, float]]) -> Clusters:
    """Weights as shares."""
    pairs = list(pairs)
    whole = sum(weight for _, weight in pairs)
    return tuple((name, weight / whole if whole else 1 / len(pairs)) for name, weight in pairs)


def act(
    table: Proto,
    host: Proto,
    found: FoundRoute,
    request: Request,
    pick: Callable[[Clusters], str],
    trail: Trail,
    at: tuple[str, ...],
) -> Target | Stop:
    """Carry out a route."""
    route = found.route
    label = route.name or f"route {found.index}"
    conditions = tables.describe(route.match)
    share = "" if found.share == 1 else f", {found.share:.4%} of requests"
    trail.add("route", f"{label} matches: {conditions or 'everything'}{share}", *at)
    kind = which(route, "action")
    if kind == "redirect":
        return _redirect(route.redirect)
    if kind == "direct_response":
        status = route.direct_response.status
        return Stop(status=status, says=f"answers {status} by itself", result=Result.ANSWERED)
    if kind != "route":
        return Stop(status=500, says=f"the route's action is not simulated ({kind})", result=Result.FAILED)
    return _forward(table, host, route, request, pick, trail, at)


def _forward(
    table: Proto,
    host: Proto,
    route: Proto,
    request: Request,
    pick: Callable[[Clusters], str],
    trail: Trail,
    at: tuple[str, ...],
) -> Target | Stop:
    action = route.route
    chosen = _clusters(action, request)
    if not chosen:
        return Stop(status=503, says="the request names no cluster", result=Result.FAILED)
    cluster = pick(chosen)
    if len(chosen) > 1:
        spread = ", ".join(f"{name} {share:.2%}" for name, share in chosen)
        trail.add("weights", spread, *at)
    policy = policy_of(action, host)
    timeout = seconds(action.timeout) if action.HasField("timeout") else 15.0
    limit = f"at most {timeout:g} s" if timeout else "no time limit of its own"
    trail.add("route", f"{limit}, {policy.says}", *at, "retries")
    for index, mirror in enumerate(action.request_mirror_policies):
        part = runtime_share(mirror.runtime_fraction) if mirror.HasField("runtime_fraction") else 1.0
        copied = f"{part:.4%} are copied to {mirror.cluster or mirror.cluster_header}, answers thrown away"
        trail.add("mirror", copied, *at, f"mirror.{index}")
    changed = _rewritten(action, route.match, request)
    for owner in (_weighted(action, cluster), route, host, table):
        changed = changed if owner is None else _headers(owner, changed)
    if (changed.path, changed.authority) != (request.path, request.authority):
        trail.add("rewrite", f"becomes {changed.authority}{changed.path}", *at)
    return Target(cluster, changed, policy, timeout, chosen)


def _clusters(action: Proto, request: Request) -> Clusters:
    kind = which(action, "cluster_specifier")
    if kind == "weighted_clusters":
        return clusters_of(
            (item.name, float(item.weight.value)) for item in action.weighted_clusters.clusters
        )
    if kind == "cluster_header":
        named = request.header(action.cluster_header)
        return ((named, 1.0),) if isinstance(named, str) else ()
    return ((action.cluster, 1.0),)


def _weighted(action: Proto, cluster: str) -> Proto | None:
    if which(action, "cluster_specifier") != "weighted_clusters":
        return None
    return next((item for item in action.weighted_clusters.clusters if item.name == cluster), None)


def _rewritten(action: Proto, match: Proto, request: Request) -> Request:
    if request.open:
        return request
    path, query = request.bare_path, request.path[len(request.bare_path) :]
    if action.prefix_rewrite:
        kind = which(match, "path_specifier")
        matched = path if kind == "path" else str(getattr(match, kind)) if "prefix" in kind else ""
        request = replace(request, path=action.prefix_rewrite + path[len(matched) :] + query)
    elif action.HasField("regex_rewrite"):
        substitution = re.sub(r"\\(\d)", r"\\g<\1>", action.regex_rewrite.substitution)
        request = replace(request, path=_sub(action.regex_rewrite.pattern.regex, substitution, path) + query)
    if which(action, "host_rewrite_specifier") == "host_rewrite_literal":
        request = replace(request, authority=action.host_rewrite_literal)
    return request


def _sub(pattern: str, substitution: str, text: str) -> str:
    try:
        return re.sub(pattern, substitution, text)
    except re.error:
        return text


def _headers(owner: Proto, request: Request) -> Request:
    for name in owner.request_headers_to_remove:
        request = request.without_header(name)
    for option in owner.request_headers_to_add:
        name, value = option.header.key, option.header.value
        present = request.header(name) is not None
        action = option.append_action
        if option.HasField("append"):
            action = _APPEND if option.append.value else _OVERWRITE
        if (action == _ADD_IF_ABSENT and present) or (action == _OVERWRITE_IF_PRESENT and not present):
            continue
        request = request.with_header(name, value, append=action == _APPEND)
    return request


def _redirect(redirect: Proto) -> Stop:
    code = _REDIRECT_CODES[redirect.response_code]
    kinds: Sequence[tuple[str, object]] = (
        ("scheme", redirect.scheme_redirect or ("https" if redirect.https_redirect else "")),
        ("host", redirect.host_redirect),
        ("port", redirect.port_redirect),
        ("path", redirect.path_redirect or redirect.prefix_rewrite),
    )
    where = ", ".join(f"{name} {value}" for name, value in kinds if value)
    return Stop(status=code, says=f"redirected: {where or 'nowhere'}", result=Result.ANSWERED)
