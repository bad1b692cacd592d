"""Rules about where requests go."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.paths import conditional, methods_of
from mesh.lint.view import Mesh, http_routes
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.gateway import Gateway
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import position_of
from mesh.manifests.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService
from mesh.resolve.names import MESH_GATEWAY, full_gateway, full_host, overlaps
from mesh.resolve.visibility import visibility

_VIRTUAL_SERVICE = "https://istio.io/latest/docs/reference/config/networking/virtual-service/"
_ANALYSIS = "https://istio.io/latest/docs/reference/config/analysis/"
_COMMON = "https://istio.io/latest/docs/ops/common-problems/network-issues/"


def gateways_of(manifest: Manifest[VirtualService]) -> tuple[str, ...]:
    """`mesh`, or `namespace/name` of each gateway."""
    named = manifest.spec.gateways or (MESH_GATEWAY,)
    return tuple(full_gateway(gateway, manifest.namespace) for gateway in named)


def same_host_twice(mesh: Mesh) -> Iterator[Problem]:
    """Sidecars take one VirtualService for a host."""
    seen: list[Manifest[VirtualService]] = []
    for manifest in mesh.manifests.of(VirtualService):
        if MESH_GATEWAY not in gateways_of(manifest):
            continue
        mine = visibility(manifest.spec.export_to, manifest.namespace)
        for index, host in enumerate(manifest.spec.hosts):
            wanted = full_host(host, manifest.namespace)
            for other in seen:
                theirs = visibility(other.spec.export_to, other.namespace)
                hosts = {full_host(name, other.namespace) for name in other.spec.hosts}
                meet = mine.everywhere or theirs.everywhere or bool(mine.namespaces & theirs.namespaces)
                if wanted in hosts and meet:
                    message = (
                        f"{wanted} has routes in {other} ({other.at}) already; only the older ones count"
                    )
                    yield Problem(manifest, position_of(manifest.spec, "hosts", index), message)
        seen.append(manifest)


def unreachable(mesh: Mesh) -> Iterator[Problem]:
    """A route that takes everything shadows those behind it."""
    for manifest in mesh.manifests.of(VirtualService):
        before: list[tuple[int, HTTPRoute]] = []
        for index, route in enumerate(manifest.spec.http):
            for number, earlier in before:
                if _covered(earlier, route):
                    name = earlier.name or f"http[{number}]"
                    message = f"never taken: {name} before it takes all of its requests"
                    yield Problem(manifest, position_of(manifest.spec, "http", index), message)
                    break
            before.append((index, route))


def _covered(earlier: HTTPRoute, later: HTTPRoute) -> bool:
    if not earlier.match:
        return True
    if not later.match:
        return False
    return all(any(_wider(wide, narrow) for wide in earlier.match) for narrow in later.match)


def _wider(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Whether all that `narrow` matches is matched by `wide`, as far as that is plain to see."""
    if conditional(wide) and _conditions(wide) != _conditions(narrow):
        return False
    if wide.uri is None:
        return True
    if narrow.uri is None or bool(wide.ignore_uri_case) != bool(narrow.ignore_uri_case):
        return False
    if wide.uri.prefix is not None:
        inner = narrow.uri.exact if narrow.uri.exact is not None else narrow.uri.prefix
        return inner is not None and inner.startswith(wide.uri.prefix)
    return wide.uri == narrow.uri


def _conditions(match: HTTPMatchRequest) -> tuple[object, ...]:
    return (
        match.scheme,
        match.method,
        match.authority,
        dict(match.headers),
        dict(match.without_headers),
        match.port,
        dict(match.source_labels),
        match.source_namespace,
        match.gateways,
        dict(match.query_params),
    )


def shares_do_not_add_up(mesh: Mesh) -> Iterator[Problem]:
    """Weights read as percentages."""
    for manifest, _, route in http_routes(mesh):
        weights = [target.weight or 0 for target in route.route]
        if len(weights) < 2:
            continue
        if not any(weights):
            yield Problem(manifest, position_of(route, "route"), "no destination has a weight above 0")
        elif sum(weights) != 100:
            message = f"the weights add up to {sum(weights)}, not 100: they are shares, not percentages"
            yield Problem(manifest, position_of(route, "route"), message)


def mirrored_writes(mesh: Mesh) -> Iterator[Problem]:
    """A mirrored call is carried out twice."""
    for manifest, index, route in http_routes(mesh):
        if route.mirror is None and not route.mirrors:
            continue
        writing = [method.path for method in methods_of(mesh, manifest, index) if not method.repeatable]
        if writing:
            at = position_of(route, "mirror" if route.mirror else "mirrors")
            yield Problem(
                manifest, at, f"{writing[0]} is not idempotent, and is carried out by the mirror too"
            )


def unknown_gateway(mesh: Mesh) -> Iterator[Problem]:
    """A VirtualService's gateways exist."""
    known = {f"{gateway.namespace}/{gateway.name}" for gateway in mesh.manifests.of(Gateway)}
    for manifest in mesh.manifests.of(VirtualService):
        for index, name in enumerate(manifest.spec.gateways):
            full = full_gateway(name, manifest.namespace)
            if full != MESH_GATEWAY and full not in known:
                yield Problem(
                    manifest, position_of(manifest.spec, "gateways", index), f"there is no Gateway {full}"
                )


