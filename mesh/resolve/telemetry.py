"""Access logs and tracing of one proxy; for its metrics see `metrics`.

The root namespace's Telemetry without a selector, then the workload's namespace's, then the one that selects
the workload; what comes later wins
(https://istio.io/latest/docs/tasks/observability/telemetry/#scope-inheritance-and-overrides,
pilot/pkg/model/telemetry.go).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from mesh.ir.origin import Origin
from mesh.ir.telemetry import AccessLog, Telemetry, Tracing
from mesh.manifests import telemetry as api
from mesh.manifests.extension_provider import ExtensionProvider
from mesh.manifests.manifests import Manifest
from mesh.manifests.mesh_config import AccessLogEncoding
from mesh.manifests.telemetry import CustomTag, WorkloadMode
from mesh.resolve import labels as words
from mesh.resolve import metrics, origins
from mesh.resolve.providers import service_cluster
from mesh.resolve.settings import Settings

_Manifest = Manifest[api.Telemetry]
_STDOUT = "/dev/stdout"
_DEFAULT_JSON: Mapping[str, object] = {
    name: f"%{operator}%"
    for name, operator in (
        ("start_time", "START_TIME"),
        ("method", "REQ(:METHOD)"),
        ("path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"),
        ("protocol", "PROTOCOL"),
        ("response_code", "RESPONSE_CODE"),
        ("response_flags", "RESPONSE_FLAGS"),
        ("response_code_details", "RESPONSE_CODE_DETAILS"),
        ("connection_termination_details", "CONNECTION_TERMINATION_DETAILS"),
        ("upstream_transport_failure_reason", "UPSTREAM_TRANSPORT_FAILURE_REASON"),
        ("bytes_received", "BYTES_RECEIVED"),
        ("bytes_sent", "BYTES_SENT"),
        ("duration", "DURATION"),
        ("upstream_service_time", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)"),
        ("x_forwarded_for", "REQ(X-FORWARDED-FOR)"),
        ("user_agent", "REQ(USER-AGENT)"),
        ("request_id", "REQ(X-REQUEST-ID)"),
        ("authority", "REQ(:AUTHORITY)"),
        ("upstream_host", "UPSTREAM_HOST"),
        ("upstream_cluster", "UPSTREAM_CLUSTER_RAW"),
        ("upstream_local_address", "UPSTREAM_LOCAL_ADDRESS"),
        ("downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS"),
        ("downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"),
        ("requested_server_name", "REQUESTED_SERVER_NAME"),
        ("route_name", "ROUTE_NAME"),
    )
}
"""Istio's (https://istio.io/latest/docs/tasks/observability/logs/access-log/)."""


class Telemetries:
    """All Telemetry resources, ready to be asked."""

    def __init__(self, manifests: Sequence[_Manifest], settings: Settings, hosts: Collection[str]) -> None:
        """`hosts`: of all services. As in Istio, a provider whose service is none of them is told nothing: a
        mesh without a collector does no work for one."""
        self._settings = settings
        self._hosts = hosts
        ordered = sorted(manifests, key=lambda one: (one.created, one.namespace, one.name))
        self._manifests = words.Selections(
            (one.namespace, words.pairs(one.spec.selector), one) for one in ordered
        )
        self.metered = metrics.asked_for(ordered, settings)
        """Whether some proxy may keep metrics."""
        self._made: dict[tuple[tuple[int, ...], WorkloadMode, str], Telemetry] = {}

    def of(
        self, namespace: str, labels: Mapping[str, str], service_name: str, mode: WorkloadMode
    ) -> Telemetry:
        """What a proxy tells about traffic on one side: SERVER for its inbound listeners, CLIENT for all
        others.

        `service_name` is what spans call it: `app.namespace`.
        """
        chosen = self._applicable(namespace, labels)
        key = tuple(id(one) for one in chosen), mode, service_name
        if key not in self._made:
            tracing = _tracing(chosen, mode, self._settings, service_name)
            self._made[key] = Telemetry(
                access_logs=tuple(
                    log
                    for log in _access_logs(chosen, mode, self._settings)
                    if self._is_there(log.otel_cluster)
                ),
                tracing=tracing if tracing and self._is_there(tracing.cluster) else None,
                metrics=metrics.merged(chosen, mode, self._settings) if self.metered else None,
            )
        return self._made[key]

    def _is_there(self, cluster: str) -> bool:
        return not cluster or cluster.rpartition("|")[2] in self._hosts

    def _applicable(self, namespace: str, labels: Mapping[str, str]) -> list[_Manifest]:
        root = self._settings.root_namespace
        chosen = self._manifests.wide(root)[:1]
        if namespace != root:
            chosen += self._manifests.wide(namespace)[:1]
        return chosen + self._manifests.selecting(namespace, labels)[:1]


def _matches(mode: WorkloadMode | None, side: WorkloadMode) -> bool:
    return mode in (None, WorkloadMode.CLIENT_AND_SERVER, side)


def _names(references: Iterable[api.ProviderRef]) -> tuple[str, ...]:
    return tuple(reference.name for reference in references if reference.name)


