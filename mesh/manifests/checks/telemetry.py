"""Telemetry."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mesh.manifests.checks import cel, ranges
from mesh.manifests.checks.names import check_selector
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message, shown
from mesh.manifests.telemetry import (
    CUSTOM_METRICS,
    AccessLogging,
    CustomTag,
    MetricsOverrides,
    ProviderRef,
    TagOperation,
    TagOverride,
    Telemetry,
    Tracing,
)

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""As Prometheus has it (https://prometheus.io/docs/concepts/data_model/)."""


def check_telemetry(telemetry: Telemetry, findings: Findings) -> None:
    """Providers have names, and what is asked for is there."""
    check_selector(telemetry, "selector", telemetry.selector, findings)
    if len(telemetry.tracing) > 1:
        findings.field(telemetry, "tracing", "must be one: Istio uses no further ones", 1)
    for tracing in telemetry.tracing:
        _check_tracing(tracing, findings)
    for logging in telemetry.access_logging:
        _check_logging(logging, findings)
    for metrics in telemetry.metrics:
        _check_providers(metrics.providers, findings)
        for override in metrics.overrides:
            _check_override(override, findings)


def _check_providers(providers: tuple[ProviderRef, ...], findings: Findings) -> None:
    for provider in providers:
        if provider.name is None:
            findings.field(provider, "name", "is missing")


def _check_tracing(tracing: Tracing, findings: Findings) -> None:
    _check_providers(tracing.providers, findings)
    if len(tracing.providers) > 1:
        findings.field(tracing, "providers", "must be one: Istio uses no further ones", 1)
    ranges.check_percent(tracing, "random_sampling_percentage", tracing.random_sampling_percentage, findings)
    check_custom_tags(tracing, tracing.custom_tags, findings)


def check_custom_tags(message: Message, tags: Mapping[str, CustomTag], findings: Findings) -> None:
    """Tags have names and values."""
    for name, tag in tags.items():
        if not name:
            findings.field(message, "custom_tags", "a tag must have a name", name)
        if tag.literal is not None and tag.literal.value is None:
            findings.field(tag.literal, "value", "is missing")
        for source in (tag.header, tag.environment):
            if source is not None and source.name is None:
                findings.field(source, "name", "is missing")


def _check_override(override: MetricsOverrides, findings: Findings) -> None:
    match = override.match
    if match is not None and match.custom_metric is not None and match.custom_metric not in CUSTOM_METRICS:
        known = ", ".join(sorted(CUSTOM_METRICS))
        findings.field(
            match,
            "custom_metric",
            f"there is no metric {shown(match.custom_metric)}: it can name a standard one ({known})",
        )
    for name, tag in override.tag_overrides.items():
        if not _LABEL.fullmatch(name) or name == "le":
            problem = f"`{shown(name)}` cannot be the name of a label: [a-zA-Z_][a-zA-Z0-9_]*, and not le"
            findings.field(override, "tag_overrides", problem, name)
        _check_tag(tag, findings)


def _check_tag(tag: TagOverride, findings: Findings) -> None:
    if tag.operation is TagOperation.REMOVE:
        if tag.value:
            findings.field(tag, "value", "goes with UPSERT alone")
    elif not tag.value:
        findings.field(tag, "value", "is missing: UPSERT needs an expression")
    elif (problem := cel.label_problem(tag.value)) is not None:
        findings.field(tag, "value", problem)


def _check_logging(logging: AccessLogging, findings: Findings) -> None:
    _check_providers(logging.providers, findings)
    if logging.filter is not None and logging.filter.expression is None:
        findings.field(logging.filter, "expression", "is missing")
