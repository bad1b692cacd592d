"""HTTP routes of a VirtualService."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mesh.manifests.checks import ranges
from mesh.manifests.checks.names import check_gateway_names, check_labels, host_problem, is_dns_label
from mesh.manifests.claims import PREFIX as CLAIMS
from mesh.manifests.claims import claim_of, is_claim
from mesh.manifests.common import Destination, StringMatch
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message, shown
from mesh.manifests.virtual_service import (
    CorsPolicy,
    Headers,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    RouteDestination,
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_FORMATTED = re.compile(r"(?:[^%]|%%|%[A-Z0-9_]+(?:\([^%]*\))?(?::[0-9]+)?%)*")
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_GRPC_STATUSES = frozenset(
    {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    }
)  # fmt: skip
RETRY_ON = frozenset(
    {
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx",
        "refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited",
        "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
        "unavailable",
    }
)  # fmt: skip
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on"""


def check_http_route(route: HTTPRoute, findings: Findings, *, at_gateway: bool) -> None:
    """One rule; `at_gateway` says whether some gateway carries it out."""
    _check_action(route, findings)
    for match in route.match:
        check_http_match(match, findings, at_gateway=at_gateway)
    check_headers(route.headers, findings)
    _check_authority(route, findings)
    _check_cors(route.cors_policy, findings)
    _check_fault(route.fault, findings)
    check_destination(route.mirror, findings)
    ranges.check_percentage(route.mirror_percentage, findings)
    if route.mirror is not None and route.mirrors:
        findings.field(route, "mirrors", "only one of mirror, mirrors may be there")
    if route.mirror_percentage is not None and route.mirror is None:
        findings.field(route, "mirror_percentage", "means nothing without mirror")
    for mirror in route.mirrors:
        if mirror.destination is None:
            findings.field(mirror, "destination", "is missing")
        check_destination(mirror.destination, findings)
        ranges.check_percentage(mirror.percentage, findings)
    _check_redirect(route.redirect, findings)
    _check_direct_response(route.direct_response, findings)
    check_retry(route.retries, findings)
    _check_rewrite(route.rewrite, findings)
    check_route_destinations(route, route.route, findings)
    ranges.check_duration(route, "timeout", route.timeout, findings)


def _check_action(route: HTTPRoute, findings: Findings) -> None:
    actions = {
        "route": bool(route.route),
        "redirect": route.redirect,
        "direct_response": route.direct_response,
    }
    present = [name for name, value in actions.items() if value]
    if not present:
        findings.check(route.at, "must have one of route, redirect, directResponse")
    for name in present[1:]:
        findings.field(route, name, f"must not stand beside {present[0]}")
    if route.redirect is not None or route.direct_response is not None:
        action = "redirect" if route.redirect is not None else "directResponse"
        for name in ("fault", "rewrite"):
            if getattr(route, name) is not None:
                findings.field(route, name, f"must not stand beside {action}")


def check_string_match(match: StringMatch | None, findings: Findings) -> None:
    """A prefix or a pattern that is not empty."""
    if match is None:
        return
    if match.prefix == "":
        findings.field(match, "prefix", "is empty and so matches everything: leave it out")
    if match.regex is not None:
        ranges.check_pattern(match, "regex", match.regex, findings)


def check_http_match(match: HTTPMatchRequest, findings: Findings, *, at_gateway: bool) -> None:
    """One alternative of a rule."""
    for text in (match.uri, match.scheme, match.method, match.authority, *match.query_params.values()):
        check_string_match(text, findings)
    for name in ("headers", "without_headers"):
        headers: Mapping[str, StringMatch] = getattr(match, name)
        for key, value in headers.items():
            if is_claim(key):
                problem = _claim_problem(key, at_gateway=at_gateway)
            else:
                problem = _header_problem(key, pseudo=True)
            if problem:
                findings.field(match, name, problem, key)
            check_string_match(value, findings)
    ranges.check_optional_port(match, "port", match.port, findings)
    check_labels(match, "source_labels", match.source_labels, findings)
    check_gateway_names(match, match.gateways, findings)
    if match.source_namespace is not None and not is_dns_label(match.source_namespace):
        findings.field(match, "source_namespace", "is not the name of a namespace")


def _claim_problem(name: str, *, at_gateway: bool) -> str | None:
    if not at_gateway:
        return "only gateways route by the claims of a token: name one in gateways"
    if not claim_of(name):
        return f"`{shown(name)}` is neither {CLAIMS}.group.id nor {CLAIMS}[group][id]"
    return None


