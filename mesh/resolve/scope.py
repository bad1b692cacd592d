"""What a proxy may see: the services and VirtualServices that its Sidecar resource lets through.

https://istio.io/latest/docs/reference/config/networking/sidecar/ and pilot/pkg/model/sidecar.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh.ir.values import Protocol
from mesh.manifests.manifests import Manifest
from mesh.manifests.sidecar import IstioEgressListener, Sidecar
from mesh.resolve import labels as words
from mesh.resolve.names import MESH_GATEWAY, covers, is_wildcard, overlaps
from mesh.resolve.registry import Service, ServicePort
from mesh.resolve.virtual_services import Virtual, seen_from

_ALL = ("*/*",)


@dataclass(frozen=True, slots=True)
class Reach:
    """A service, and those of its ports that a client may call."""

    service: Service
    ports: tuple[ServicePort, ...]

    def port(self, number: int) -> ServicePort | None:
        """The port of this number, if it may be called."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True, eq=False)
class Imports:
    """What one egress listener lets through."""

    reach: tuple[Reach, ...]
    """One for each host, the oldest service first."""
    virtuals: tuple[Virtual, ...]
    """In the order in which they win."""
    ports: tuple[tuple[int, Protocol, tuple[Reach, ...]], ...]
    """Every port on which something is called, what is spoken there, and by which services. Where services
    disagree about what is spoken on a port, the oldest one is right."""
    number: int
    """Counts the imports of a configuration; names them in caches."""


@dataclass(frozen=True, slots=True, eq=False)
class Egress:
    """One egress listener of a scope."""

    listener: IstioEgressListener | None
    """None: nobody wrote it."""
    imports: Imports

    @property
    def port(self) -> int | None:
        """The port it is for; None: for every port that the services have."""
        return self.listener.port.number if self.listener and self.listener.port else None


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """All that a proxy's outbound configuration is made of."""

    sidecar: Manifest[Sidecar] | None
    egress: tuple[Egress, ...]
    reach: tuple[Reach, ...]
    """Of all listeners, and what their VirtualServices send to; each becomes clusters. Ordered by host."""
    number: int
    """Names it in caches: scopes of one number reach the same."""


class Scopes:
    """Scopes, each built once. A part of a configuration: it lives as long as that."""

    def __init__(
        self,
        services: Sequence[Service],
        virtuals: Sequence[Virtual],
        sidecars: Sequence[Manifest[Sidecar]],
        root_namespace: str,
    ) -> None:
        self._services = services
        self._virtuals = virtuals
        self._sidecars = words.Selections(
            (one.namespace, words.pairs(one.spec.workload_selector), one) for one in sidecars
        )
        self._root = root_namespace
        self._by_host: dict[str, list[Service]] = {}
        for service in services:
            self._by_host.setdefault(service.host, []).append(service)
        self._imports: dict[tuple[str, tuple[str, ...], int | None], Imports] = {}
        self._scopes: dict[tuple[str, tuple[str, str] | None], Scope] = {}
        self._numbers: dict[tuple[object, ...], int] = {}
        self._reaches: dict[int, tuple[Reach, ...]] = {}
        self._keys: dict[int, frozenset[tuple[str, str]]] = {}

    def select(self, namespace: str, labels: Mapping[str, str]) -> Manifest[Sidecar] | None:
        """The Sidecar that counts: of the workload's namespace the oldest whose workloadSelector matches,
        else the oldest without one; else the root namespace's without one."""
        found = (
            self._sidecars.selecting(namespace, labels)
            or self._sidecars.wide(namespace)
            or self._sidecars.wide(self._root)
        )
        return found[0] if found else None

    def sidecar(self, namespace: str, labels: Mapping[str, str]) -> Scope:
        """The scope of a sidecar."""
        manifest = self.select(namespace, labels)
        key = namespace, (manifest.namespace, manifest.name) if manifest else None
        if key not in self._scopes:
            self._scopes[key] = self._scope(namespace, manifest)
        return self._scopes[key]

    def gateway(self, namespace: str) -> Scope:
        """The scope of a proxy that no Sidecar resource speaks of: everything exported to its namespace."""
        key = namespace, ("", "")
        if key not in self._scopes:
            self._scopes[key] = self._scope(namespace, None)
        return self._scopes[key]

    def lookup(self, host: str, namespace: str) -> Service | None:
        """The service that a client in `namespace` means by a full host: its own namespace's, else the first
        in alphabetical order that is exported to it."""
        found = [one for one in self._by_host.get(host, ()) if one.visible.to(namespace)]
        return min(found, key=lambda one: (one.namespace != namespace, one.namespace), default=None)

    def any(self, host: str, namespace: str) -> Service | None:
        """The same whether or not it is exported: for what an operator of the mesh names in MeshConfig."""
        found = self._by_host.get(host, ())
        return min(found, key=lambda one: (one.namespace != namespace, one.namespace), default=None)

    def reaches(self, number: int, services: frozenset[tuple[str, str]]) -> bool:
        """Whether scopes of that number reach any of these services (namespace and host)."""
        if number not in self._keys:
            self._keys[number] = frozenset(reach.service.key for reach in self._reaches[number])
        return not self._keys[number].isdisjoint(services)

    def _scope(self, namespace: str, manifest: Manifest[Sidecar] | None) -> Scope:
        listeners: Sequence[IstioEgressListener | None] = (manifest.spec.egress if manifest else ()) or (
            None,
        )
        egress = tuple(Egress(one, self._imported(namespace, one)) for one in listeners)
        together = namespace, tuple((one.imports.number, one.port) for one in egress)
        number = self._numbers.setdefault(together, len(self._numbers))
        if number not in self._reaches:
            self._reaches[number] = self._reached(namespace, egress)
        return Scope(manifest, egress, self._reaches[number], number)

    def _imported(self, namespace: str, listener: IstioEgressListener | None) -> Imports:
        hosts = listener.hosts if listener else _ALL
        port = None
        if listener and listener.port and (listener.port.protocol or "").upper() != "HTTP_PROXY":
            port = listener.port.number
        key = namespace, hosts, port
        if key not in self._imports:
            imported = EgressHosts(hosts, namespace)
            reach = tuple(self._services_of(namespace, imported, port))
            self._imports[key] = Imports(
                reach=reach,
                virtuals=tuple(
                    virtual
                    for virtual in seen_from(self._virtuals, namespace, MESH_GATEWAY)
                    if imported.meet(virtual.namespace, virtual.hosts)
                ),
                ports=tuple(_by_port(reach)),
                number=len(self._imports),
            )
        return self._imports[key]

    def _services_of(self, namespace: str, hosts: EgressHosts, port: int | None) -> Iterable[Reach]:
        """Services that `hosts` let through: of several with one host the client's own namespace's, then a
        Kubernetes Service, then the oldest."""
        found: dict[str, Service] = {}
        for service in self._services:
            if not service.visible.to(namespace) or not hosts.cover(service.namespace, service.host):
                continue
            former = found.get(service.host)
            if former is None or _preferred(service, former, namespace):
                found[service.host] = service
        for service in found.values():
            ports = service.ports
            if port is not None:
                ports = tuple(one for one in service.ports if one.number == port)
            if ports:
                yield Reach(service, ports)

    def _reached(self, namespace: str, egress: Sequence[Egress]) -> tuple[Reach, ...]:
        """Everything let through by name, and further what VirtualServices that are let through send to."""
        found: dict[str, Reach] = {}
        for one in egress:
            for reach in one.imports.reach:
                _widen(found, reach)
            for virtual in one.imports.virtuals:
                for host, wanted in virtual.destinations():
                    service = self.lookup(host, namespace)
                    if service is None:
                        continue
                    ports = _wanted_ports(service, wanted, one.port)
                    if ports:
                        _widen(found, Reach(service, ports))
        return tuple(found[host] for host in sorted(found))


