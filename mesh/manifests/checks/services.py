"""ServiceEntry, WorkloadEntry, WorkloadGroup and Kubernetes' Service."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.manifests.checks import ranges
from mesh.manifests.checks.names import (
    check_export_to,
    check_labels,
    check_selector,
    host_problem,
    is_dns_label,
    is_ip,
    is_ip_or_cidr,
    is_object_name,
)
from mesh.manifests.findings import Findings
from mesh.manifests.kubernetes import Service
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import shown
from mesh.manifests.service_entry import Resolution, ServiceEntry
from mesh.manifests.workload import ReadinessProbe, WorkloadEntry, WorkloadGroup


def check_service_entry(manifest: Manifest[ServiceEntry], findings: Findings) -> None:
    """Hosts, ports, and endpoints that fit the way they are found."""
    entry = manifest.spec
    check_selector(entry, "workload_selector", entry.workload_selector, findings)
    if entry.workload_selector is not None and entry.endpoints:
        findings.field(entry, "endpoints", "only one of workloadSelector, endpoints may be there")
    if not entry.hosts:
        findings.field(entry, "hosts", "must name at least one host")
    for index, host in enumerate(entry.hosts):
        problem = "must name a service, not `*`" if host == "*" else host_problem(host, wildcard=True)
        if problem is None and "*" in host and not host.startswith("*."):
            problem = f"`{shown(host)}`: a wildcard stands for whole labels"
        if problem is not None:
            findings.field(entry, "hosts", problem, index)
    resolution = entry.resolution or Resolution.NONE
    for index, address in enumerate(entry.addresses):
        if not is_ip_or_cidr(address):
            findings.field(entry, "addresses", f"`{shown(address)}` is no IP address or CIDR", index)
        elif "/" in address and resolution not in (Resolution.NONE, Resolution.STATIC):
            findings.field(
                entry, "addresses", f"a CIDR must not stand beside resolution {resolution.value}", index
            )
    _check_ports(entry, resolution, findings)
    _check_resolution(entry, resolution, findings)
    for endpoint in entry.endpoints:
        check_workload_entry(endpoint, findings, names={port.name for port in entry.ports})
        if resolution is Resolution.STATIC and endpoint.address is not None and not is_ip(endpoint.address):
            findings.field(
                endpoint, "address", f"`{shown(endpoint.address)}` is not an IP address, as STATIC has it"
            )
    check_export_to(entry, manifest.namespace, entry.export_to, findings, none_allowed=True)


def _check_ports(entry: ServiceEntry, resolution: Resolution, findings: Findings) -> None:
    names: set[str | None] = set()
    numbers: set[int | None] = set()
    if not entry.ports:
        findings.field(entry, "ports", "must have at least one port")
    for port in entry.ports:
        ranges.check_port(port, "number", port.number, findings)
        ranges.check_protocol(port, port.protocol, findings)
        ranges.check_optional_port(port, "target_port", port.target_port, findings)
        if port.name is None:
            findings.field(port, "name", "is missing")
        elif not is_dns_label(port.name):
            findings.field(port, "name", f"`{shown(port.name)}` is not the name of a port")
        elif port.name in names:
            findings.field(port, "name", f"there are two ports {port.name}")
        if port.number in numbers:
            findings.field(port, "number", f"there are two ports {port.number}")
        if port.target_port is not None and resolution is Resolution.NONE:
            findings.field(port, "target_port", "means nothing with resolution NONE")
        if (
            len(entry.hosts) > 1
            and resolution is not Resolution.NONE
            and (port.protocol or "").upper() == "TCP"
        ):
            findings.field(
                port, "protocol", "TCP cannot tell several hosts apart: write one ServiceEntry for each"
            )
        names.add(port.name)
        numbers.add(port.number)


def _check_resolution(entry: ServiceEntry, resolution: Resolution, findings: Findings) -> None:
    if resolution is Resolution.NONE:
        if entry.endpoints:
            findings.field(entry, "endpoints", "must not stand beside resolution NONE")
        if entry.workload_selector is not None:
            findings.field(entry, "workload_selector", "must not stand beside resolution NONE")
    elif resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        if entry.workload_selector is not None:
            findings.field(entry, "workload_selector", f"must not stand beside resolution {resolution.value}")
        if not entry.endpoints:
            for index, host in enumerate(entry.hosts):
                if "*" in host:
                    findings.field(
                        entry, "hosts", f"`{shown(host)}` cannot be looked up: write endpoints", index
                    )
        if resolution is Resolution.DNS_ROUND_ROBIN and len(entry.endpoints) > 1:
            findings.field(entry, "endpoints", "must be one at most with resolution DNS_ROUND_ROBIN")


def check_workload_entry(
    entry: WorkloadEntry, findings: Findings, *, names: set[str | None] | None = None, template: bool = False
) -> None:
    """Address and ports. `names` are the ports of its ServiceEntry; a template has no address yet."""
    if entry.address is None:
        if not template:
            findings.field(entry, "address", "is missing")
    elif entry.address.startswith("unix://"):
        findings.field(entry, "address", "Unix sockets are not supported: write an IP address")
    elif not is_ip(entry.address) and host_problem(entry.address) is not None:
        findings.field(entry, "address", f"`{shown(entry.address)}` is neither an IP address nor a host name")
    for name, port in entry.ports.items():
        if not is_dns_label(name):
            findings.field(entry, "ports", f"`{shown(name)}` is not the name of a port", name)
        elif names is not None and name not in names:
            findings.field(entry, "ports", f"the ServiceEntry has no port {name}", name)
        ranges.check_port(entry, "ports", port, findings, name)
    check_labels(entry, "labels", entry.labels, findings)
    if entry.locality is not None:
        parts = entry.locality.split("/")
        if len(parts) > 3 or not all(parts) or "*" in entry.locality:
            findings.field(
                entry, "locality", f"`{shown(entry.locality)}` is not of the form region/zone/subzone"
            )
    if entry.service_account is not None and not is_object_name(entry.service_account):
        findings.field(entry, "service_account", f"`{shown(entry.service_account)}` is not a name")


def check_workload_group(group: WorkloadGroup, findings: Findings) -> None:
    """A template, and how its workloads are asked."""
    if group.template is None:
        findings.field(group, "template", "is missing")
    else:
        check_workload_entry(group.template, findings, template=True)
    if group.metadata is not None:
        check_labels(group.metadata, "labels", group.metadata.labels, findings)
    if group.probe is not None:
        _check_probe(group.probe, group.template.ports if group.template else {}, findings)


def _check_probe(probe: ReadinessProbe, ports: Mapping[str, int], findings: Findings) -> None:
    names = ("timeout_seconds", "period_seconds", "success_threshold", "failure_threshold")
    ranges.check_not_negative(probe, names, findings)
    for check in (probe.tcp_socket, probe.grpc):
        if check is not None:
            ranges.check_port(check, "port", check.port, findings)
            if ports and check.port is not None and check.port not in ports.values():
                findings.field(
                    check,
                    "port",
                    "must be one of the template's ports: callers ask at the port that they call",
                )


def check_kubernetes_service(service: Service, findings: Findings) -> None:
    """Ports that are not there twice."""
    seen: set[tuple[int | None, str]] = set()
    for port in service.ports:
        ranges.check_port(port, "port", port.port, findings)
        key = (port.port, port.protocol or "TCP")
        if key in seen:
            findings.field(port, "port", f"there are two ports {port.port}")
        seen.add(key)