def host_not_at_gateway(mesh: Mesh) -> Iterator[Problem]:
    """A Gateway lets in the hosts of its VirtualServices."""
    gateways = {f"{gateway.namespace}/{gateway.name}": gateway for gateway in mesh.manifests.of(Gateway)}
    for manifest in mesh.manifests.of(VirtualService):
        bound = [name for name in gateways_of(manifest) if name in gateways]
        for name in bound:
            served = [
                host
                for server in gateways[name].spec.servers
                for host in map(_without_namespace, server.hosts)
            ]
            for index, host in enumerate(manifest.spec.hosts):
                wanted = full_host(host, manifest.namespace)
                others = MESH_GATEWAY in gateways_of(manifest) or len(bound) > 1
                if not others and not any(overlaps(wanted, pattern) for pattern in served):
                    message = f"{host} is not among the hosts of Gateway {name}: {', '.join(served)}"
                    yield Problem(manifest, position_of(manifest.spec, "hosts", index), message)


def _without_namespace(host: str) -> str:
    return host.rpartition("/")[2]


def two_destination_rules(mesh: Mesh) -> Iterator[Problem]:
    """One DestinationRule says how a host is called."""
    first: dict[tuple[str, str, bool], Manifest[DestinationRule]] = {}
    for rule in mesh.manifests.of(DestinationRule):
        host = full_host(rule.spec.host or "", rule.namespace)
        key = (rule.namespace, host, rule.spec.workload_selector is not None)
        known = first.setdefault(key, rule)
        if known is not rule and rule.spec.workload_selector is None:
            message = f"{known} ({known.at}) is about {host} too; of two, only the subsets are put together"
            yield Problem(rule, position_of(rule.spec, "host"), message)


def port_settings_drop(mesh: Mesh) -> Iterator[Problem]:
    """A port's settings inherit nothing."""
    names = ("load_balancer", "outlier_detection", "connection_pool", "tls")
    for rule in mesh.manifests.of(DestinationRule):
        policies = [rule.spec.traffic_policy, *(subset.traffic_policy for subset in rule.spec.subsets)]
        for policy in policies:
            for index, setting in enumerate(policy.port_level_settings if policy else ()):
                lost = [name for name in names if getattr(policy, name) and not getattr(setting, name)]
                if lost and policy is not None:
                    words = ", ".join(position_of(policy, name).path.rpartition(".")[2] for name in lost)
                    number = setting.port.number if setting.port else "?"
                    message = f"port {number} gets Istio's defaults for {words}, not what stands above"
                    yield Problem(rule, position_of(policy, "port_level_settings", index), message)


RULES = (
    Rule(
        id="virtual-services-shadow",
        severity=Severity.ERROR,
        finds="Two VirtualServices for sidecars with the same host (IST0109).",
        why="Sidecars do not merge them: the older one's routes are taken, and the other's never are.",
        fix="Write all routes of a host into one VirtualService.",
        source=_ANALYSIS + "ist0109/",
        check=same_host_twice,
    ),
    Rule(
        id="route-unreachable",
        severity=Severity.ERROR,
        finds="A route behind one that takes all of its requests (IST0130, IST0131).",
        why="Routes are tried in their order, and the first that matches is taken.",
        fix="Put the narrower route first.",
        source=_ANALYSIS + "ist0130/",
        check=unreachable,
    ),
    Rule(
        id="weights-not-percentages",
        severity=Severity.WARNING,
        finds="Several destinations whose weights do not add up to 100.",
        why="Weights are shares of their sum. 90 and 20 are 82 % and 18 %, not what the canary's owner "
        "wrote down.",
        fix="Weights that add up to 100.",
        source=_VIRTUAL_SERVICE + "#HTTPRouteDestination",
        check=shares_do_not_add_up,
    ),
    Rule(
        id="mirror-repeats-call",
        severity=Severity.WARNING,
        finds="A mirror on a route that takes calls which are not idempotent.",
        why="The mirror's answer is thrown away, what it did is not: it writes to the same stores.",
        fix="Mirror reads only, by a route of their own.",
        source=_VIRTUAL_SERVICE + "#HTTPMirrorPolicy",
        check=mirrored_writes,
    ),
    Rule(
        id="gateway-unknown",
        severity=Severity.ERROR,
        finds="A VirtualService for a Gateway that is not there (IST0101).",
        why="Its routes are nowhere, and callers get 404. A name without a namespace means the "
        "VirtualService's own.",
        fix="namespace/name of the Gateway.",
        source=_ANALYSIS + "ist0101/",
        check=unknown_gateway,
    ),
    Rule(
        id="host-not-at-gateway",
        severity=Severity.ERROR,
        finds="A host of a VirtualService that its Gateway does not serve (IST0132).",
        why="The Gateway has no listener for it: callers get 404, or a failing TLS handshake.",
        fix="Add the host to the Gateway's server, or correct it here.",
        source=_ANALYSIS + "ist0132/",
        check=host_not_at_gateway,
    ),
    Rule(
        id="destination-rules-shadow",
        severity=Severity.ERROR,
        finds="Two DestinationRules of one namespace for the same host.",
        why="Their subsets are put together, but the trafficPolicy is the older one's alone: an "
        "outlierDetection in the other does nothing. https://github.com/istio/istio/issues/51545",
        fix="Write them into one.",
        source=_COMMON,
        check=two_destination_rules,
    ),
    Rule(
        id="port-settings-drop-policy",
        severity=Severity.WARNING,
        finds="portLevelSettings that leave out what the level above sets.",
        why="A port's settings replace those above as a whole: what they leave out is Istio's default, "
        "without outlierDetection, without failover.",
        fix="Repeat in portLevelSettings what is to hold there.",
        source="https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy",
        check=port_settings_drop,
    ),
)
