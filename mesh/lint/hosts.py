"""Rules about services, their ports, their subsets and their workloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Mesh, http_routes
from mesh.manifests.common import Destination, LabelsSelector, WorkloadSelector
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.gateway import Gateway
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, Position, position_of
from mesh.manifests.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from mesh.manifests.service_entry import Resolution, ServiceEntry
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import Telemetry
from mesh.manifests.virtual_service import VirtualService
from mesh.resolve.labels import selects
from mesh.resolve.names import full_host, is_wildcard

_ANALYSIS = "https://istio.io/latest/docs/reference/config/analysis/"
_HTTP = ("HTTP", "HTTP2", "HTTPS", "HTTP_PROXY", "GRPC", "GRPC-WEB")
_PROTOCOLS = frozenset({*_HTTP, "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"})


def destinations(mesh: Mesh) -> Iterator[tuple[Manifest[VirtualService], Destination]]:
    """Every destination that a VirtualService names."""
    for manifest, _, route in http_routes(mesh):
        named = [target.destination for target in route.route]
        named += [route.mirror, *(mirror.destination for mirror in route.mirrors)]
        yield from ((manifest, one) for one in named if one is not None)
    for manifest in mesh.manifests.of(VirtualService):
        passed = [one for tls in manifest.spec.tls for one in tls.route]
        passed += [one for tcp in manifest.spec.tcp for one in tcp.route]
        yield from ((manifest, one.destination) for one in passed if one.destination is not None)


def unknown_destination(mesh: Mesh) -> Iterator[Problem]:
    """Destinations exist."""
    for manifest, destination in destinations(mesh):
        host = destination.host or ""
        if not mesh.knows(host, manifest.namespace):
            full = full_host(host, manifest.namespace)
            yield Problem(manifest, position_of(destination, "host"), f"no service is called {full}")


def rule_for_nobody(mesh: Mesh) -> Iterator[Problem]:
    """A DestinationRule's host exists."""
    for rule in mesh.manifests.of(DestinationRule):
        host = rule.spec.host or ""
        if host != "*" and not mesh.knows(host, rule.namespace):
            full = full_host(host, rule.namespace)
            yield Problem(rule, position_of(rule.spec, "host"), f"no service is called {full}")


def port_to_choose(mesh: Mesh) -> Iterator[Problem]:
    """A destination says which of several ports, and one that is there."""
    for manifest, destination in destinations(mesh):
        for service in mesh.find(destination.host or "", manifest.namespace):
            numbers = [port.number for port in service.ports]
            listed = ", ".join(map(str, numbers))
            chosen = destination.port.number if destination.port else None
            if chosen is None and len(numbers) > 1:
                message = f"{service.host} has the ports {listed}: say which"
                yield Problem(manifest, position_of(destination, "host"), message)
            elif chosen is not None and chosen not in numbers:
                message = f"{service.host} has no port {chosen}; it has {listed}"
                yield Problem(manifest, position_of(destination, "port"), message)


def undeclared_subset(mesh: Mesh) -> Iterator[Problem]:
    """Subsets that are named are declared."""
    for manifest, destination in destinations(mesh):
        if not destination.subset:
            continue
        rules = mesh.destination_rules(destination.host or "", manifest.namespace)
        declared = {subset.name for rule in rules for subset in rule.spec.subsets}
        if destination.subset not in declared:
            listed = ", ".join(sorted(filter(None, declared))) or "no subset at all"
            message = f"no DestinationRule of {destination.host} declares the subset {destination.subset}; "
            yield Problem(manifest, position_of(destination, "subset"), message + f"there is {listed}")


def empty_subset(mesh: Mesh) -> Iterator[Problem]:
    """A subset has workloads."""
    for rule in mesh.manifests.of(DestinationRule):
        services = mesh.find(rule.spec.host or "", rule.namespace)
        workloads = [workload for service in services for workload in mesh.workloads_of(service)]
        if not workloads or is_wildcard(rule.spec.host or ""):
            continue
        for index, subset in enumerate(rule.spec.subsets):
            if not any(selects(subset.labels, workload.labels) for workload in workloads):
                labels = ", ".join(f"{key}={value}" for key, value in subset.labels.items())
                message = f"no workload of {services[0].host} has the labels of {subset.name} ({labels})"
                yield Problem(rule, position_of(rule.spec, "subsets", index), message)


