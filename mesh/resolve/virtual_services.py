"""VirtualServices with their names resolved, in the order in which they win.

https://istio.io/latest/docs/reference/config/networking/virtual-service/ and
pilot/pkg/model/virtualservice.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.manifests.common import Destination
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.virtual_service import VirtualService
from mesh.resolve import names
from mesh.resolve.visibility import Visibility, visibility


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Virtual:
    """A VirtualService. Two are the same only if they are the same object."""

    manifest: Manifest[VirtualService]
    hosts: tuple[str, ...]
    """Full names and patterns."""
    gateways: frozenset[str]
    """`namespace/name`, or `mesh`."""
    visible: Visibility

    @property
    def spec(self) -> VirtualService:
        """What it says."""
        return self.manifest.spec

    @property
    def namespace(self) -> str:
        """Where it lives; short names in it are of this namespace."""
        return self.manifest.namespace

    def host(self, destination: Destination | None) -> str:
        """Full host of one of its destinations."""
        return names.full_host((destination.host if destination else None) or "", self.namespace)

    def destinations(self) -> Iterator[tuple[str, int]]:
        """Every host it sends to, with the port, or 0 when none is said."""
        for http in self.spec.http:
            named = [one.destination for one in http.route]
            named += [http.mirror, *(mirror.destination for mirror in http.mirrors)]
            for destination in named:
                if destination is not None:
                    yield self.host(destination), port_of(destination) or 0
        for route in (*(one.route for one in self.spec.tls), *(one.route for one in self.spec.tcp)):
            for sent in route:
                if sent.destination is not None:
                    yield self.host(sent.destination), port_of(sent.destination) or 0


def port_of(destination: Destination) -> int | None:
    """The port a destination names."""
    return destination.port.number if destination.port else None


def virtual_services(manifests: Manifests) -> tuple[Virtual, ...]:
    """All of them, the oldest first."""
    export = manifests.mesh_config.default_virtual_service_export_to
    ordered = sorted(manifests.of(VirtualService), key=lambda one: (one.created, one.name, one.namespace))
    return tuple(
        Virtual(
            manifest=manifest,
            hosts=tuple(names.full_host(host, manifest.namespace) for host in manifest.spec.hosts),
            gateways=frozenset(
                names.full_gateway(gateway, manifest.namespace)
                for gateway in manifest.spec.gateways or (names.MESH_GATEWAY,)
            ),
            visible=visibility(manifest.spec.export_to or export, manifest.namespace),
        )
        for manifest in ordered
    )


def seen_from(virtuals: Iterable[Virtual], namespace: str, gateway: str) -> tuple[Virtual, ...]:
    """Those bound to `gateway` that proxies in `namespace` see, in the order in which they win: first what is
    private to the namespace, then what is exported to it by name, then what is exported everywhere; the
    oldest first among each (pilot/pkg/model/push_context.go, `VirtualServicesForGateway`)."""
    ranked: Sequence[list[Virtual]] = ([], [], [])
    for virtual in virtuals:
        if gateway not in virtual.gateways or not virtual.visible.to(namespace):
            continue
        if virtual.visible.everywhere:
            ranked[2].append(virtual)
        elif virtual.namespace == namespace and virtual.visible.only(namespace):
            ranked[0].append(virtual)
        else:
            ranked[1].append(virtual)
    return tuple(virtual for group in ranked for virtual in group)