def _header_problem(name: str, *, pseudo: bool) -> str | None:
    if pseudo and name.startswith(":"):
        name = name[1:]
    if not _TOKEN.fullmatch(name):
        return f"`{shown(name)}` is not the name of a header"
    return None


def check_header_name(
    message: Message, name: str, header: str, findings: Findings, key: int | None = None
) -> None:
    """The name of a header."""
    problem = _header_problem(header, pseudo=False)
    if problem is not None:
        findings.field(message, name, problem, key)


def check_headers(headers: Headers | None, findings: Findings) -> None:
    """What is done to headers."""
    if headers is None:
        return
    for operations, of_request in ((headers.request, True), (headers.response, False)):
        if operations is None:
            continue
        for name in ("set", "add"):
            changes: Mapping[str, str] = getattr(operations, name)
            for header, value in changes.items():
                problem = _operation_problem(header, authority_allowed=of_request) or _value_problem(value)
                if problem is not None:
                    findings.field(operations, name, problem, header)
        for index, header in enumerate(operations.remove):
            problem = _operation_problem(header, authority_allowed=False)
            if problem is not None:
                findings.field(operations, "remove", problem, index)


def _operation_problem(header: str, *, authority_allowed: bool) -> str | None:
    if _is_authority(header):
        return None if authority_allowed else f"`{header}` cannot be changed here"
    if header.startswith(":"):
        return f"`{shown(header)}` cannot be changed"
    return _header_problem(header, pseudo=False)


def _value_problem(value: str) -> str | None:
    if not _VALUE.fullmatch(value):
        return "the value has control characters"
    if not _FORMATTED.fullmatch(value):
        return "the value has a `%` that begins no command of Envoy's; the sign itself is written `%%`"
    return None


def _is_authority(header: str) -> bool:
    return header.lower() in (":authority", "host")


def _check_authority(route: HTTPRoute, findings: Findings) -> None:
    request = route.headers.request if route.headers is not None else None
    changes = [*request.set, *request.add] if request is not None else []
    count = sum(_is_authority(header) for header in changes)
    if count + (route.rewrite is not None and route.rewrite.authority is not None) > 1:
        findings.field(route, "headers", "the authority is changed more than once")


def _check_cors(policy: CorsPolicy | None, findings: Findings) -> None:
    if policy is None:
        return
    for origin in policy.allow_origins:
        if not (origin.exact or origin.prefix or origin.regex):
            findings.check(origin.at, "must have one of exact, prefix, regex, and not empty")
        check_string_match(origin, findings)
    for index, method in enumerate(policy.allow_methods):
        if method not in _METHODS:
            findings.field(policy, "allow_methods", f"`{shown(method)}` is not a method", index)
    for name in ("allow_headers", "expose_headers"):
        for index, header in enumerate(getattr(policy, name)):
            check_header_name(policy, name, header, findings, index)
    ranges.check_duration(policy, "max_age", policy.max_age, findings)
    if policy.max_age is not None and policy.max_age.microseconds:
        findings.field(policy, "max_age", "must be in whole seconds")


def _check_fault(fault: HTTPFaultInjection | None, findings: Findings) -> None:
    if fault is None:
        return
    if fault.abort is None and fault.delay is None:
        findings.check(fault.at, "must have one of abort, delay, or both")
    if fault.delay is not None:
        if fault.delay.fixed_delay is None:
            findings.field(fault.delay, "fixed_delay", "is missing")
        ranges.check_duration(fault.delay, "fixed_delay", fault.delay.fixed_delay, findings)
        ranges.check_percentage(fault.delay.percentage, findings)
    if fault.abort is not None:
        status = fault.abort.http_status
        if status is not None and not 200 <= status <= 599:
            findings.field(fault.abort, "http_status", f"must be from 200 to 599, not {status}")
        grpc = fault.abort.grpc_status
        if grpc is not None and grpc not in _GRPC_STATUSES:
            findings.field(
                fault.abort, "grpc_status", f"`{shown(grpc)}` is not a status of gRPC, such as UNAVAILABLE"
            )
        ranges.check_percentage(fault.abort.percentage, findings)


