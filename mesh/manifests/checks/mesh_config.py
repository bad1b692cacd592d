"""MeshConfig, and the extensionProviders in it."""

from __future__ import annotations

from datetime import timedelta

from mesh.manifests.checks import ranges
from mesh.manifests.checks.destination_rule import check_connect_timeout, check_keepalive, check_locality
from mesh.manifests.checks.http import check_retry
from mesh.manifests.checks.names import host_problem, is_dns_label, is_ip
from mesh.manifests.checks.telemetry import check_custom_tags
from mesh.manifests.extension_provider import (
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
    EnvoyOpenTelemetryLogProvider,
    ExtensionProvider,
    OpenTelemetryTracingProvider,
)
from mesh.manifests.findings import Findings
from mesh.manifests.mesh_config import IstioOperator, MeshConfig, ProxyConfig
from mesh.manifests.message import shown

BUILT_IN_PROVIDERS = {
    "access_logging": frozenset({"envoy"}),
    "metrics": frozenset({"prometheus"}),
    "tracing": frozenset[str](),
}
"""Providers that Istio has without being told: access logs on standard output, metrics to be scraped."""

_Remote = (
    EnvoyExternalAuthorizationGrpcProvider
    | EnvoyExternalAuthorizationHttpProvider
    | EnvoyOpenTelemetryLogProvider
    | OpenTelemetryTracingProvider
)


def check_istio_operator(operator: IstioOperator, findings: Findings) -> None:
    """The MeshConfig in it."""
    if operator.mesh_config is not None:
        check_mesh_config(operator.mesh_config, findings)


def check_mesh_config(config: MeshConfig, findings: Findings) -> None:
    """What holds for the whole mesh."""
    check_connect_timeout(config, config.connect_timeout, findings)
    check_keepalive(config.tcp_keepalive, findings)
    check_locality(config.locality_lb_setting, findings)
    check_retry(config.default_http_retry_policy, findings)
    retry = config.default_http_retry_policy
    if retry is not None and retry.per_try_timeout is not None:
        findings.field(
            retry, "per_try_timeout", "is not supported for the whole mesh: write it in a VirtualService"
        )
    for name in (
        "default_service_export_to",
        "default_virtual_service_export_to",
        "default_destination_rule_export_to",
    ):
        for index, entry in enumerate(getattr(config, name)):
            if entry not in ("*", ".", "~") and not is_dns_label(entry):
                findings.field(
                    config, name, f"`{shown(entry)}` is neither `*`, `.`, `~` nor a namespace", index
                )
    if config.root_namespace is not None and not is_dns_label(config.root_namespace):
        findings.field(
            config, "root_namespace", f"`{shown(config.root_namespace)}` is not the name of a namespace"
        )
    if config.trust_domain is not None and not _is_trust_domain(config.trust_domain):
        findings.field(config, "trust_domain", f"`{shown(config.trust_domain)}` is not a trust domain")
    for index, alias in enumerate(config.trust_domain_aliases):
        if not _is_trust_domain(alias):
            findings.field(config, "trust_domain_aliases", f"`{shown(alias)}` is not a trust domain", index)
    if config.default_config is not None:
        _check_proxy_config(config.default_config, findings)
    _check_providers(config, findings)


def _is_trust_domain(domain: str) -> bool:
    return bool(domain) and all(is_dns_label(label) for label in domain.removesuffix(".").split("."))


def _check_proxy_config(config: ProxyConfig, findings: Findings) -> None:
    ranges.check_not_negative(config, ("concurrency",), findings)
    ranges.check_duration(config, "drain_duration", config.drain_duration, findings)
    if config.drain_duration is not None and config.drain_duration % timedelta(seconds=1):
        findings.field(config, "drain_duration", "must be in whole seconds")
    ranges.check_duration(config, "termination_drain_duration", config.termination_drain_duration, findings)
    if config.tracing is not None:
        ranges.check_percent(config.tracing, "sampling", config.tracing.sampling, findings)
        check_custom_tags(config.tracing, config.tracing.custom_tags, findings)


def _check_providers(config: MeshConfig, findings: Findings) -> None:
    names: set[str] = set()
    for provider in config.extension_providers:
        if provider.name is None:
            findings.field(provider, "name", "is missing")
        elif provider.name in names:
            findings.field(provider, "name", f"there are two providers {shown(provider.name)}")
        names.add(provider.name or "")
        _check_provider(provider, findings)
    defaults = config.default_providers
    if defaults is None:
        return
    scraped = {item.name for item in config.extension_providers if item.prometheus is not None}
    for index, name in enumerate(defaults.metrics):
        if name in names and name not in scraped:
            findings.field(defaults, "metrics", f"{shown(name)} is not a prometheus provider", index)
    for field in ("tracing", "access_logging", "metrics"):
        for index, name in enumerate(getattr(defaults, field)):
            if name not in names and name not in BUILT_IN_PROVIDERS[field]:
                findings.field(defaults, field, f"extensionProviders has no {shown(name)}", index)


def _check_provider(provider: ExtensionProvider, findings: Findings) -> None:
    for authorizer in (provider.envoy_ext_authz_grpc, provider.envoy_ext_authz_http):
        if authorizer is None:
            continue
        _check_remote(authorizer, findings)
        ranges.check_duration(authorizer, "timeout", authorizer.timeout, findings)
        status = authorizer.status_on_error
        if status is not None and not (
            status.isascii() and status.isdigit() and 100 <= int(status[:4]) <= 599
        ):
            findings.field(authorizer, "status_on_error", f"must be an HTTP status, not `{shown(status)}`")
        body = authorizer.include_request_body_in_check
        if body is not None and not body.max_request_bytes:
            findings.field(body, "max_request_bytes", "must be more than 0")
    http = provider.envoy_ext_authz_http
    if http is not None and http.path_prefix is not None and not http.path_prefix.startswith("/"):
        findings.field(http, "path_prefix", "must begin with `/`")
    for remote in (provider.envoy_otel_als, provider.opentelemetry):
        if remote is not None:
            _check_remote(remote, findings)
    collector = provider.opentelemetry.http if provider.opentelemetry is not None else None
    if collector is not None and not (collector.path or "").startswith("/"):
        findings.field(collector, "path", "must begin with `/`")


def _check_remote(provider: _Remote, findings: Findings) -> None:
    ranges.check_port(provider, "port", provider.port, findings)
    if provider.service is None:
        findings.field(provider, "service", "is missing")
        return
    namespace, slash, host = provider.service.rpartition("/")
    if slash and not is_dns_label(namespace):
        findings.field(provider, "service", f"`{shown(namespace)}` is not the name of a namespace")
    elif not is_ip(host) and (problem := host_problem(host)) is not None:
        findings.field(provider, "service", problem)
