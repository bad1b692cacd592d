"""Workloads and the proxies that stand before them, from WorkloadEntries.

https://istio.io/latest/docs/reference/config/networking/workload-entry/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.ir.origin import Origin
from mesh.ir.values import Locality
from mesh.ir.view import Proxy, ProxyKind
from mesh.manifests.manifests import Manifest
from mesh.manifests.workload import WorkloadEntry
from mesh.resolve import labels as words
from mesh.resolve import origins

_DEFAULT_ACCOUNT = "default"
_GATEWAY_NAMES = ("ingressgateway", "egressgateway", "eastwestgateway")
_TEMPLATES = {
    "sidecar": ProxyKind.SIDECAR,
    "gateway": ProxyKind.GATEWAY,
    "grpc-agent": ProxyKind.PROXYLESS,
    "grpc-simple": ProxyKind.PROXYLESS,
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Workload:
    """One WorkloadEntry, or one endpoint that a ServiceEntry writes out."""

    namespace: str
    name: str
    address: str
    ports: Mapping[str, int]
    labels: Mapping[str, str]
    """The entry's, its metadata's (which win), and those of its locality."""
    locality: Locality
    service_account: str
    """Empty when nobody said it: its identity is then not known."""
    weight: int
    mutual_tls: bool
    """Whether a sidecar of its own ends mutual TLS."""
    draining: bool
    kind: ProxyKind | None
    """Of its proxy; None without one."""
    origin: Origin

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    def spiffe_id(self, trust_domain: str) -> str:
        """Its identity, if its service account is known."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def proxy(self, trust_domain: str) -> Proxy | None:
        """Who will ask for its configuration."""
        if self.kind is None:
            return None
        return Proxy(
            name=self.name,
            namespace=self.namespace,
            kind=self.kind,
            service_account=self.service_account or _DEFAULT_ACCOUNT,
            trust_domain=trust_domain,
            locality=self.locality,
            labels=self.labels,
            address=self.address,
        )


def workload(manifest: Manifest[WorkloadEntry]) -> Workload:
    """The workload that a manifest declares."""
    entry = {**manifest.spec.labels, **manifest.labels}
    return _workload(
        manifest.spec,
        namespace=manifest.namespace,
        name=manifest.name,
        labels=entry,
        kind=_kind(manifest.spec, entry, {**entry, **manifest.annotations}),
        origin=origins.of(manifest),
    )


def inline(entry: WorkloadEntry, namespace: str, name: str, origin: Origin) -> Workload:
    """An endpoint that a ServiceEntry writes out. It has no proxy of ours, though it may speak mutual TLS."""
    return _workload(entry, namespace=namespace, name=name, labels=entry.labels, kind=None, origin=origin)


def _workload(
    entry: WorkloadEntry,
    *,
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    kind: ProxyKind | None,
    origin: Origin,
) -> Workload:
    if entry.locality:
        locality = words.parse_locality(entry.locality)
    else:
        locality = words.parse_locality(labels.get(words.LOCALITY, ""), ".")
    return Workload(
        namespace=namespace,
        name=name,
        address=entry.address or "",
        ports=entry.ports,
        labels=words.with_topology(labels, locality),
        locality=locality,
        service_account=entry.service_account or "",
        weight=entry.weight or 1,
        mutual_tls=_mutual_tls(entry, labels),
        draining=words.DRAINING in labels,
        kind=kind,
        origin=origin,
    )


def _mutual_tls(entry: WorkloadEntry, labels: Mapping[str, str]) -> bool:
    """`security.istio.io/tlsMode` where it is set; else a workload with a service account has a sidecar
    (pilot/pkg/serviceregistry/serviceentry/conversion.go, `getTLSModeFromWorkloadEntry`)."""
    mode = labels.get(words.TLS_MODE)
    return mode == "istio" if mode is not None else bool(entry.service_account)


def _kind(entry: WorkloadEntry, labels: Mapping[str, str], marks: Mapping[str, str]) -> ProxyKind | None:
    """Which proxy a workload has, in the words that choose an injection template; `istio: ingressgateway` and
    the like, by which Istio's own gateways are labelled, say it too."""
    if marks.get(words.INJECT) == "false":
        return None
    for template in marks.get(words.TEMPLATES, "").split(","):
        if template.strip() in _TEMPLATES:
            return _TEMPLATES[template.strip()]
    if labels.get("istio") in _GATEWAY_NAMES:
        return ProxyKind.GATEWAY
    return ProxyKind.SIDECAR if _mutual_tls(entry, labels) else None


def by_name(host: str, namespace: str, name: str, origin: Origin) -> Workload:
    """What stands behind a service outside the mesh that is found by DNS."""
    return Workload(
        namespace=namespace,
        name=name,
        address=host,
        ports={},
        labels={},
        locality=Locality(),
        service_account="",
        weight=1,
        mutual_tls=False,
        draining=False,
        kind=None,
        origin=origin,
    )