def check_destination(destination: Destination | None, findings: Findings) -> None:
    """A service, perhaps a subset and a port."""
    if destination is None:
        return
    if destination.host is None:
        findings.field(destination, "host", "is missing")
    elif destination.host == "*":
        findings.field(destination, "host", "must name a service, not `*`")
    elif (problem := host_problem(destination.host, wildcard=True)) is not None:
        findings.field(destination, "host", problem)
    if destination.subset is not None and not is_dns_label(destination.subset):
        findings.field(destination, "subset", f"`{shown(destination.subset)}` is not the name of a subset")
    ranges.check_port_selector(destination, "port", destination.port, findings)


def check_route_destinations(
    route: Message,
    destinations: tuple[HTTPRouteDestination, ...] | tuple[RouteDestination, ...],
    findings: Findings,
) -> None:
    """Weights are not negative and not all zero."""
    for each in destinations:
        if each.destination is None:
            findings.field(each, "destination", "is missing")
        check_destination(each.destination, findings)
        ranges.check_not_negative(each, ("weight",), findings)
        if isinstance(each, HTTPRouteDestination):
            check_headers(each.headers, findings)
    total = sum(each.weight or 0 for each in destinations)
    if len(destinations) > 1 and total == 0:
        findings.field(route, "route", "the weights add up to 0, so that nothing is chosen")
    if total > 2**32 - 1:
        findings.field(route, "route", "the weights add up to more than 4294967295")


def check_retry(retry: HTTPRetry | None, findings: Findings) -> None:
    """How often, and on what."""
    if retry is None:
        return
    ranges.check_not_negative(retry, ("attempts",), findings)
    if not retry.attempts:
        for name in ("per_try_timeout", "retry_on", "retry_remote_localities", "backoff"):
            if getattr(retry, name) is not None:
                findings.field(retry, name, "means nothing while attempts is 0")
    ranges.check_duration(retry, "per_try_timeout", retry.per_try_timeout, findings)
    ranges.check_duration(retry, "backoff", retry.backoff, findings)
    for condition in (retry.retry_on or "").split(",") if retry.retry_on else ():
        status = int(condition) if condition.isascii() and condition.isdigit() and len(condition) == 3 else 0
        if condition not in RETRY_ON and not 100 <= status <= 599:
            findings.field(
                retry, "retry_on", f"`{shown(condition)}` is neither a condition of Envoy's nor a status"
            )


def _check_redirect(redirect: HTTPRedirect | None, findings: Findings) -> None:
    if redirect is None:
        return
    parts = (redirect.uri, redirect.authority, redirect.port, redirect.derive_port, redirect.scheme)
    if all(part is None for part in parts):
        findings.check(redirect.at, "must change the uri, the authority, the scheme or the port")
    if redirect.redirect_code is not None and redirect.redirect_code not in (301, 302, 303, 307, 308):
        findings.field(
            redirect, "redirect_code", f"must be 301, 302, 303, 307 or 308, not {redirect.redirect_code}"
        )
    if redirect.scheme is not None and redirect.scheme not in ("http", "https"):
        findings.field(redirect, "scheme", f"must be http or https, not `{shown(redirect.scheme)}`")
    ranges.check_optional_port(redirect, "port", redirect.port, findings)


def _check_direct_response(response: HTTPDirectResponse | None, findings: Findings) -> None:
    if response is None:
        return
    if response.status is None:
        findings.field(response, "status", "is missing")
    elif not 200 <= response.status <= 599:
        findings.field(response, "status", f"must be from 200 to 599, not {response.status}")
    body = response.body
    if body is not None and len((body.string or "").encode() or body.bytes_ or b"") > 1024 * 1024:
        findings.field(response, "body", "must not be larger than 1 MiB")


def _check_rewrite(rewrite: HTTPRewrite | None, findings: Findings) -> None:
    if rewrite is None:
        return
    pattern = rewrite.uri_regex_rewrite
    if rewrite.uri is None and rewrite.authority is None and pattern is None:
        findings.check(rewrite.at, "must have one of uri, uriRegexRewrite, authority")
    if pattern is None:
        return
    if rewrite.uri is not None:
        findings.field(rewrite, "uri_regex_rewrite", "only one of uri, uriRegexRewrite may be there")
    for name in ("match", "rewrite"):
        if getattr(pattern, name) is None:
            findings.field(pattern, name, "is missing")
    if pattern.match is not None:
        ranges.check_pattern(pattern, "match", pattern.match, findings)
