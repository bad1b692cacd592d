"""Sidecar."""

from __future__ import annotations

from mesh.manifests.checks import ranges
from mesh.manifests.checks.destination_rule import check_connection_pool
from mesh.manifests.checks.names import check_namespaced_host, check_selector, is_dns_label, is_ip
from mesh.manifests.common import SidecarPort
from mesh.manifests.findings import Findings
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import shown
from mesh.manifests.sidecar import IstioEgressListener, IstioIngressListener, Sidecar

_LOCAL = ("", "127.0.0.1", "0.0.0.0", "[::1]", "[::]")  # noqa: S104  # how Istio writes "the workload's own address"


def check_sidecar(manifest: Manifest[Sidecar], findings: Findings) -> None:
    """Listeners on ports of their own."""
    sidecar = manifest.spec
    check_selector(sidecar, "workload_selector", sidecar.workload_selector, findings)
    parts = (sidecar.outbound_traffic_policy, sidecar.inbound_connection_pool)
    if not (sidecar.ingress or sidecar.egress) and all(part is None for part in parts):
        findings.check(sidecar.at, "must say something")
    numbers: set[int | None] = set()
    for ingress in sidecar.ingress:
        _check_ingress(ingress, numbers, findings)
    check_connection_pool(sidecar.inbound_connection_pool, findings)
    numbers = set()
    for index, egress in enumerate(sidecar.egress):
        if egress.port is None and index < len(sidecar.egress) - 1:
            findings.field(egress, "port", "is missing: only the last egress listener may go without")
        _check_egress(manifest.namespace, egress, numbers, findings)


def _check_port(
    listener: IstioIngressListener | IstioEgressListener,
    port: SidecarPort,
    numbers: set[int | None],
    findings: Findings,
) -> None:
    if (listener.bind or "").startswith("unix://"):
        findings.field(listener, "bind", "Unix sockets are not supported: write an IP address")
    elif listener.bind is not None and not is_ip(listener.bind):
        findings.field(listener, "bind", f"`{shown(listener.bind)}` is not an IP address")
    ranges.check_port(port, "number", port.number, findings)
    ranges.check_protocol(port, port.protocol, findings)
    if port.name is not None and not is_dns_label(port.name):
        findings.field(port, "name", f"`{shown(port.name)}` is not the name of a port")
    if port.number in numbers:
        findings.field(port, "number", f"there are two listeners on port {port.number}")
    numbers.add(port.number)


def _check_ingress(ingress: IstioIngressListener, numbers: set[int | None], findings: Findings) -> None:
    if ingress.port is None:
        findings.field(ingress, "port", "is missing")
    else:
        _check_port(ingress, ingress.port, numbers, findings)
    check_connection_pool(ingress.connection_pool, findings)
    pool = ingress.connection_pool
    plain = ingress.port is not None and not ranges.is_http(ingress.port.protocol)
    if pool is not None and pool.http is not None and plain:
        findings.field(pool, "http", "means nothing on a port that is not HTTP")
    endpoint = ingress.default_endpoint
    if endpoint is None:
        return
    if endpoint.startswith("unix://"):
        findings.field(ingress, "default_endpoint", "Unix sockets are not supported: write 127.0.0.1:port")
        return
    host, colon, port = endpoint.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if not colon or host not in _LOCAL or not 1 <= number <= 65535:
        findings.field(
            ingress, "default_endpoint", f"must be 127.0.0.1:port or 0.0.0.0:port, not `{shown(endpoint)}`"
        )


def _check_egress(
    namespace: str, egress: IstioEgressListener, numbers: set[int | None], findings: Findings
) -> None:
    if egress.port is not None:
        _check_port(egress, egress.port, numbers, findings)
    if not egress.hosts:
        findings.field(egress, "hosts", "must name at least one host")
    seen: dict[str, set[str]] = {}
    for index, host in enumerate(egress.hosts):
        check_namespaced_host(egress, index, host, findings, gateway=False)
        where, _, name = host.partition("/")
        names = seen.setdefault(namespace if where == "." else where, set())
        if name in names or "*" in names or (name == "*" and names):
            findings.field(egress, "hosts", f"`{shown(host)}` is already among the hosts before it", index)
        names.add(name)
    if "*" in seen.get("*", set()) and len(seen) > 1:
        findings.field(egress, "hosts", "`*/*` means all hosts, so that the others mean nothing")
