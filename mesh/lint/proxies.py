"""Rules about Sidecars, Telemetry and connections that live too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.lint.calls import allowed_callers
from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Mesh, Workload
from mesh.manifests.checks.mesh_config import BUILT_IN_PROVIDERS
from mesh.manifests.envoy_filter import ApplyTo, EnvoyFilter
from mesh.manifests.gateway import Gateway, ServerTLSMode
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, position_of
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.telemetry import ProviderRef, Telemetry
from mesh.resolve.labels import selects
from mesh.resolve.names import covers

_ANALYSIS = "https://istio.io/latest/docs/reference/config/analysis/"
_SIDECAR = "https://istio.io/latest/docs/reference/config/networking/sidecar/"
_AGE = "max_connection_duration"


def _labels(sidecar: Manifest[Sidecar]) -> Mapping[str, str]:
    return sidecar.spec.workload_selector.labels if sidecar.spec.workload_selector else {}


def sidecars_collide(mesh: Mesh) -> Iterator[Problem]:
    """One Sidecar holds for a workload."""
    plain: dict[str, Manifest[Sidecar]] = {}
    for sidecar in mesh.manifests.of(Sidecar):
        if not _labels(sidecar):
            first = plain.setdefault(sidecar.namespace, sidecar)
            if first is not sidecar:
                message = f"{first} ({first.at}) holds for all of {sidecar.namespace} already"
                yield Problem(sidecar, sidecar.at, message)
    taken: dict[Workload, Manifest[Sidecar]] = {}
    reported: set[str] = set()
    for sidecar in mesh.manifests.of(Sidecar):
        if not _labels(sidecar):
            continue
        for workload in mesh.workloads:
            if workload.namespace == sidecar.namespace and selects(_labels(sidecar), workload.labels):
                first = taken.setdefault(workload, sidecar)
                if first is not sidecar and sidecar.name not in reported:
                    reported.add(sidecar.name)
                    message = f"{first} ({first.at}) holds for {workload.manifest.name} already"
                    yield Problem(sidecar, sidecar.at, message)


def sidecar_hides(mesh: Mesh) -> Iterator[Problem]:
    """A caller's Sidecar lets it see whom it may call."""
    reported: set[tuple[str, str]] = set()
    where = {service.host: service.namespace for service in mesh.services}
    for namespace, account, host in allowed_callers(mesh):
        for workload in mesh.workloads_as(namespace, account):
            # An account may be shared by programs that call less; the one of its name is meant.
            if workload.labels.get("app", account) != account:
                continue
            sidecar = _sidecar_of(mesh, workload)
            if sidecar is None or not sidecar.spec.egress or (sidecar.name, host) in reported:
                continue
            patterns = [pattern for listener in sidecar.spec.egress for pattern in listener.hosts]
            if not any(_sees(pattern, sidecar.namespace, where[host], host) for pattern in patterns):
                reported.add((sidecar.name, host))
                message = f"{account} may call {host}, but its sidecar does not know it"
                yield Problem(sidecar, position_of(sidecar.spec, "egress"), message)


def _sidecar_of(mesh: Mesh, workload: Workload) -> Manifest[Sidecar] | None:
    own = [one for one in mesh.manifests.of(Sidecar) if one.namespace == workload.namespace]
    for sidecar in own:
        if _labels(sidecar) and selects(_labels(sidecar), workload.labels):
            return sidecar
    return next((sidecar for sidecar in own if not _labels(sidecar)), None)


def _sees(pattern: str, own: str, namespace: str, host: str) -> bool:
    where, _, what = pattern.rpartition("/")
    if where == "~":
        return False
    in_reach = where in ("", "*", namespace) or (where == "." and own == namespace)
    return in_reach and (what == "*" or covers(what, host))


