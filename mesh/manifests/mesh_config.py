"""MeshConfig (https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/), as `spec.meshConfig` of an
IstioOperator holds it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from mesh.manifests.common import REGISTRY_ONLY, OutboundTrafficPolicy
from mesh.manifests.destination_rule import H2UpgradePolicy, LocalityLoadBalancerSetting, TcpKeepalive
from mesh.manifests.extension_provider import DefaultProviders, ExtensionProvider
from mesh.manifests.message import Int32, Message
from mesh.manifests.telemetry import CustomTag
from mesh.manifests.virtual_service import HTTPRetry

_NO_CAPTURE = "traffic is not captured: services dial their sidecar, and listeners have ports of their own"
_NO_INGRESS = "Kubernetes Ingress resources are not read: write a Gateway and a VirtualService"
_TELEMETRY = "write a Telemetry resource and an entry of extensionProviders"
_OWN_CA = "certificates come from this mesh's own CA"
_KUBERNETES = "it steers how Istio watches Kubernetes, and here manifests are files"
_STATISTICS = "names of statistics are not changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTracing(Message):
    """Tracing where no Telemetry resource says otherwise."""

    rejected: ClassVar = {
        "zipkin": _TELEMETRY,
        "lightstep": _TELEMETRY,
        "datadog": _TELEMETRY,
        "stackdriver": _TELEMETRY,
        "openCensusAgent": _TELEMETRY,
        "tlsSettings": "write a DestinationRule for the collector",
        "maxPathTagLength": "tags of spans are not shortened",
        "enableIstioTags": "Istio's own tags are always on spans",
    }

    sampling: float | None = None
    """Percent."""
    custom_tags: Mapping[str, CustomTag] = field(default_factory=dict)


_BOOTSTRAP = "a proxy's bootstrap is written by what starts it, before any manifest is read"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig(Message):
    """Settings of proxies that no other manifest has."""

    rejected: ClassVar = {
        "availabilityZone": "Istio has deprecated it: write the locality of the WorkloadEntry",
        "binaryPath": _BOOTSTRAP,
        "caCertificatesPem": _OWN_CA,
        "configPath": _BOOTSTRAP,
        "controlPlaneAuthPolicy": "proxies always prove themselves to the control plane",
        "customConfigFile": _BOOTSTRAP,
        "discoveryAddress": _BOOTSTRAP,
        "discoveryRefreshDelay": "Istio has deprecated it: changes are pushed",
        "envoyAccessLogService": _TELEMETRY,
        "envoyMetricsService": "metrics are scraped, not pushed",
        "envoyMetricsServiceAddress": "metrics are scraped, not pushed",
        "extraStatTags": _STATISTICS,
        "fileFlushInterval": _BOOTSTRAP,
        "fileFlushMinSizeKb": _BOOTSTRAP,
        "gatewayTopology": "gateways take whoever connects for the client, and trust no proxy before them",
        "image": "proxies are not containers here",
        "interceptionMode": _NO_CAPTURE,
        "meshId": "there is one mesh",
        "parentShutdownDuration": "proxies are not restarted hot",
        "privateKeyProvider": "private keys are held by the proxy itself",
        "proxyAdminPort": _BOOTSTRAP,
        "proxyBootstrapTemplatePath": _BOOTSTRAP,
        "proxyHeaders": "the headers that proxies add are not changed",
        "proxyMetadata": _BOOTSTRAP,
        "proxyStatsMatcher": "all statistics are kept",
        "readinessProbe": "write it in a WorkloadGroup",
        "runtimeValues": _BOOTSTRAP,
        "sds": "Istio has deprecated it: secrets always come over SDS",
        "serviceCluster": "it is always the workload's app label and namespace",
        "statNameLength": _STATISTICS,
        "statsCompression": _BOOTSTRAP,
        "statsEvictionInterval": _BOOTSTRAP,
        "statsdUdpAddress": "metrics are scraped, not pushed",
        "statusPort": "readiness is asked at the proxy's admin port",
        "tracingServiceName": "it is always the workload's app label and namespace",
        "zipkinAddress": _TELEMETRY,
    }

    passed_over: ClassVar = dict.fromkeys(
        (
            "concurrency",
            "drain_duration",
            "termination_drain_duration",
            "hold_application_until_proxy_starts",
        ),
        "it is for what starts and stops a proxy",
    )

    concurrency: Int32 | None = None
    drain_duration: timedelta | None = None
    termination_drain_duration: timedelta | None = None
    hold_application_until_proxy_starts: bool | None = None
    tracing: ProxyTracing | None = None


class AccessLogEncoding(enum.Enum):
    """Of `accessLogFormat`."""

    TEXT = "TEXT"
    JSON = "JSON"


class NormalizationType(enum.Enum):
    """What is done to paths before anything looks at them."""

    DEFAULT = "DEFAULT"
    BASE = "BASE"


_PATHS = "paths are always normalised as RFC 3986 has it, which is Istio's default"
_NORMALIZED = "it can only ask for what proxies always do"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyPathNormalization(Message):
    """What is done to paths before anything looks at them."""

    refused_values: ClassVar = {
        "normalization": {"NONE": _PATHS, "MERGE_SLASHES": _PATHS, "DECODE_AND_MERGE_SLASHES": _PATHS}
    }

    passed_over: ClassVar = {"normalization": _NORMALIZED}

    normalization: NormalizationType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig(Message):
    """What holds for the whole mesh. None and empty mean Istio's default."""

    passed_over: ClassVar = {
        "outbound_traffic_policy": REGISTRY_ONLY,
        "path_normalization": _NORMALIZED,
    }
    rejected: ClassVar = {
        "ca": _OWN_CA,
        "caCertificates": _OWN_CA,
        "certificates": _OWN_CA,
        "compliancePolicy": "the cryptography of proxies is not restricted",
        "configSources": _KUBERNETES,
        "disableEnvoyListenerLog": "listeners have no access log of their own",
        "discoverySelectors": _KUBERNETES,
        "dnsRefreshRate": "names are looked up as often as their answers say",
        "enableEnvoyAccessLogService": _TELEMETRY,
        "enableTracing": "calls are traced where a Telemetry resource says so",
        "enablePrometheusMerge": "metrics of applications and of proxies are scraped apart",
        "inboundClusterStatName": _STATISTICS,
        "inboundTrafficPolicy": _NO_CAPTURE,
        "ingressClass": _NO_INGRESS,
        "ingressControllerMode": _NO_INGRESS,
        "ingressSelector": _NO_INGRESS,
        "ingressService": _NO_INGRESS,
        "meshMTLS": "mutual TLS within the mesh has fixed settings: TLS 1.2 or later",
        "outboundClusterStatName": _STATISTICS,
        "protocolDetectionTimeout": "protocols are not guessed: ports say what is spoken",
        "proxyHttpPort": "there is no HTTP proxy port: write an egress listener in a Sidecar",
        "proxyInboundListenPort": _NO_CAPTURE,
        "proxyListenPort": _NO_CAPTURE,
        "serviceScopeConfigs": "there is one cluster",
        "serviceSettings": "there is one cluster",
        "tlsDefaults": "write the TLS settings of a Gateway or a DestinationRule",
        "verifyCertificateAtClient": "Istio has deprecated it: servers' certificates are always verified",
    }
    refused_values: ClassVar = {
        "h2_upgrade_policy": {"DEFAULT": "it is a value of DestinationRule's, not of the mesh"}
    }

    connect_timeout: timedelta | None = None
    tcp_keepalive: TcpKeepalive | None = None
    access_log_file: str | None = None
    access_log_format: str | None = None
    access_log_encoding: AccessLogEncoding | None = None
    default_config: ProxyConfig | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    enable_auto_mtls: bool | None = None
    trust_domain: str | None = None
    trust_domain_aliases: tuple[str, ...] = ()
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    root_namespace: str | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    h2_upgrade_policy: H2UpgradePolicy | None = None
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: DefaultProviders | None = None
    path_normalization: ProxyPathNormalization | None = None
    default_http_retry_policy: HTTPRetry | None = None


_INSTALLATION = "it is Helm's way to change the mesh behind MeshConfig's back: write meshConfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioOperator(Message):
    """What `istioctl install -f` reads. Only meshConfig concerns the mesh; the rest says what to install."""

    rejected: ClassVar = {"values": _INSTALLATION, "unvalidatedValues": _INSTALLATION}

    passed_over: ClassVar = dict.fromkeys(
        ("profile", "hub", "tag", "revision", "namespace", "components"),
        "it says what is installed in a cluster",
    )

    mesh_config: MeshConfig | None = None
    profile: str | None = None
    hub: str | None = None
    tag: str | None = None
    revision: str | None = None
    namespace: str | None = None
    components: Mapping[str, object] = field(default_factory=dict)
