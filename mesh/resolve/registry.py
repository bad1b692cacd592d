"""Services: what ServiceEntries and Kubernetes Services declare.

https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.ir.origin import Origin
from mesh.ir.values import Protocol
from mesh.manifests import service_entry as entries
from mesh.manifests.kubernetes import KubernetesServicePort, ServiceType
from mesh.manifests.kubernetes import Service as KubernetesService
from mesh.manifests.manifests import Created, Manifest, Manifests
from mesh.manifests.service_entry import ServiceEntry
from mesh.manifests.workload import WorkloadEntry
from mesh.resolve import origins
from mesh.resolve.names import DOMAIN
from mesh.resolve.visibility import Visibility, visibility

_PROTOCOLS = {
    "HTTP": Protocol.HTTP,
    "HTTP_PROXY": Protocol.HTTP,
    "HTTP2": Protocol.HTTP2,
    "H2C": Protocol.HTTP2,
    "GRPC": Protocol.GRPC,
    "GRPC-WEB": Protocol.GRPC_WEB,
    "HTTPS": Protocol.HTTPS,
    "TLS": Protocol.TLS,
}


def protocol_of(text: str) -> Protocol:
    """The protocol that a port declares; what is not known is opaque bytes. Case does not matter."""
    upper = text.upper()
    if upper in ("KUBERNETES.IO/H2C",):
        return Protocol.HTTP2
    return _PROTOCOLS.get(upper, Protocol.TCP)


def protocol_by_name(name: str, application: str | None) -> Protocol:
    """The protocol of a Kubernetes port: its `appProtocol`, else the part of its name before a dash
    (https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/)."""
    if application:
        return protocol_of(application)
    lower = name.lower()
    if lower.startswith("grpc-web"):
        return Protocol.GRPC_WEB
    return protocol_of(lower.partition("-")[0])


class Resolution(enum.Enum):
    """How the addresses of a service are found."""

    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    NONE = "NONE"
    """The caller knows the address already."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port that a service is called on."""

    number: int
    name: str
    protocol: Protocol
    target: int
    """The workloads' port, unless a WorkloadEntry names another for `name`."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One manifest's part of a service: which workloads serve it."""

    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] | None
    """None: no workloads are selected. Empty: all of the namespace."""
    inline: tuple[WorkloadEntry, ...]
    manifest: Manifest[ServiceEntry] | Manifest[KubernetesService]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Service:
    """Something that can be called by a name. Two are the same only if they are the same object."""

    host: str
    namespace: str
    ports: tuple[ServicePort, ...]
    external: bool
    """Outside the mesh: no identities, no mutual TLS unless it is asked for."""
    resolution: Resolution
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    """Subject alternative names that its servers have (`subjectAltNames`)."""
    visible: Visibility
    kubernetes: bool
    created: Created
    sources: tuple[Source, ...]
    origin: Origin

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and host, unique among services."""
        return self.namespace, self.host

    def port(self, number: int) -> ServicePort | None:
        """Its port of this number."""
        return next((port for port in self.ports if port.number == number), None)


def services(manifests: Manifests) -> tuple[Service, ...]:
    """All services, the oldest first; those of one host and namespace are one."""
    mesh = manifests.mesh_config
    found: dict[tuple[str, str], Service] = {}
    declared = [*_entries(manifests, mesh.default_service_export_to)]
    declared += _kubernetes(manifests, mesh.default_service_export_to)
    for service in sorted(declared, key=lambda one: (one.created, one.namespace, one.host)):
        former = found.get(service.key)
        found[service.key] = service if former is None else _joined(former, service)
    return tuple(sorted(found.values(), key=lambda one: (one.created, one.namespace, one.host)))


def _joined(first: Service, second: Service) -> Service:
    """Two declarations of one host in one namespace: the first one's words, and the second one's further
    ports and workloads."""
    numbers = {port.number for port in first.ports}
    return Service(
        host=first.host,
        namespace=first.namespace,
        ports=first.ports + tuple(port for port in second.ports if port.number not in numbers),
        external=first.external,
        resolution=first.resolution,
        addresses=first.addresses + tuple(one for one in second.addresses if one not in first.addresses),
        names=first.names + tuple(name for name in second.names if name not in first.names),
        visible=first.visible,
        kubernetes=first.kubernetes,
        created=first.created,
        sources=first.sources + second.sources,
        origin=first.origin,
    )


def _entries(manifests: Manifests, export: tuple[str, ...]) -> Iterable[Service]:
    for manifest in manifests.of(ServiceEntry):
        spec = manifest.spec
        ports = tuple(_port(port) for port in spec.ports)
        selector = None if spec.workload_selector is None else dict(spec.workload_selector.labels)
        for host in spec.hosts:
            yield Service(
                host=host.lower(),
                namespace=manifest.namespace,
                ports=ports,
                external=spec.location is not entries.Location.MESH_INTERNAL,
                resolution=Resolution(spec.resolution.value if spec.resolution else "NONE"),
                addresses=spec.addresses,
                names=spec.subject_alt_names,
                visible=visibility(spec.export_to or export, manifest.namespace),
                kubernetes=False,
                created=manifest.created,
                sources=(Source(ports, selector, spec.endpoints, manifest),),
                origin=origins.of(manifest),
            )


def _port(port: entries.ServicePort) -> ServicePort:
    number = port.number or 0
    return ServicePort(number, port.name or "", protocol_of(port.protocol or ""), port.target_port or number)


def _kubernetes(manifests: Manifests, export: tuple[str, ...]) -> Iterable[Service]:
    for manifest in manifests.of(KubernetesService):
        spec = manifest.spec
        if spec.type is ServiceType.ExternalName:
            continue
        # As in Istio, where what is not TCP is called past the mesh.
        ports = tuple(_kubernetes_port(port) for port in spec.ports if port.protocol in (None, "TCP"))
        annotated = manifest.annotations.get("networking.istio.io/exportTo")
        exported = tuple(part.strip() for part in annotated.split(",")) if annotated else export
        yield Service(
            host=f"{manifest.name}.{manifest.namespace}.svc.{DOMAIN}",
            namespace=manifest.namespace,
            ports=ports,
            external=False,
            resolution=Resolution.STATIC,
            addresses=(),
            names=(),
            visible=visibility(exported, manifest.namespace),
            kubernetes=True,
            created=manifest.created,
            sources=(Source(ports, dict(spec.selector) if spec.selector else None, (), manifest),),
            origin=origins.of(manifest),
        )


def _kubernetes_port(port: KubernetesServicePort) -> ServicePort:
    """A target that is a container's port by name is looked up among the WorkloadEntry's port names."""
    number = port.port or 0
    name = port.name or ""
    target = port.target_port or ""
    return ServicePort(
        number,
        name if not target or target.isdigit() else target,
        protocol_by_name(name, port.app_protocol),
        int(target) if target.isdigit() else number,
    )