def telemetries_collide(mesh: Mesh) -> Iterator[Problem]:
    """One Telemetry holds for a namespace."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], Manifest[Telemetry]] = {}
    for telemetry in mesh.manifests.of(Telemetry):
        labels = telemetry.spec.selector.match_labels if telemetry.spec.selector else {}
        first = seen.setdefault((telemetry.namespace, tuple(sorted(labels.items()))), telemetry)
        if first is not telemetry:
            whom = "the same workloads" if labels else f"all of {telemetry.namespace}"
            yield Problem(telemetry, telemetry.at, f"{first} ({first.at}) holds for {whom} already")


def unknown_telemetry_provider(mesh: Mesh) -> Iterator[Problem]:
    """Telemetry goes to somebody."""
    every = mesh.manifests.mesh_config.extension_providers
    scraped = {item.name for item in every if item.prometheus} | BUILT_IN_PROVIDERS["metrics"]
    known = {item.name for item in every if not item.prometheus}
    for telemetry in mesh.manifests.of(Telemetry):
        for field in ("access_logging", "tracing"):
            for provider in _providers(getattr(telemetry.spec, field)):
                if provider.name not in known | BUILT_IN_PROVIDERS[field]:
                    message = f"meshConfig.extensionProviders has no {provider.name}"
                    yield Problem(telemetry, position_of(provider, "name"), message)
        for provider in _providers(telemetry.spec.metrics):
            if provider.name not in scraped:
                message = f"meshConfig.extensionProviders has no prometheus provider {provider.name}"
                yield Problem(telemetry, position_of(provider, "name"), message)


def _providers(parts: tuple[Message, ...]) -> Iterator[ProviderRef]:
    for part in parts:
        yield from getattr(part, "providers", ())


def channel_without_age(mesh: Mesh) -> Iterator[Problem]:
    """A gRPC channel ends some day."""
    for gateway in mesh.manifests.of(Gateway):
        aged = any(
            _sets_age(patch.patch.value)
            for one in mesh.manifests.of(EnvoyFilter)
            if one.namespace in (gateway.namespace, mesh.root)
            and selects(
                one.spec.workload_selector.labels if one.spec.workload_selector else None,
                gateway.spec.selector,
            )
            for patch in one.spec.config_patches
            if patch.patch and patch.apply_to is ApplyTo.NETWORK_FILTER
        )
        for index, server in enumerate(gateway.spec.servers):
            passed_on = server.tls is not None and server.tls.mode is ServerTLSMode.PASSTHROUGH
            protocol = (server.port.protocol or "").upper() if server.port else ""
            if protocol in ("HTTPS", "HTTP2", "GRPC", "GRPC-WEB") and not aged and not passed_on:
                number = server.port.number if server.port else "?"
                message = f"a connection to port {number} lives as long as its client does"
                yield Problem(gateway, position_of(gateway.spec, "servers", index), message)


def _sets_age(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(key in (_AGE, "maxConnectionDuration") or _sets_age(inner) for key, inner in value.items())
    return False


RULES = (
    Rule(
        id="sidecars-conflict",
        severity=Severity.ERROR,
        finds="Two Sidecars for the same workload, or two for a whole namespace (IST0110, IST0111).",
        why="One of them is taken, the other's services and ports are not there.",
        fix="One Sidecar for a workload; labels that tell workloads apart.",
        source=_ANALYSIS + "ist0110/",
        check=sidecars_collide,
    ),
    Rule(
        id="sidecar-hides-service",
        severity=Severity.ERROR,
        finds="A Sidecar whose egress lacks a service that an AuthorizationPolicy lets its workload call.",
        why="The caller's proxy does not know the service: 502 with REGISTRY_ONLY, or a call past the mesh "
        "without mutual TLS, which the other side refuses.",
        fix="The host in the Sidecar's egress hosts.",
        source=_SIDECAR,
        check=sidecar_hides,
    ),
    Rule(
        id="telemetries-conflict",
        severity=Severity.ERROR,
        finds="Two Telemetry resources for the same workloads (IST0159, IST0160).",
        why="One of them is taken: logs or traces that were asked for are not there.",
        fix="Write them into one.",
        source=_ANALYSIS + "ist0159/",
        check=telemetries_collide,
    ),
    Rule(
        id="telemetry-provider-unknown",
        severity=Severity.ERROR,
        finds="A Telemetry with a provider that MeshConfig does not have.",
        why="Nothing is logged, traced or counted, and nothing says so.",
        fix="An entry in meshConfig.extensionProviders.",
        source="https://istio.io/latest/docs/reference/config/telemetry/#ProviderRef",
        check=unknown_telemetry_provider,
    ),
    Rule(
        id="channel-without-age",
        severity=Severity.WARNING,
        finds="A Gateway that takes HTTP/2 and on which no EnvoyFilter sets max_connection_duration.",
        why="A gRPC channel lives for days. Its client stays with the ingress it found first: after a "
        "region has come back, or more ingresses have started, nobody goes there. "
        "https://github.com/istio/istio/issues/22635",
        fix="An EnvoyFilter that merges common_http_protocol_options.max_connection_duration into the "
        "connection manager; on the servers' side, gRPC's max_connection_age.",
        source="https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto",
        check=channel_without_age,
    ),
)
