"""Readiness probes of WorkloadGroups.

https://istio.io/latest/docs/reference/config/networking/workload-group/#ReadinessProbe
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from mesh.ir.cluster import HealthCheck
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.workload import WorkloadGroup
from mesh.resolve import labels as words
from mesh.resolve import origins

_PERIOD = 10
_TIMEOUT = 1
_FAILURES = 3
"""Kubernetes' defaults, which Istio takes over."""


class WorkloadGroups:
    """All WorkloadGroups that say how their workloads are asked."""

    def __init__(self, manifests: Manifests) -> None:
        ordered = sorted(manifests.of(WorkloadGroup), key=lambda one: (one.created, one.namespace, one.name))
        self._groups: Sequence[tuple[Manifest[WorkloadGroup], Mapping[str, str], HealthCheck]] = [
            (manifest, _labels(manifest.spec), check)
            for manifest in ordered
            if (check := _health_check(manifest)) is not None
        ]

    def health_check(self, namespace: str, selector: Mapping[str, str]) -> HealthCheck | None:
        """Of the first group whose workloads a service with `selector` selects."""
        for manifest, labels, check in self._groups:
            if manifest.namespace == namespace and words.selects(selector, labels):
                return check
        return None


def _labels(group: WorkloadGroup) -> Mapping[str, str]:
    template = group.template.labels if group.template else {}
    return {**template, **(group.metadata.labels if group.metadata else {})}


def _health_check(manifest: Manifest[WorkloadGroup]) -> HealthCheck | None:
    probe = manifest.spec.probe
    if probe is None:
        return None
    return HealthCheck(
        interval=timedelta(seconds=probe.period_seconds or _PERIOD),
        timeout=timedelta(seconds=probe.timeout_seconds or _TIMEOUT),
        unhealthy_after=probe.failure_threshold or _FAILURES,
        healthy_after=probe.success_threshold or 1,
        grpc_service=None if probe.grpc is None else probe.grpc.service or "",
        origin=origins.of(manifest, probe),
    )
