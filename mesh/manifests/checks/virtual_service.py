"""VirtualService."""

from __future__ import annotations

from mesh.manifests.checks import ranges
from mesh.manifests.checks.http import check_http_route, check_route_destinations
from mesh.manifests.checks.names import (
    check_export_to,
    check_gateway_names,
    check_labels,
    host_problem,
    is_dns_label,
    is_ip,
    is_ip_or_cidr,
)
from mesh.manifests.findings import Findings
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import shown
from mesh.manifests.virtual_service import L4MatchAttributes, TLSMatchAttributes, TLSRoute, VirtualService

MESH = "mesh"
"""The gateway that stands for all sidecars."""
_MOST_HOSTS = 1000


def check_virtual_service(manifest: Manifest[VirtualService], findings: Findings) -> None:
    """Hosts, and every route."""
    service = manifest.spec
    _check_hosts(service, findings)
    check_gateway_names(service, service.gateways, findings)
    if not (service.http or service.tls or service.tcp):
        findings.check(service.at, "must have http, tls or tcp routes")
    at_gateway = any(gateway != MESH for gateway in service.gateways)
    for http in service.http:
        check_http_route(http, findings, at_gateway=at_gateway)
    for tls in service.tls:
        _check_tls(service, tls, findings)
    for tcp in service.tcp:
        for match in tcp.match:
            _check_l4(match, findings)
        if not tcp.route:
            findings.field(tcp, "route", "is missing")
        check_route_destinations(tcp, tcp.route, findings)
    check_export_to(service, manifest.namespace, service.export_to, findings)


def _check_hosts(service: VirtualService, findings: Findings) -> None:
    if not service.hosts:
        findings.field(service, "hosts", "must name at least one host: routes are not delegated here")
    if len(service.hosts) > _MOST_HOSTS:
        findings.field(service, "hosts", f"must not be more than {_MOST_HOSTS}")
        return
    in_mesh = not service.gateways or MESH in service.gateways
    valid: list[str] = []
    for index, host in enumerate(service.hosts):
        problem = None if is_ip(host) else host_problem(host, wildcard=True)
        if problem is None and host == "*" and in_mesh:
            problem = "`*` is not allowed for the gateway mesh: it would take all hosts there are"
        if problem is not None:
            findings.field(service, "hosts", problem, index)
            continue
        for other in valid:
            if overlap(host, other):
                findings.field(
                    service, "hosts", f"`{shown(host)}` and `{shown(other)}` are the same or overlap", index
                )
        valid.append(host)


def overlap(first: str, second: str) -> bool:
    """Whether two hosts, perhaps with a wildcard in front, can be the same."""
    if first.startswith("*") and second.startswith("*"):
        return first.endswith(second[1:]) or second.endswith(first[1:])
    if first.startswith("*"):
        return second.endswith(first[1:])
    if second.startswith("*"):
        return first.endswith(second[1:])
    return first == second


def _within(inner: str, outer: str) -> bool:
    """Whether every name that `inner` stands for is one of `outer`."""
    if outer.startswith("*"):
        return inner.removeprefix("*").endswith(outer[1:])
    return inner == outer


def _check_tls(service: VirtualService, route: TLSRoute, findings: Findings) -> None:
    if not route.match:
        findings.field(route, "match", "is missing: a tls route says which server names it takes")
    for match in route.match:
        if not match.sni_hosts:
            findings.field(match, "sni_hosts", "must name at least one host")
        if len(match.sni_hosts) > _MOST_HOSTS:
            findings.field(match, "sni_hosts", f"must not be more than {_MOST_HOSTS}")
        for index, host in enumerate(match.sni_hosts[:_MOST_HOSTS]):
            problem = host_problem(host, wildcard=True)
            if problem is None and not any(_within(host, outer) for outer in service.hosts[:_MOST_HOSTS]):
                problem = f"`{shown(host)}` is none of the hosts of the VirtualService"
            if problem is not None:
                findings.field(match, "sni_hosts", problem, index)
        _check_l4(match, findings)
    if not route.route:
        findings.field(route, "route", "is missing")
    check_route_destinations(route, route.route, findings)


def _check_l4(match: TLSMatchAttributes | L4MatchAttributes, findings: Findings) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        if not is_ip_or_cidr(subnet):
            findings.field(match, "destination_subnets", f"`{shown(subnet)}` is no IP address or CIDR", index)
    ranges.check_optional_port(match, "port", match.port, findings)
    check_labels(match, "source_labels", match.source_labels, findings)
    check_gateway_names(match, match.gateways, findings)
    if match.source_namespace is not None and not is_dns_label(match.source_namespace):
        findings.field(match, "source_namespace", "is not the name of a namespace")
