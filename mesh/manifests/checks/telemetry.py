"""Telemetry."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.manifests.checks import ranges
from mesh.manifests.checks.names import check_selector
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message
from mesh.manifests.telemetry import (
    AccessLogging,
    CustomTag,
    ProviderRef,
    Telemetry,
    Tracing,
)


def check_telemetry(telemetry: Telemetry, findings: Findings) -> None:
    """Providers have names, and what is asked for is there."""
    check_selector(telemetry, "selector", telemetry.selector, findings)
    if len(telemetry.tracing) > 1:
        findings.field(telemetry, "tracing", "must be one: Istio uses no further ones", 1)
    for tracing in telemetry.tracing:
        _check_tracing(tracing, findings)
    for logging in telemetry.access_logging:
        _check_logging(logging, findings)


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


def _check_logging(logging: AccessLogging, findings: Findings) -> None:
    _check_providers(logging.providers, findings)
    if logging.filter is not None and logging.filter.expression is None:
        findings.field(logging.filter, "expression", "is missing")