def _by_port(reach: Iterable[Reach]) -> Iterator[tuple[int, Protocol, tuple[Reach, ...]]]:
    found: dict[int, tuple[Protocol, list[Reach]]] = {}
    for one in reach:
        for port in one.ports:
            protocol, members = found.setdefault(port.number, (port.protocol, []))
            if protocol.is_http == port.protocol.is_http:
                members.append(one)
    for number, (protocol, members) in sorted(found.items()):
        yield number, protocol, tuple(members)


def _wanted_ports(service: Service, wanted: int, listener: int | None) -> tuple[ServicePort, ...]:
    """Ports of a service that a VirtualService sends to. A listener for one port lets only that one
    through."""
    if listener is not None:
        return tuple(port for port in service.ports if port.number == listener)
    return tuple(port for port in service.ports if wanted in (0, port.number))


def _widen(found: dict[str, Reach], reach: Reach) -> None:
    former = found.get(reach.service.host)
    if former is None:
        found[reach.service.host] = reach
    elif former.service is reach.service:
        more = tuple(port for port in reach.ports if port not in former.ports)
        found[reach.service.host] = Reach(former.service, former.ports + more)


def _preferred(service: Service, former: Service, namespace: str) -> bool:
    if former.namespace == namespace or service.namespace == namespace:
        return former.namespace != namespace
    return service.kubernetes and not former.kubernetes


class EgressHosts:
    """The `hosts` of an egress listener: `[namespace/]host`."""

    def __init__(self, entries: Iterable[str], namespace: str) -> None:
        """`namespace` is the Sidecar's, which `.` stands for."""
        self._owners: dict[str, set[str]] = {}
        """By host, those that are no patterns."""
        self._patterns: list[tuple[str, str]] = []
        for entry in entries:
            owner, _, host = entry.rpartition("/")
            owner, host = namespace if owner == "." else owner or "*", host.lower()
            if is_wildcard(host):
                self._patterns.append((owner, host))
            else:
                self._owners.setdefault(host, set()).add(owner)

    def cover(self, namespace: str, host: str) -> bool:
        """Whether all that `host` means in a namespace is let through."""
        owners = self._owners.get(host)
        if owners is not None and ("*" in owners or namespace in owners):
            return True
        return any(owner in ("*", namespace) and covers(pattern, host) for owner, pattern in self._patterns)

    def meet(self, namespace: str, hosts: Iterable[str]) -> bool:
        """Whether something is let through that one of `hosts` means in a namespace."""
        return any(
            self._overlap(namespace, host) if is_wildcard(host) else self.cover(namespace, host)
            for host in hosts
        )

    def _overlap(self, namespace: str, pattern: str) -> bool:
        for host, owners in self._owners.items():
            if ("*" in owners or namespace in owners) and overlaps(host, pattern):
                return True
        return any(owner in ("*", namespace) and overlaps(one, pattern) for owner, one in self._patterns)