def selects_nobody(mesh: Mesh) -> Iterator[Problem]:
    """A selector means somebody."""
    if not mesh.workloads:
        return
    for manifest, selector, at in _selectors(mesh):
        if selector and not mesh.selected(manifest.namespace, selector):
            labels = ", ".join(f"{key}={value}" for key, value in selector.items())
            place = "the mesh" if manifest.namespace == mesh.root else manifest.namespace
            yield Problem(manifest, at, f"no workload in {place} has the labels {labels}")


def _selectors(mesh: Mesh) -> Iterator[tuple[Manifest[Message], Mapping[str, str], Position]]:
    for manifest in mesh.manifests:
        match manifest.spec:
            case (
                AuthorizationPolicy(selector=WorkloadSelector() as chosen)
                | RequestAuthentication(selector=WorkloadSelector() as chosen)
                | PeerAuthentication(selector=WorkloadSelector() as chosen)
                | Telemetry(selector=WorkloadSelector() as chosen)
            ):
                yield manifest, chosen.match_labels, chosen.at
            case (
                Sidecar(workload_selector=LabelsSelector() as labelled)
                | EnvoyFilter(workload_selector=LabelsSelector() as labelled)
            ):
                yield manifest, labelled.labels, labelled.at


def gateway_without_proxy(mesh: Mesh) -> Iterator[Problem]:
    """A Gateway's selector means a proxy; it looks in every namespace."""
    for gateway in mesh.manifests.of(Gateway):
        selector = gateway.spec.selector
        if mesh.workloads and not any(selects(selector, workload.labels) for workload in mesh.workloads):
            labels = ", ".join(f"{key}={value}" for key, value in selector.items())
            yield Problem(
                gateway, position_of(gateway.spec, "selector"), f"no workload has the labels {labels}"
            )


def undeclared_protocol(mesh: Mesh) -> Iterator[Problem]:
    """A port says what is spoken on it."""
    for service in mesh.services:
        for index, port in enumerate(service.ports):
            if port.protocol not in _PROTOCOLS:
                said = f"{port.protocol!r}, which Istio does not know" if port.protocol else "nothing"
                message = (
                    f"port {port.number} ({port.name or 'without a name'}) of {service.host} declares {said}"
                )
                spec = service.manifest.spec
                yield Problem(service.manifest, position_of(spec, "ports", index), message)


def tcp_without_address(mesh: Mesh) -> Iterator[Problem]:
    """TCP services are told apart by address."""
    taken: dict[int, str] = {}
    for entry in mesh.manifests.of(ServiceEntry):
        for index, port in enumerate(entry.spec.ports):
            if (port.protocol or "").upper() not in (
                "TCP",
                "MONGO",
                "MYSQL",
                "REDIS",
            ) or entry.spec.addresses:
                continue
            if entry.spec.resolution is Resolution.NONE or port.number in taken:
                message = f"all connections to port {port.number} are taken for {entry.spec.hosts[0]}"
                if port.number in taken:
                    message += f", or for {taken[port.number]}"
                yield Problem(entry, position_of(entry.spec, "ports", index), message)
            taken.setdefault(port.number or 0, entry.spec.hosts[0])


def service_without_workloads(mesh: Mesh) -> Iterator[Problem]:
    """A service has somebody who serves it."""
    for entry in mesh.manifests.of(ServiceEntry):
        if entry.spec.resolution is not Resolution.STATIC or entry.spec.endpoints:
            continue
        selector = entry.spec.workload_selector
        if selector is None:
            message = f"{entry.spec.hosts[0]} has neither endpoints nor a workloadSelector"
            yield Problem(entry, position_of(entry.spec, "resolution"), message)
        elif mesh.workloads and not any(
            workload.namespace == entry.namespace and selects(selector.labels, workload.labels)
            for workload in mesh.workloads
        ):
            message = f"no WorkloadEntry in {entry.namespace} serves {entry.spec.hosts[0]}"
            yield Problem(entry, selector.at, message)


