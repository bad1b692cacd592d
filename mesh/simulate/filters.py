"""What each HTTP filter does to a request, in the order in which a connection manager has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf import any_pb2

from mesh.simulate import matchers, rbac, tokens
from mesh.simulate.messages import FILTER_CONFIG, Proto, seconds, type_name, unpack, which
from mesh.simulate.request import Facts
from mesh.simulate.walk import Result

_HTTP = "envoy.extensions.filters.http."
ROUTER = _HTTP + "router.v3.Router"

AUTHORIZE = "/envoy.service.auth.v3.Authorization/Check"
LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The filter answers by itself."""

    status: int
    says: str
    grpc: int | None = None
    result: Result = Result.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a filter did."""

    facts: Facts
    says: str
    stop: Stop | None = None
    sure: bool = True
    part: str = ""
    """Name of what inside the filter decided: an RBAC policy, an issuer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a simulation is told of what it cannot know."""

    random: float | None = None
    """From 0 up to 1; None: the likelier of two ways is taken."""
    authorizer: bool | None = None
    """What ext_authz answers; None: not known, and yes is assumed."""
    limited: bool | None = None
    """Whether the rate limiter refuses; None: not known, and no is assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a filter works in."""

    assumptions: Assumptions
    cluster: str
    """That the route leads to; empty when there is none."""
    call: Callable[[str, str], str]
    """Calls a path of a service through a cluster; says why that fails, or nothing."""
    rate_limits: bool = False
    """The route has rate limits."""
    cors: Proto | None = None
    """A policy the route has by itself."""


Handler = Callable[[Proto, "Proto | None", Facts, Scene], Outcome]


def per_route(name: str, layers: Sequence[Mapping[str, any_pb2.Any]]) -> tuple[Proto | None, bool | None]:
    """What the most specific of the layers (weighted cluster, route, host, table) says of a filter.

    The configuration, and whether the filter is disabled there; None when nothing says so.
    """
    for layer in layers:
        if name not in layer:
            continue
        config = unpack(layer[name])
        disabled: bool | None = None
        if type_name(layer[name]) == FILTER_CONFIG and config is not None:
            disabled = bool(config.disabled)
            config = unpack(config.config) if config.HasField("config") else None
        return config, disabled
    return None, None


def apply(kind: str, config: Proto | None, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    """Run the filter of that type."""
    handler = _HANDLERS.get(kind)
    if handler is not None and config is not None:
        return handler(config, override, facts, scene)
    if kind in _PASSIVE:
        return Outcome(facts=facts, says=_PASSIVE[kind])
    return Outcome(facts=facts, says=f"not simulated ({kind or 'no configuration'})", sure=False)


def _cors(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    policy, request = override if override is not None else scene.cors, facts.request
    if request is None or policy is None:
        return Outcome(facts=facts, says="no policy for this route")
    origin = request.headers.get("origin")
    if origin is None:
        return Outcome(facts=facts, says="not a request of another origin")
    allowed = any(matchers.string(item, origin) for item in policy.allow_origin_string_match)
    preflight = request.method == "OPTIONS" and "access-control-request-method" in request.headers
    word = "allowed" if allowed else "not allowed"
    if not preflight or not (allowed or not _forwards(policy)):
        return Outcome(facts=facts, says=f"origin {origin} is {word}")
    stop = Stop(status=200, says=f"preflight answered: origin {origin} is {word}", result=Result.ANSWERED)
    return Outcome(facts=facts, says=stop.says, stop=stop)


def _forwards(policy: Proto) -> bool:
    field = "forward_not_matching_preflights"
    return not policy.HasField(field) or bool(policy.forward_not_matching_preflights.value)


def _tokens(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    requirement = ""
    if override is not None:
        if which(override, "requirement_specifier") == "disabled":
            return Outcome(facts=facts, says="switched off for this route")
        requirement = override.requirement_name
    if facts.request is not None and facts.request.open:
        # Who asks with which token is not known: conditions on claims stay open.
        unknown = facts.unknown_metadata | {tokens.METADATA}
        return Outcome(
            facts=replace(facts, unknown_metadata=unknown), says="the token is not known", sure=False
        )
    found = tokens.check(config, facts, requirement)
    if not found.passes:
        return Outcome(facts=facts, says=found.says, stop=Stop(status=found.status, says=found.says))
    part = config.providers[found.provider].issuer if found.provider else ""
    return Outcome(facts=tokens.accepted(config, found, facts), says=found.says, part=part)


def _rbac(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    if override is not None:
        if not override.HasField("rbac"):
            return Outcome(facts=facts, says="switched off for this route")
        config = override.rbac
    notes = []
    if config.HasField("shadow_rules"):
        shadow = rbac.judge(config.shadow_rules, facts)
        notes.append(f"shadow: {shadow.says}")
        prefix = config.shadow_rules_stat_prefix
        written = {f"{prefix}shadow_engine_result": "denied" if shadow.allowed is False else "allowed"}
        if shadow.policy:
            written[f"{prefix}shadow_effective_policy_id"] = shadow.policy
        facts = facts.with_metadata("envoy.filters.http.rbac", written)
    if not config.HasField("rules"):
        return Outcome(facts=facts, says="; ".join(notes) or "no rules")
    verdict = rbac.judge(config.rules, facts)
    says = "; ".join([*notes, verdict.says])
    stop = Stop(status=403, says=verdict.says) if verdict.allowed is False else None
    part = verdict.policy or (verdict.near[0] if verdict.near else "")
    return Outcome(facts=facts, says=says, stop=stop, sure=verdict.allowed is not None, part=part)


def _fault(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    config = override if override is not None else config
    if config.upstream_cluster and config.upstream_cluster != scene.cluster:
        return Outcome(facts=facts, says="none for this cluster")
    if matchers.headers(config.headers, facts) is not True:
        return Outcome(facts=facts, says="none for these headers")
    notes = []
    if config.HasField("delay") and (chance := matchers.share(config.delay.percentage)):
        notes.append(f"{chance:.4%} wait {seconds(config.delay.fixed_delay):g} s")
    stop = None
    if config.HasField("abort") and (chance := matchers.share(config.abort.percentage)):
        kind = which(config.abort, "error_type")
        grpc = config.abort.grpc_status if kind == "grpc_status" else None
        status = config.abort.http_status if kind == "http_status" else 200
        what = f"gRPC status {grpc}" if grpc is not None else f"status {status}"
        notes.append(f"{chance:.4%} are ended with {what}")
        if matchers.falls(chance, scene.assumptions.random):
            stop = Stop(status=status, grpc=grpc, says=f"a fault on purpose: {what}")
    return Outcome(facts=facts, says="; ".join(notes) or "none", stop=stop)


def _ext_authz(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    if override is not None and which(override, "override") == "disabled":
        return Outcome(facts=facts, says="switched off for this route")
    if config.HasField("filter_enabled_metadata"):
        applies = matchers.metadata(config.filter_enabled_metadata, facts)
        if applies is False:
            return Outcome(facts=facts, says="does not apply: no CUSTOM policy matches")
    kind = which(config, "services")
    if kind == "grpc_service":
        service, path = config.grpc_service.envoy_grpc.cluster_name, AUTHORIZE
    else:
        service, path = config.http_service.server_uri.cluster, "/"
    problem = scene.call(service, path)
    if problem:
        if config.failure_mode_allow:
            return Outcome(facts=facts, says=f"{service} cannot be asked ({problem}), which lets it pass")
        status = config.status_on_error.code if config.HasField("status_on_error") else 403
        stop = Stop(status=status, says=f"the authorizer cannot be asked: {problem}")
        return Outcome(facts=facts, says=stop.says, stop=stop)
    answer = scene.assumptions.authorizer
    if answer is False:
        stop = Stop(status=403, says=f"{service} says no, as was assumed")
        return Outcome(facts=facts, says=stop.says, stop=stop)
    says = f"asks {service}; what it answers is not known here, yes is assumed"
    return Outcome(facts=facts, says=says if answer is None else f"asks {service}; yes", sure=answer is True)


def _ratelimit(config: Proto, override: Proto | None, facts: Facts, scene: Scene) -> Outcome:
    if not scene.rate_limits and not (override is not None and override.rate_limits):
        return Outcome(facts=facts, says="the route has no rate limits: the limiter is not asked")
    service = config.rate_limit_service.grpc_service.envoy_grpc.cluster_name
    problem = scene.call(service, LIMIT)
    if problem:
        if not config.failure_mode_deny:
            return Outcome(facts=facts, says=f"{service} cannot be asked ({problem}), which lets it pass")
        stop = Stop(status=500, says=f"the rate limiter cannot be asked: {problem}")
        return Outcome(facts=facts, says=stop.says, stop=stop)
    if scene.assumptions.limited:
        grpc = 8 if config.rate_limited_as_resource_exhausted else None
        stop = Stop(status=429, grpc=grpc, says=f"{service} says it is too much, as was assumed")
        return Outcome(facts=facts, says=stop.says, stop=stop)
    sure = scene.assumptions.limited is False
    says = f"asks {service} about domain {config.domain}"
    return Outcome(
        facts=facts, says=says if sure else f"{says}; what it answers is not known here", sure=sure
    )


_HANDLERS: dict[str, Handler] = {
    _HTTP + "cors.v3.Cors": _cors,
    _HTTP + "jwt_authn.v3.JwtAuthentication": _tokens,
    _HTTP + "rbac.v3.RBAC": _rbac,
    _HTTP + "fault.v3.HTTPFault": _fault,
    _HTTP + "ext_authz.v3.ExtAuthz": _ext_authz,
    _HTTP + "ratelimit.v3.RateLimit": _ratelimit,
}

_PASSIVE = {
    _HTTP + "grpc_stats.v3.FilterConfig": "counts",
    _HTTP + "grpc_web.v3.GrpcWeb": "turns gRPC-Web into gRPC",
    _HTTP
    + "grpc_json_transcoder.v3.GrpcJsonTranscoder": "turns REST into gRPC; a gRPC call passes unchanged",
    _HTTP
    + "local_ratelimit.v3.LocalRateLimit": "counts against a local limit, which is taken not to be reached",
}