def _access_logs(
    chosen: Sequence[_Manifest], mode: WorkloadMode, settings: Settings
) -> tuple[AccessLog, ...]:
    """As pilot's `mergeLogs`: the last level that names providers says which count; each later entry for one
    of them switches it on or off."""
    levels = [manifest for manifest in chosen if manifest.spec.access_logging]
    defaults = settings.config.default_providers
    default_names = defaults.access_logging if defaults else ()
    if not levels and not default_names:
        return _plain_log(settings)
    scope = set(default_names)
    filters: dict[str, str] = {}
    for manifest in levels:
        named = {name for one in manifest.spec.access_logging for name in _names(one.providers)}
        scope = named or scope
        for one in manifest.spec.access_logging:
            expression = (one.filter.expression if one.filter else None) or ""
            filters.update(dict.fromkeys(_names(one.providers), expression))
    found: dict[str, Origin | None] = {} if levels else dict.fromkeys(default_names)
    parents = tuple(default_names)
    for manifest in levels:
        for one in manifest.spec.access_logging:
            parents = _names(one.providers) or parents
            if not _matches(one.match.mode if one.match else None, mode):
                continue
            for name in parents:
                if name not in scope:
                    continue
                if one.disabled:
                    found.pop(name, None)
                else:
                    found[name] = origins.of(manifest, one)
    logs = (
        _provider_log(settings.provider(name), filters.get(name, ""), origin, settings)
        for name, origin in sorted(found.items())
    )
    return tuple(log for log in logs if log is not None)


def _plain_log(settings: Settings) -> tuple[AccessLog, ...]:
    """`meshConfig.accessLogFile`, which counts where no Telemetry says anything."""
    config = settings.config
    if not config.access_log_file:
        return ()
    as_json = config.access_log_encoding is AccessLogEncoding.JSON
    text = config.access_log_format or ""
    return (
        AccessLog(
            provider="",
            path=config.access_log_file,
            text_format="" if as_json else text,
            json_format=_json_format(text) if as_json else {},
            origin=settings.origin(config, "access_log_file"),
        ),
    )


def _json_format(text: str) -> Mapping[str, object]:
    parsed = json.loads(text) if text else _DEFAULT_JSON
    if not isinstance(parsed, dict):
        raise TypeError("meshConfig.accessLogFormat is not a JSON object")
    return parsed


def _provider_log(
    provider: ExtensionProvider | None, expression: str, origin: Origin | None, settings: Settings
) -> AccessLog | None:
    if provider is None:
        return None
    name = provider.name or ""
    said = origin or settings.origin(provider)
    file, otel = provider.envoy_file_access_log, provider.envoy_otel_als
    if file is not None:
        shape = file.log_format
        labels = shape.labels if shape else None
        return AccessLog(
            provider=name,
            path=file.path or _STDOUT,
            text_format=(shape.text if shape else None) or "",
            json_format={} if labels is None else labels or _DEFAULT_JSON,
            filter=expression,
            origin=said,
        )
    if otel is not None:
        body = otel.log_format
        return AccessLog(
            provider=name,
            path="",
            otel_cluster=service_cluster(otel.service, otel.port),
            text_format=(body.text if body else None) or "",
            json_format=(body.labels if body else None) or {},
            filter=expression,
            origin=said,
        )
    return None


def _tracing(
    chosen: Sequence[_Manifest], mode: WorkloadMode, settings: Settings, service_name: str
) -> Tracing | None:
    defaults = settings.config.default_providers
    names = defaults.tracing if defaults else ()
    provider = settings.provider(names[0]) if names else None
    origin = settings.origin(provider) if provider else None
    disabled = False
    sampling = settings.sampling
    base = settings.config.default_config
    tags: Mapping[str, CustomTag] = base.tracing.custom_tags if base and base.tracing else {}
    for manifest in chosen:
        for one in manifest.spec.tracing:
            if not _matches(one.match.mode if one.match else None, mode):
                continue
            named = _names(one.providers)
            if named:
                provider = settings.provider(named[0])
            origin = origins.of(manifest, one)
            disabled = disabled if one.disable_span_reporting is None else one.disable_span_reporting
            sampling = sampling if one.random_sampling_percentage is None else one.random_sampling_percentage
            tags = one.custom_tags or tags
    collector = provider.opentelemetry if provider else None
    if provider is None or collector is None or origin is None:
        return None
    return Tracing(
        provider=provider.name or "",
        cluster=service_cluster(collector.service, collector.port),
        grpc=collector.http is None,
        http_path=(collector.http.path if collector.http else None) or "",
        service_name=service_name,
        sampling_percent=sampling,
        disabled=disabled,
        tags=tuple(_tag(name, tag) for name, tag in sorted(tags.items())),
        origin=origin,
    )


def _tag(name: str, tag: CustomTag) -> tuple[str, str, str]:
    if tag.header is not None:
        return name, "header", tag.header.name or ""
    if tag.environment is not None:
        return name, "environment", tag.environment.name or ""
    return name, "literal", (tag.literal.value if tag.literal else None) or ""
