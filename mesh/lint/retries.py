"""Rules about retries and timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mesh.lint.calls import call_edges, heaviest_chains
from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.paths import methods_of
from mesh.lint.view import Mesh, http_routes
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import Message, Position, position_of
from mesh.manifests.virtual_service import HTTPRetry, HTTPRoute, VirtualService

_RETRY = "https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRetry"
_ENVOY = "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"

_BEFORE_PROCESSING = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
"""Conditions under which no server can have begun the call."""
_LOST_ON_THE_WAY = frozenset({*_BEFORE_PROCESSING, "reset"})
"""Conditions that the hop itself sees. The others are what a server further on has said."""
_DEFAULT = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
"""What Istio retries on, twice, when nothing is said (pilot/pkg/networking/core/route/retry)."""

MOST_TRIES = 27
"""Tries of one call at the far end of a chain that are still tolerated: three hops with two retries each."""


def effective(mesh: Mesh, route: HTTPRoute) -> tuple[int, str, bool]:
    """Retries beyond the first try, on which conditions, and whether the route itself says so."""
    retry: HTTPRetry | None = route.retries or mesh.manifests.mesh_config.default_http_retry_policy
    if retry is None:
        return 2, _DEFAULT, False
    return retry.attempts or 0, retry.retry_on or _DEFAULT, route.retries is not None


def _words(conditions: str) -> list[str]:
    return [word for word in map(str.strip, conditions.split(",")) if word]


def _unsafe(conditions: str) -> list[str]:
    return [word for word in _words(conditions) if word not in _BEFORE_PROCESSING]


def repeats_what_must_not_be(mesh: Mesh) -> Iterator[Problem]:
    """Non-idempotent calls are retried only when nobody has begun them."""
    for manifest, index, route in http_routes(mesh):
        attempts, conditions, said = effective(mesh, route)
        unsafe = _unsafe(conditions)
        if not attempts or not unsafe or not route.route:
            continue
        risky = [method.path for method in methods_of(mesh, manifest, index) if not method.repeatable]
        risky += _writes(route)
        if risky:
            how = "is retried" if said else "is retried by default, for want of retries,"
            message = f"{_few(risky)} {how} on {', '.join(unsafe)}, though it may have been done already"
            at = position_of(route.retries, "retry_on") if said and route.retries else route.at
            yield Problem(manifest, at, message)


def _writes(route: HTTPRoute) -> list[str]:
    """HTTP methods that a route matches by name and that are not idempotent (RFC 9110, 9.2.2)."""
    named = [match.method.exact for match in route.match if match.method and match.method.exact]
    paths = [match.uri for match in route.match if match.uri]
    grpc = any("." in (path.exact or path.prefix or "") for path in paths)
    return [method for method in named if method in ("POST", "PATCH") and not grpc]


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def timeout_too_short(mesh: Mesh) -> Iterator[Problem]:
    """All tries must fit the timeout."""
    for manifest, _, route in http_routes(mesh):
        attempts, _, _ = effective(mesh, route)
        each = route.retries.per_try_timeout if route.retries else None
        if not attempts or not each or not route.timeout:
            continue
        if route.timeout < each * (attempts + 1):
            fitting = int(route.timeout / each)
            message = (
                f"{attempts + 1} tries of {_seconds(each)} do not fit {_seconds(route.timeout)}: "
                f"only {fitting} of them do"
            )
            yield Problem(manifest, position_of(route, "timeout"), message)


def no_time_for_retries(mesh: Mesh) -> Iterator[Problem]:
    """One hung try must not use up the whole timeout."""
    for manifest, _, route in http_routes(mesh):
        if route.retries is None or not route.retries.attempts or not route.timeout:
            continue
        if _unsafe(route.retries.retry_on or _DEFAULT) and not route.retries.per_try_timeout:
            message = f"a try that hangs uses up all of the {_seconds(route.timeout)}, and is never retried"
            yield Problem(manifest, position_of(route, "retries"), message)


def stream_cut(mesh: Mesh) -> Iterator[Problem]:
    """Streams take as long as they take."""
    for manifest, index, route in http_routes(mesh):
        streams = [method.path for method in methods_of(mesh, manifest, index) if method.streams]
        if not streams or not route.route:
            continue
        if route.timeout:
            at, what = position_of(route, "timeout"), f"timeout of {_seconds(route.timeout)}"
        elif route.retries and route.retries.attempts and route.retries.per_try_timeout:
            at = position_of(route.retries, "per_try_timeout")
            what = f"perTryTimeout of {_seconds(route.retries.per_try_timeout)}"
        else:
            continue
        yield Problem(manifest, at, f"{_few(streams)} streams, and is cut off by the {what}")


def remote_never_tried(mesh: Mesh) -> Iterator[Problem]:
    """retryRemoteLocalities needs two retries."""
    for manifest, _, route in http_routes(mesh):
        retries = route.retries
        if retries and retries.retry_remote_localities and retries.attempts == 1:
            message = (
                "the one retry still goes to the same locality: priorities change after every second try"
            )
            yield Problem(manifest, position_of(retries, "retry_remote_localities"), message)


def fault_switches_off(mesh: Mesh) -> Iterator[Problem]:
    """Faults are injected before retries see anything."""
    for manifest, _, route in http_routes(mesh):
        retried = route.retries is not None and bool(route.retries.attempts)
        if route.fault is not None and (retried or route.timeout):
            what = "retries" if retried else "timeout"
            message = f"the route's {what} will not act on the faults injected here"
            yield Problem(manifest, position_of(route, "fault"), message)


def multiply(mesh: Mesh) -> Iterator[Problem]:
    """Retries of a chain of calls multiply."""
    routes = _tries_by_host(mesh)
    edges = call_edges(mesh)
    for chain in heaviest_chains(edges, lambda host: routes[host][0] if host in routes else 1):
        steps = [routes[host] for host in chain if host in routes]
        product = 1
        for tries, _, _ in steps:
            product *= tries
        if product > MOST_TRIES and len(steps) > 1:
            _, manifest, at = steps[-1]
            words = " x ".join(str(tries) for tries, _, _ in steps)
            names = " → ".join(host.partition(".")[0] for host in chain)
            yield Problem(manifest, at, f"one call may become {product} ({words}) along {names}")


def _tries_by_host(mesh: Mesh) -> dict[str, tuple[int, Manifest[Message], Position]]:
    """The most tries that any route makes of a call that a server refuses, by the host it goes to."""
    found: dict[str, tuple[int, Manifest[Message], Position]] = {}
    for manifest, _, route in http_routes(mesh):
        attempts, conditions, said = effective(mesh, route)
        if not attempts or not set(_words(conditions)) - _LOST_ON_THE_WAY:
            continue
        at = position_of(route, "retries") if said else route.at
        for target in route.route:
            host = target.destination.host if target.destination else None
            for service in mesh.find(host, manifest.namespace) if host else ():
                if attempts + 1 > found.get(service.host, (0, manifest, at))[0]:
                    found[service.host] = (attempts + 1, _as_message(manifest), at)
    return found


def _as_message(manifest: Manifest[VirtualService]) -> Manifest[Message]:
    return manifest


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g} s"


RULES = (
    Rule(
        id="retry-repeats-call",
        severity=Severity.ERROR,
        finds="A call that is not idempotent, retried under conditions in which it may have been done "
        "already.",
        why="On unavailable, reset, 5xx and the like the server may have done all of it before the answer "
        "was lost. Where nothing is said, Istio retries twice on unavailable and cancelled.",
        fix="retryOn: connect-failure,refused-stream for these methods (a route of their own), or attempts: "
        "0.",
        source=_RETRY,
        check=repeats_what_must_not_be,
    ),
    Rule(
        id="timeout-shorter-than-retries",
        severity=Severity.WARNING,
        finds="A timeout that is shorter than perTryTimeout times the number of tries.",
        why="The timeout counts all tries together: the last ones never happen.",
        fix="timeout ≥ perTryTimeout x (attempts + 1), or fewer attempts.",
        source=_ENVOY + "#x-envoy-upstream-rq-per-try-timeout-ms",
        check=timeout_too_short,
    ),
    Rule(
        id="retry-without-per-try-timeout",
        severity=Severity.WARNING,
        finds="A timeout and retries, but no perTryTimeout.",
        why="The first try may take all of the timeout, so a host that hangs is never left by a retry.",
        fix="perTryTimeout: a part of the timeout that leaves room for the others.",
        source=_RETRY,
        check=no_time_for_retries,
    ),
    Rule(
        id="timeout-cuts-stream",
        severity=Severity.ERROR,
        finds="A timeout or a perTryTimeout on a route for streaming RPCs.",
        why="Both count until the end of the response: a stream is cut off in its middle, however well it "
        "goes.",
        fix="No timeout and no perTryTimeout for these methods; the caller's deadline still holds.",
        source="https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts#stream-timeouts",
        check=stream_cut,
    ),
    Rule(
        id="retry-stays-in-locality",
        severity=Severity.WARNING,
        finds="retryRemoteLocalities with a single retry.",
        why="Istio lets Envoy look at another priority after every second try (update_frequency: 2), so the "
        "one retry goes to the locality that just failed.",
        fix="attempts: 2 or more.",
        source="https://github.com/istio/istio/blob/master/pilot/pkg/networking/core/route/retry/retry.go",
        check=remote_never_tried,
    ),
    Rule(
        id="fault-switches-off-retries",
        severity=Severity.WARNING,
        finds="A fault on a route that has retries or a timeout.",
        why="The caller's proxy injects the fault before the router, so neither is ever seen to act: the "
        "test proves nothing. https://github.com/istio/istio/issues/13705",
        fix="Inject faults at the server (an EnvoyFilter for SIDECAR_INBOUND), or take out the retries "
        "meanwhile.",
        source="https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection",
        check=fault_switches_off,
    ),
    Rule(
        id="retries-multiply",
        severity=Severity.WARNING,
        finds="A chain of calls, as AuthorizationPolicies allow them, at whose end one call may become more "
        f"than {MOST_TRIES}.",
        why="Each hop retries what the next one has given up on. A service that is overloaded gets a "
        "multiple of its load just then.",
        fix="Retry near the failure, and less at the outer hops.",
        source="https://sre.google/sre-book/addressing-cascading-failures/",
        check=multiply,
    ),
)
