"""Metrics of one proxy, and who is who in their labels.

https://istio.io/latest/docs/reference/config/telemetry/#Metrics, pilot/pkg/model/telemetry.go
(`mergeMetrics`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mesh.ir.metrics import Metric, MetricKind, Metrics, NamedService, Party
from mesh.ir.origin import Origin
from mesh.ir.telemetry import Telemetry
from mesh.ir.values import Locality
from mesh.ir.view import Proxy
from mesh.manifests import telemetry as api
from mesh.manifests.checks import cel
from mesh.manifests.manifests import Manifest
from mesh.manifests.telemetry import CUSTOM_METRICS, IstioMetric, MetricSelector, TagOperation, WorkloadMode
from mesh.resolve import origins
from mesh.resolve.endpoints import Endpoint
from mesh.resolve.registry import Service
from mesh.resolve.settings import Settings

_CANONICAL_NAME = "service.istio.io/canonical-name"
_CANONICAL_REVISION = "service.istio.io/canonical-revision"
"""Labels (https://istio.io/latest/docs/ops/configuration/mesh/canonical-service/); without them, the app's
name and version stand for them, as injection has it."""
_LATEST = "latest"


@dataclass(slots=True)
class _Change:
    """What is different about one metric."""

    disabled: bool = False
    tags: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Provider:
    """What a provider is told of one side."""

    origin: Origin
    off: bool = False
    """All metrics were switched off, and none on again."""
    changes: dict[MetricKind, _Change] = field(default_factory=dict)


def asked_for(manifests: Iterable[Manifest[api.Telemetry]], settings: Settings) -> bool:
    """Whether any proxy may keep metrics: then clusters and hosts say who they are."""
    return bool(_default_names(settings)) or any(manifest.spec.metrics for manifest in manifests)


def merged(
    chosen: Sequence[Manifest[api.Telemetry]], side: WorkloadMode, settings: Settings
) -> Metrics | None:
    """The metrics of one side; `chosen` are the Telemetry resources that apply, the widest first.

    The last entry that names providers says which count. Overrides are applied one after another: a later one
    adds to the earlier ones for the same metric, label by label. All metrics switched off is kept apart from
    single ones: whatever override comes after it brings back all.

    Of several Prometheus providers the first by name is taken: they would count the same things twice.
    """
    entries = [(manifest, one) for manifest in chosen for one in manifest.spec.metrics]
    found: dict[str, _Provider] = {}
    names = _default_names(settings)
    if not entries and names:
        origin = settings.origin(settings.config.default_providers or settings.config, "metrics")
        found = {name: _Provider(origin) for name in names}
    scope = names
    for _, one in entries:
        scope = _names(one) or scope
    for manifest, one in entries:
        names = _names(one) or names
        for name in names:
            if name in scope:
                provider = found.setdefault(name, _Provider(origins.of(manifest, one)))
                provider.origin = origins.of(manifest, one)
                for override in one.overrides:
                    _apply(provider, override, side)
    for name, provider in sorted(found.items()):
        known = settings.provider(name)
        if known is not None and known.prometheus is not None:
            kept = _kept(provider)
            return Metrics(provider=name, metrics=kept, origin=provider.origin) if kept else None
    return None


def _default_names(settings: Settings) -> tuple[str, ...]:
    defaults = settings.config.default_providers
    return defaults.metrics if defaults else ()


def _names(one: api.Metrics) -> tuple[str, ...]:
    return tuple(reference.name for reference in one.providers if reference.name)


def _apply(provider: _Provider, override: api.MetricsOverrides, side: WorkloadMode) -> None:
    match = override.match or MetricSelector()
    if match.mode not in (None, WorkloadMode.CLIENT_AND_SERVER, side):
        return
    kinds = _kinds(match)
    if override.disabled and len(kinds) == len(MetricKind):
        provider.off = True
        return
    provider.off = False
    for kind in kinds:
        change = provider.changes.setdefault(kind, _Change())
        if override.disabled is not None:
            change.disabled = override.disabled
        for name, tag in override.tag_overrides.items():
            removed = tag.operation is TagOperation.REMOVE
            change.tags[name] = None if removed else cel.unwrapped(tag.value or "")


def _kinds(match: MetricSelector) -> Sequence[MetricKind]:
    metric = match.metric
    if match.custom_metric is not None:
        metric = CUSTOM_METRICS[match.custom_metric]
    if metric in (None, IstioMetric.ALL_METRICS):
        return tuple(MetricKind)
    return (MetricKind[metric.value],)


def _kept(provider: _Provider) -> tuple[Metric, ...]:
    if provider.off:
        return ()
    found = []
    for kind in MetricKind:
        change = provider.changes.get(kind, _Change())
        if not change.disabled:
            found.append(Metric(kind=kind, tags=tuple(sorted(change.tags.items(), key=lambda tag: tag[0]))))
    return tuple(found)


def of_proxy(telemetry: Telemetry, proxy: Proxy) -> Telemetry:
    """What is told, by one proxy of those that it holds for."""
    if telemetry.metrics is None:
        return telemetry
    own = party(proxy.namespace, proxy.name, proxy.labels, proxy.locality)
    return replace(telemetry, metrics=replace(telemetry.metrics, own=own))


def party(namespace: str, name: str, labels: Mapping[str, str], locality: Locality) -> Party:
    """A workload, as labels of metrics name it. The cluster is its region: each has a cluster of its own."""
    app, version = labels.get("app", ""), labels.get("version", "")
    return Party(
        workload=name,
        namespace=namespace,
        app=app,
        version=version,
        service=labels.get(_CANONICAL_NAME) or app or name,
        revision=labels.get(_CANONICAL_REVISION) or version or _LATEST,
        cluster=locality.region,
    )


def with_party(endpoint: Endpoint) -> Endpoint:
    """The same endpoint, whose host says who it is."""
    host = endpoint.host
    namespace, _, name = host.workload.partition("/")
    return Endpoint(
        replace(host, party=party(namespace, name, endpoint.labels, host.locality)), endpoint.labels
    )


def named(service: Service) -> NamedService:
    """A service, as labels of metrics name it: a Kubernetes service by its own name, any other by its
    host."""
    parts = service.host.split(".")
    kubernetes = service.kubernetes or parts[1:3] == [service.namespace, "svc"]
    return NamedService(
        host=service.host,
        name=parts[0] if kubernetes else service.host,
        namespace=service.namespace,
    )
