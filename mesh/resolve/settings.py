"""MeshConfig with Istio's defaults filled in.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from mesh.ir.origin import Origin
from mesh.manifests.destination_rule import H2UpgradePolicy, LocalityLoadBalancerSetting, TcpKeepalive
from mesh.manifests.extension_provider import (
    EnvoyFileAccessLogProvider,
    ExtensionProvider,
    PrometheusMetricsProvider,
)
from mesh.manifests.mesh_config import MeshConfig
from mesh.manifests.message import Message, position_of
from mesh.manifests.virtual_service import HTTPRetry

_CONNECT_TIMEOUT = timedelta(seconds=10)
_BUILT_IN = (
    ExtensionProvider(name="envoy", envoy_file_access_log=EnvoyFileAccessLogProvider()),
    ExtensionProvider(name="prometheus", prometheus=PrometheusMetricsProvider()),
)
"""What Istio has without being told: access logs on standard output, metrics to be scraped."""
_SAMPLING = 1.0
"""Percent (pilot's PILOT_TRACE_SAMPLING)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Settings:
    """What applies to the whole mesh."""

    root_namespace: str
    trust_domain: str
    trust_domain_aliases: tuple[str, ...]
    auto_mtls: bool
    locality: LocalityLoadBalancerSetting
    connect_timeout: timedelta
    keepalive: TcpKeepalive | None
    upgrade_to_http2: bool
    retries: HTTPRetry | None
    sampling: float
    providers: Mapping[str, ExtensionProvider]
    """By lower-case name."""
    config: MeshConfig

    def origin(self, message: Message, field: str = "", key: int | str | None = None) -> Origin:
        """Where in MeshConfig something is written."""
        place = position_of(message, field, key) if field else message.at
        return Origin(place.file, place.line, "MeshConfig", "", "", place.path)

    def provider(self, name: str) -> ExtensionProvider | None:
        """One of `extensionProviders`."""
        return self.providers.get(name.lower())


def settings(config: MeshConfig) -> Settings:
    """Fill in what `config` leaves out."""
    tracing = config.default_config.tracing if config.default_config else None
    sampling = tracing.sampling if tracing else None
    return Settings(
        root_namespace=config.root_namespace or "istio-system",
        trust_domain=config.trust_domain or "cluster.local",
        trust_domain_aliases=config.trust_domain_aliases,
        auto_mtls=config.enable_auto_mtls is not False,
        locality=config.locality_lb_setting or LocalityLoadBalancerSetting(),
        connect_timeout=config.connect_timeout or _CONNECT_TIMEOUT,
        keepalive=config.tcp_keepalive,
        upgrade_to_http2=config.h2_upgrade_policy is H2UpgradePolicy.UPGRADE,
        retries=config.default_http_retry_policy,
        sampling=_SAMPLING if sampling is None else sampling,
        providers={
            provider.name.lower(): provider
            for provider in (*_BUILT_IN, *config.extension_providers)
            if provider.name
        },
        config=config,
    )
