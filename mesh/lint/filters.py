"""Rules about EnvoyFilters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mesh.ir.origin import Origin
from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Mesh
from mesh.manifests.envoy_filter import ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, PatchOperation
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Position, position_of

_ANALYSIS = "https://istio.io/latest/docs/reference/config/analysis/"
_RELATIVE = (PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.REPLACE)
_OUTBOUND = re.compile(r"outbound\|(\d+)\|([^|]*)\|(.+)")
_REMOVED = "type.googleapis.com/envoy.config.filter."


def _patches(mesh: Mesh) -> Iterator[tuple[Manifest[EnvoyFilter], EnvoyConfigObjectPatch, PatchOperation]]:
    for manifest in mesh.manifests.of(EnvoyFilter):
        for patch in manifest.spec.config_patches:
            if patch.patch and patch.patch.operation:
                yield manifest, patch, patch.patch.operation


def relative_without_priority(mesh: Mesh) -> Iterator[Problem]:
    """What stands before something depends on when that was added."""
    for manifest, patch, operation in _patches(mesh):
        if operation in _RELATIVE and manifest.spec.priority is None and patch.patch:
            message = f"{operation.value} without a priority depends on the order the filters were created in"
            yield Problem(manifest, position_of(patch.patch, "operation"), message)


_ONLY_ON = {
    PatchOperation.REPLACE: (ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER),
    PatchOperation.INSERT_BEFORE: (ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_ROUTE),
    PatchOperation.INSERT_AFTER: (ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_ROUTE),
    PatchOperation.INSERT_FIRST: (ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_ROUTE),
}
_NOT_ON = {
    PatchOperation.ADD: (ApplyTo.ROUTE_CONFIGURATION, ApplyTo.HTTP_ROUTE),
    PatchOperation.REMOVE: (ApplyTo.ROUTE_CONFIGURATION, ApplyTo.HTTP_ROUTE),
}


def operation_ignored(mesh: Mesh) -> Iterator[Problem]:
    """Some operations do nothing to some objects."""
    for manifest, patch, operation in _patches(mesh):
        target = patch.apply_to
        if target is None or patch.patch is None:
            continue
        allowed = _ONLY_ON.get(operation)
        if target in _NOT_ON.get(operation, ()) or (allowed is not None and target not in allowed):
            message = f"{operation.value} does nothing to a {target.value}"
            yield Problem(manifest, position_of(patch.patch, "operation"), message)


def limits_as_unavailable(mesh: Mesh) -> Iterator[Problem]:
    """A refused gRPC call must not look like a failed one."""
    for manifest, patch, _ in _patches(mesh):
        if patch.patch is None:
            continue
        for config in _configs(patch.patch.value):
            kind = str(config.get("@type", "")).rpartition(".")[2]
            if kind not in ("RateLimit", "LocalRateLimit"):
                continue
            names = ("rate_limited_as_resource_exhausted", "rateLimitedAsResourceExhausted")
            if not any(config.get(name) is True for name in names):
                message = f"{kind} without rate_limited_as_resource_exhausted"
                yield Problem(manifest, position_of(patch.patch, "value"), message)


def unknown_cluster(mesh: Mesh) -> Iterator[Problem]:
    """A filter's own calls go to somebody."""
    for manifest, patch, _ in _patches(mesh):
        if patch.patch is None:
            continue
        for config in _configs(patch.patch.value):
            named = config.get("cluster_name", config.get("clusterName"))
            parts = _OUTBOUND.fullmatch(named) if isinstance(named, str) else None
            if parts is None:
                continue
            host, number, subset = parts[3], int(parts[1]), parts[2]
            at = position_of(patch.patch, "value")
            if not mesh.knows(host, manifest.namespace):
                yield Problem(manifest, at, f"{named}: no service is called {host}")
                continue
            services = mesh.find(host, manifest.namespace)
            if services and not any(port.number == number for one in services for port in one.ports):
                yield Problem(manifest, at, f"{named}: {host} has no port {number}")
            declared = {
                one.name
                for rule in mesh.destination_rules(host, manifest.namespace)
                for one in rule.spec.subsets
            }
            if subset and subset not in declared:
                yield Problem(manifest, at, f"{named}: no DestinationRule declares the subset {subset}")


def untyped(mesh: Mesh) -> Iterator[Problem]:
    """Envoy knows extensions by type."""
    for manifest, patch, operation in _patches(mesh):
        if patch.patch is None or operation is PatchOperation.REMOVE:
            continue
        value = patch.patch.value
        at = position_of(patch.patch, "value")
        typed = value.get("typed_config", value.get("typedConfig"))
        # The reader refuses one that says something without its type.
        if patch.apply_to in (ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER) and typed == {}:
            yield Problem(manifest, at, "typed_config has no @type")
        for config in _configs(value):
            kind = config.get("@type")
            if isinstance(kind, str) and kind.startswith(_REMOVED):
                yield Problem(manifest, at, f"{kind.rpartition('/')[2]} is of the API's second version")


