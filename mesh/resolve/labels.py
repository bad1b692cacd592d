"""Labels and annotations with a meaning of their own, and selection by labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from mesh.ir.values import Locality
from mesh.manifests.common import LabelsSelector, WorkloadSelector

T = TypeVar("T")

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
"""Labels that every workload has of its locality; `failoverPriority` may name them
(https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting)."""

TLS_MODE = "security.istio.io/tlsMode"
"""Label: `istio` when the workload has a sidecar that speaks mutual TLS, `disabled` when not."""

DRAINING = "istio.io/draining"
"""Label: the workload keeps its streams and gets no new ones (pilot's PILOT_DRAINING_LABEL)."""

INJECT = "sidecar.istio.io/inject"
"""Label or annotation: `false` when the workload has no proxy."""

TEMPLATES = "inject.istio.io/templates"
"""Label or annotation: which proxy the workload has: `sidecar`, `gateway` or `grpc-agent`
(https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/)."""

DRY_RUN = "istio.io/dry-run"
"""Annotation of an AuthorizationPolicy that only notes what it would do."""

LOCALITY = "istio-locality"
"""Label: `region.zone.subzone`, for a workload without a `locality`."""


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether all of `selector` is in `labels`; no selector, or an empty one, selects all."""
    return not selector or all(labels.get(key) == value for key, value in selector.items())


def pairs(selector: WorkloadSelector | LabelsSelector | None) -> Mapping[str, str]:
    """The labels that a selector asks for; none for all workloads."""
    if selector is None:
        return {}
    return selector.labels if isinstance(selector, LabelsSelector) else selector.match_labels


class Selections(Generic[T]):
    """Things that apply to the workloads of a namespace, or of all, or to those with some labels; in an
    order."""

    def __init__(self, entries: Iterable[tuple[str, Mapping[str, str], T]]) -> None:
        """`entries` are namespace, selector and thing, the first to count first."""
        self._wide: dict[str, list[tuple[int, T]]] = {}
        self._by_pair: dict[tuple[str, tuple[str, str]], list[tuple[int, Mapping[str, str], T]]] = {}
        for position, (namespace, selector, thing) in enumerate(entries):
            if selector:
                pair = min(selector.items())
                self._by_pair.setdefault((namespace, pair), []).append((position, selector, thing))
            else:
                self._wide.setdefault(namespace, []).append((position, thing))

    def wide(self, namespace: str) -> list[T]:
        """Those of a namespace that have no selector."""
        return [thing for _, thing in self._wide.get(namespace, ())]

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[T]:
        """Those of a namespace whose selector `labels` have."""
        return [thing for _, thing in sorted(self._narrow(namespace, labels), key=_position)]

    def applying(self, namespace: str, labels: Mapping[str, str]) -> list[T]:
        """Both."""
        found = [*self._wide.get(namespace, ()), *self._narrow(namespace, labels)]
        return [thing for _, thing in sorted(found, key=_position)]

    def _narrow(self, namespace: str, labels: Mapping[str, str]) -> Iterator[tuple[int, T]]:
        for pair in labels.items():
            for position, selector, thing in self._by_pair.get((namespace, pair), ()):
                if selects(selector, labels):
                    yield position, thing


def _position(entry: tuple[int, object]) -> int:
    return entry[0]


def parse_locality(text: str, separator: str = "/") -> Locality:
    """`region/zone/subzone`, of which the later parts may be absent."""
    region, _, rest = text.partition(separator)
    zone, _, subzone = rest.partition(separator)
    return Locality(region, zone, subzone)


def with_topology(labels: Mapping[str, str], locality: Locality) -> dict[str, str]:
    """`labels` and those that a locality stands for, which win."""
    topology = {REGION: locality.region, ZONE: locality.zone, SUBZONE: locality.subzone}
    return {**labels, **{key: value for key, value in topology.items() if value}}