RULES = (
    Rule(
        id="destination-unknown",
        severity=Severity.ERROR,
        finds="A route to a host that no service has (IST0101).",
        why="Envoy answers 503 (cluster_not_found). A short name means the VirtualService's own namespace.",
        fix="The service's full name, as in session.causeway.svc.cluster.local.",
        source=_ANALYSIS + "ist0101/",
        check=unknown_destination,
    ),
    Rule(
        id="destination-rule-unused",
        severity=Severity.WARNING,
        finds="A DestinationRule for a host that no service has.",
        why="It changes nothing, and whoever reads it believes that the service has these settings.",
        fix="The service's full name.",
        source=_ANALYSIS + "ist0101/",
        check=rule_for_nobody,
    ),
    Rule(
        id="destination-port-unclear",
        severity=Severity.ERROR,
        finds="A route to a service of several ports without a port, or to a port that it does not have "
        "(IST0112).",
        why="Istio cannot tell which port is meant, and the route leads nowhere.",
        fix="destination.port.number.",
        source=_ANALYSIS + "ist0112/",
        check=port_to_choose,
    ),
    Rule(
        id="subset-undeclared",
        severity=Severity.ERROR,
        finds="A route to a subset that no DestinationRule of the host declares.",
        why="Its cluster does not exist: every call gets 503.",
        fix="Declare the subset first; in a cluster, apply it before the VirtualService.",
        source="https://istio.io/latest/docs/ops/common-problems/network-issues/#503-errors-after-setting-destination-rule",
        check=undeclared_subset,
    ),
    Rule(
        id="subset-empty",
        severity=Severity.ERROR,
        finds="A subset whose labels no workload of the service has.",
        why="Calls to it get 503 (no healthy upstream), while the service itself is well.",
        fix="The labels that the workloads have, or take the subset out.",
        source="https://istio.io/latest/docs/reference/config/networking/destination-rule/#Subset",
        check=empty_subset,
    ),
    Rule(
        id="selector-matches-nobody",
        severity=Severity.WARNING,
        finds="A policy, filter or Sidecar whose labels no workload of its namespace has (IST0127).",
        why="It looks as if it protected something. Only manifests in the root namespace reach other "
        "namespaces.",
        fix="The labels of the workloads, and their namespace.",
        source=_ANALYSIS + "ist0127/",
        check=selects_nobody,
    ),
    Rule(
        id="gateway-without-proxy",
        severity=Severity.ERROR,
        finds="A Gateway whose selector no workload has (IST0101).",
        why="Nothing listens on its ports.",
        fix="The labels of the ingress's pods, such as istio: ingressgateway.",
        source=_ANALYSIS + "ist0101/",
        check=gateway_without_proxy,
    ),
    Rule(
        id="port-protocol-undeclared",
        severity=Severity.WARNING,
        finds="A port whose protocol is not declared, or not known (IST0118).",
        why="It is guessed, or taken as bytes: gRPC is then balanced by connection, not by call, and no "
        "route, retry or HTTP policy applies.",
        fix="protocol: GRPC (ServiceEntry); appProtocol: grpc, or a name such as grpc-api (Service).",
        source=_ANALYSIS + "ist0118/",
        check=undeclared_protocol,
    ),
    Rule(
        id="tcp-service-without-address",
        severity=Severity.WARNING,
        finds="A TCP ServiceEntry without addresses that others of its port cannot be told from (IST0134).",
        why="TCP has no host name: the first service of a port takes the connections of all.",
        fix="addresses, or a port of its own.",
        source=_ANALYSIS + "ist0134/",
        check=tcp_without_address,
    ),
    Rule(
        id="service-without-workloads",
        severity=Severity.WARNING,
        finds="A ServiceEntry with resolution STATIC that nobody serves.",
        why="Calls get 503 (no healthy upstream).",
        fix="A WorkloadEntry in the same namespace with the selector's labels, or endpoints.",
        source="https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry",
        check=service_without_workloads,
    ),
)