def not_applicable(mesh: Mesh) -> Iterator[Problem]:
    """Whether a patch can be applied shows where it meets a proxy's configuration."""
    for failure in mesh.patched.failures:
        yield _at(mesh, failure.origin, failure.message)


def changes_nothing(mesh: Mesh) -> Iterator[Problem]:
    """A match with a typing error matches nothing."""
    for patch in mesh.patched.idle:
        what = f"{patch.operation.value} of a {patch.target.value}"
        yield _at(mesh, patch.origin, f"{what} changes nothing on any proxy that it is for")


def _at(mesh: Mesh, origin: Origin, message: str) -> Problem:
    manifest = next(
        one
        for one in mesh.manifests.of(EnvoyFilter)
        if (one.namespace, one.name) == (origin.namespace, origin.name)
    )
    return Problem(manifest, Position(origin.file, origin.line, origin.path), message)


def _configs(value: object) -> Iterator[Mapping[str, object]]:
    """Every mapping inside a value, itself included."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _configs(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _configs(inner)


RULES = (
    Rule(
        id="envoy-filter-without-priority",
        severity=Severity.WARNING,
        finds="INSERT_BEFORE, INSERT_AFTER or REPLACE in an EnvoyFilter without a priority (IST0151).",
        why="What it stands beside may be added by another EnvoyFilter, later: the patch then finds "
        "nothing, silently. In a new cluster the order is another one.",
        fix="priority: 10 (patches with a lower one come first), or INSERT_FIRST.",
        source=_ANALYSIS + "ist0151/",
        check=relative_without_priority,
    ),
    Rule(
        id="envoy-filter-operation-ignored",
        severity=Severity.ERROR,
        finds="An operation that does nothing to its target (IST0152, IST0153, IST0154).",
        why="Istio passes over it without a word.",
        fix="MERGE, or the target that the operation is for.",
        source=_ANALYSIS + "ist0152/",
        check=operation_ignored,
    ),
    Rule(
        id="rate-limit-as-unavailable",
        severity=Severity.ERROR,
        finds="A rate limit filter without rate_limited_as_resource_exhausted.",
        why="gRPC clients see UNAVAILABLE, which means `try again`: they repeat, and sidecars with them, "
        "the very call that was refused for being one too many.",
        fix="rate_limited_as_resource_exhausted: true.",
        source="https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/ratelimit/v3/rate_limit.proto",
        check=limits_as_unavailable,
    ),
    Rule(
        id="envoy-filter-cluster-unknown",
        severity=Severity.ERROR,
        finds="A filter that calls a cluster of a service, port or subset that is not there.",
        why="Envoy refuses the listener (gRPC services), or answers every request with an error.",
        fix="outbound|<port>|<subset>|<host> of a service.",
        source="https://istio.io/latest/docs/reference/config/networking/envoy-filter/",
        check=unknown_cluster,
    ),
    Rule(
        id="envoy-filter-untyped",
        severity=Severity.ERROR,
        finds="A filter's configuration without @type, or with a type of Envoy's second API.",
        why="Envoy refuses the whole listener, and goes on with the one it had.",
        fix='"@type": type.googleapis.com/envoy.extensions.….v3.…',
        source="https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unknown-fields",
        check=untyped,
    ),
    Rule(
        id="envoy-filter-not-applicable",
        severity=Severity.ERROR,
        finds="A patch that cannot be applied to some proxy that it is for, since it adds what is there "
        "already or merges one type into another. Only proxies that are declared are tried.",
        why="Istio drops the patch, or the whole object, without a word. The control plane here refuses all "
        "manifests together and keeps the last good ones.",
        fix="As the message says; or a workloadSelector and a match that leave that proxy out.",
        source="https://istio.io/latest/docs/reference/config/networking/envoy-filter/",
        check=not_applicable,
    ),
    Rule(
        id="envoy-filter-changes-nothing",
        severity=Severity.WARNING,
        finds="A patch that changes nothing on any proxy that it is for. Only proxies that are declared are "
        "tried.",
        why="Its match names what is not there: a typing error, or something that has another name by now. "
        "Nothing says so.",
        fix="The name as `causeway mesh config` prints it, or no patch.",
        source="https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/",
        check=changes_nothing,
    ),
)
