"""Everything that manifests say beside which workloads there are, ready to be asked."""

from __future__ import annotations

from mesh.manifests.envoy_filter import EnvoyFilter
from mesh.manifests.gateway import Gateway
from mesh.manifests.manifests import Manifests
from mesh.manifests.security import AuthorizationPolicy
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import Telemetry
from mesh.resolve import origins, registry
from mesh.resolve.authentication import PeerAuthentications, RequestAuthentications
from mesh.resolve.authorization import Authorizations, TrustDomains
from mesh.resolve.destination_rules import DestinationRules
from mesh.resolve.endpoints import Selectors
from mesh.resolve.groups import WorkloadGroups
from mesh.resolve.patches import Patches
from mesh.resolve.registry import Service
from mesh.resolve.scope import Scopes
from mesh.resolve.settings import settings
from mesh.resolve.telemetry import Telemetries
from mesh.resolve.virtual_services import Virtual, virtual_services


class Config:
    """Built once for as long as no manifest but WorkloadEntries changes; what is made of it is kept with
    it."""

    def __init__(self, manifests: Manifests) -> None:
        self.settings = settings(manifests.mesh_config)
        root = self.settings.root_namespace
        self.services = registry.services(manifests)
        self.virtuals = virtual_services(manifests)
        self.rules = DestinationRules(manifests, root)
        self.scopes = Scopes(
            self.services,
            self.virtuals,
            sorted(manifests.of(Sidecar), key=lambda one: (one.created, one.namespace, one.name)),
            root,
        )
        self.selectors = Selectors(self.services)
        self.peers = PeerAuthentications(manifests, root)
        self.groups = WorkloadGroups(manifests)
        self.tokens = RequestAuthentications(manifests, root, self.scopes)
        domains = TrustDomains(self.settings.trust_domain, self.settings.trust_domain_aliases)
        self.authorizations = Authorizations(manifests.of(AuthorizationPolicy), root, domains)
        self.telemetries = Telemetries(
            manifests.of(Telemetry), self.settings, frozenset(one.host for one in self.services)
        )
        self.patches = Patches(manifests.of(EnvoyFilter), root)
        self.gateways = manifests.of(Gateway)
        self.asked_labels = self._asked_labels()
        """Labels of a client that decide something of what it calls."""

        self._by_key = {service.key: service for service in self.services}

    origin = staticmethod(origins.of)

    def service(self, key: tuple[str, str]) -> Service:
        """The service of a namespace and host."""
        return self._by_key[key]

    def _asked_labels(self) -> frozenset[str]:
        asked = set(self.rules.labels)
        asked.update(entry.partition("=")[0] for entry in self.settings.locality.failover_priority)
        for virtual in self.virtuals:
            asked.update(_source_labels(virtual))
        return frozenset(asked)


def _source_labels(virtual: Virtual) -> set[str]:
    spec = virtual.spec
    found = {key for http in spec.http for match in http.match for key in match.source_labels}
    found |= {key for tls in spec.tls for match in tls.match for key in match.source_labels}
    return found | {key for tcp in spec.tcp for match in tcp.match for key in match.source_labels}
