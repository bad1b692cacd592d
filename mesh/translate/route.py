"""RouteConfiguration: which request goes where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from google.protobuf import any_pb2, json_format

from mesh.ir.cluster import HashOn
from mesh.ir.route import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HeaderChanges,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    Route,
    RouteTable,
    VirtualHost,
)
from mesh.ir.values import MatchKind
from mesh.translate.names import CORS, FAULT, split
from mesh.translate.packing import (
    ZERO,
    Proto,
    boolean,
    duration,
    empty,
    fraction,
    maybe_duration,
    number,
    pack,
    regex,
    runtime_fraction,
    string_match,
)
from mesh.translate.route_match import route_match
from mesh.xds.protos import (
    base_pb2,
    common_fault_pb2,
    cors_pb2,
    fault_pb2,
    previous_hosts_pb2,
    previous_priorities_config_pb2,
    regex_pb2,
    route_components_pb2,
    route_pb2,
)

LARGEST_DIRECT_RESPONSE = 1024 * 1024
"""Bytes; Envoy's own limit of 4 KiB would refuse what Istio accepts."""

HOST_ATTEMPTS = 5
"""How often a retry looks for a host that has not failed this request yet, as in Istio."""

PRIORITY_UPDATE = 1
"""Failed tries after which the next goes to another priority. Istio's 2 would try a lost region twice."""

_CODES = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


class Headers(NamedTuple):
    """What a HeaderChanges becomes."""

    add: list[Proto]
    remove: list[str]
    authority: str


def translate_table(table: RouteTable) -> Proto:
    """The routes of one listener, or of the inbound side of one port."""
    return route_pb2.RouteConfiguration(
        name=table.name,
        virtual_hosts=[_virtual_host(host) for host in table.hosts],
        # A route may come before its cluster; requests then get 503, not the whole table a refusal.
        validate_clusters=boolean(False),
        max_direct_response_body_size_bytes=number(LARGEST_DIRECT_RESPONSE),
        # Domains are names alone, while browsers name every port but 443 and gRPC clients name theirs.
        ignore_port_in_host_matching=True,
    )


def _virtual_host(host: VirtualHost) -> Proto:
    requirement = route_components_pb2.VirtualHost
    return route_components_pb2.VirtualHost(
        name=host.name,
        domains=host.domains,
        routes=[translate_route(route) for route in host.routes],
        require_tls=requirement.ALL if host.require_tls else requirement.NONE,
        include_request_attempt_count=True,
    )


def translate_route(route: Route) -> Proto:
    """One rule."""
    request, response = headers(route.request_headers), headers(route.response_headers)
    made = route_components_pb2.Route(
        name=route.name,
        match=route_match(route.match),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
        typed_per_filter_config=_per_filter(route),
    )
    action = route.action
    if isinstance(action, Forward):
        _forward(made, action, request.authority)
    elif isinstance(action, Redirect):
        made.redirect.CopyFrom(_redirect(action))
    else:
        made.direct_response.CopyFrom(_direct(action))
    operation = _operation(route)
    if operation:
        made.decorator.operation = operation
    return made


def _operation(route: Route) -> str:
    """What spans are called: the destination and the path that was matched."""
    destination = _alone(route.action) if isinstance(route.action, Forward) else None
    if destination is None:
        return route.name
    _, _, host, port = split(destination.cluster)
    if not host:
        return route.name
    path = route.match.path
    if path is None or path.kind is MatchKind.PRESENT:
        return f"{host}:{port}/*"
    return f"{host}:{port}{path.text}" + ("*" if path.kind is MatchKind.PREFIX else "")


def _forward(made: Proto, forward: Forward, authority: str) -> None:
    action = made.route
    # A gRPC caller's deadline stays the caller's: where Envoy ends a call for it (Istio's
    # `max_grpc_timeout`), callers are told UNAVAILABLE instead of DEADLINE_EXCEEDED, and try again what they
    # should give up.
    action.timeout.CopyFrom(duration(forward.timeout if forward.timeout is not None else ZERO))
    if forward.rewrite is not None:
        _rewrite(action, forward.rewrite)
        authority = forward.rewrite.authority or authority
    destination = _alone(forward)
    if destination is not None:
        authority = _single(made, destination, authority)
    else:
        action.weighted_clusters.CopyFrom(_weighted(forward.destinations))
    if authority:
        action.host_rewrite_literal = authority
    if forward.retries is not None and forward.retries.attempts > 0:
        action.retry_policy.CopyFrom(retry_policy(forward.retries))
    action.request_mirror_policies.extend(_mirror(mirror) for mirror in forward.mirrors if mirror.percent > 0)
    action.hash_policy.extend(_hash(item) for item in forward.hash_on)
    action.rate_limits.extend(_rate_limit(item) for item in forward.rate_limits)


def _alone(forward: Forward) -> Destination | None:
    """The destination of a route that names no other. One that is left because the others have weight 0 is
    not alone: it is a share of 100 %, whose header changes Envoy makes before the route's."""
    first = forward.destinations[0]
    return first if first.weight is None else None


def _single(made: Proto, destination: Destination, authority: str) -> str:
    """A destination that is alone changes headers after the route does: what both set is the destination's,
    what both add is there twice."""
    made.route.cluster = destination.cluster
    request, response = headers(destination.request_headers), headers(destination.response_headers)
    made.request_headers_to_add.extend(request.add)
    made.request_headers_to_remove.extend(request.remove)
    made.response_headers_to_add.extend(response.add)
    made.response_headers_to_remove.extend(response.remove)
    return authority or request.authority


def _weighted(destinations: Iterable[Destination]) -> Proto:
    return route_components_pb2.WeightedCluster(
        clusters=[_share(one, one.weight) for one in destinations if one.weight]
    )


def _share(destination: Destination, weight: int) -> Proto:
    request, response = headers(destination.request_headers), headers(destination.response_headers)
    made = route_components_pb2.WeightedCluster.ClusterWeight(
        name=destination.cluster,
        weight=number(weight),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
    )
    if request.authority:
        made.host_rewrite_literal = request.authority
    return made


def retry_policy(retries: Retries) -> Proto:
    """When a request is tried again, and that it then goes elsewhere."""
    conditions = list(retries.conditions)
    if retries.statuses and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    made = route_components_pb2.RetryPolicy(
        retry_on=",".join(conditions),
        num_retries=number(retries.attempts),
        per_try_timeout=maybe_duration(retries.per_try_timeout),
        retriable_status_codes=retries.statuses,
        host_selection_retry_max_attempts=HOST_ATTEMPTS,
    )
    if retries.ignore_previous_hosts:
        made.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=empty(previous_hosts_pb2.PreviousHostsPredicate),
        )
    if retries.remote_localities:
        made.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        made.retry_priority.typed_config.CopyFrom(
            pack(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=PRIORITY_UPDATE))
        )
    if retries.backoff is not None:
        made.retry_back_off.base_interval.CopyFrom(duration(retries.backoff))
    return made


def _rewrite(action: Proto, rewrite: Rewrite) -> None:
    if rewrite.regex is not None:
        action.regex_rewrite.CopyFrom(
            regex_pb2.RegexMatchAndSubstitute(pattern=regex(rewrite.regex), substitution=rewrite.substitution)
        )
    elif rewrite.path:
        action.prefix_rewrite = rewrite.path


def _mirror(mirror: Mirror) -> Proto:
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.cluster,
        runtime_fraction=runtime_fraction(mirror.percent),
        # The copy keeps its authority: a service behind it knows no `-shadow` of its name.
        disable_shadow_host_suffix_append=True,
    )


def _hash(item: HashOn) -> Proto:
    policy = route_components_pb2.RouteAction.HashPolicy
    if item.header:
        return policy(header=policy.Header(header_name=item.header))
    if item.query_parameter:
        return policy(query_parameter=policy.QueryParameter(name=item.query_parameter))
    if item.cookie:
        return policy(
            cookie=policy.Cookie(name=item.cookie, path=item.cookie_path, ttl=maybe_duration(item.cookie_ttl))
        )
    return policy(connection_properties=policy.ConnectionProperties(source_ip=item.source_ip))


def _rate_limit(item: Mapping[str, object]) -> Proto:
    return json_format.ParseDict(dict(item), route_components_pb2.RateLimit())


def _redirect(redirect: Redirect) -> Proto:
    made = route_components_pb2.RedirectAction(
        host_redirect=redirect.authority or "",
        port_redirect=redirect.port or 0,
        response_code=_CODES[redirect.code],
    )
    if redirect.scheme:
        made.scheme_redirect = redirect.scheme
    if redirect.prefix is not None:
        made.prefix_rewrite = redirect.prefix
    elif redirect.path is not None:
        made.path_redirect = redirect.path
    return made


def _direct(response: DirectResponse) -> Proto:
    made = route_components_pb2.DirectResponseAction(status=response.status)
    if response.body:
        made.body.inline_bytes = response.body
    return made


def headers(changes: HeaderChanges) -> Headers:
    """Headers to add or set, in the order of their names; the authority is told apart, since Envoy rewrites
    it by other means and refuses to have it added."""
    option = base_pb2.HeaderValueOption
    add: list[Proto] = []
    authority = ""
    for values, how in (
        (changes.set, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.add, option.APPEND_IF_EXISTS_OR_ADD),
    ):
        for key in sorted(values):
            if key.lower() in (":authority", "host"):
                authority = authority or values[key]
            if not _internal(key):
                add.append(option(header=base_pb2.HeaderValue(key=key, value=values[key]), append_action=how))
    return Headers(add, [key for key in changes.remove if not _internal(key)], authority)


def _internal(key: str) -> bool:
    return key.startswith(":") or key.lower() == "host"


def _per_filter(route: Route) -> dict[str, any_pb2.Any]:
    configs: dict[str, any_pb2.Any] = {}
    if route.fault is not None:
        configs[FAULT] = pack(fault(route.fault))
    if route.cors is not None:
        configs[CORS] = pack(_cors(route.cors))
    return configs


def fault(trouble: Fault) -> Proto:
    """An HTTPFault."""
    made = fault_pb2.HTTPFault()
    if trouble.delay is not None:
        made.delay.CopyFrom(
            common_fault_pb2.FaultDelay(
                fixed_delay=duration(trouble.delay), percentage=fraction(trouble.delay_percent)
            )
        )
    if trouble.abort_grpc is not None:
        made.abort.grpc_status = trouble.abort_grpc
    elif trouble.abort_http is not None:
        made.abort.http_status = trouble.abort_http
    else:
        return made
    made.abort.percentage.CopyFrom(fraction(trouble.abort_percent))
    return made


def _cors(cors: Cors) -> Proto:
    forward = cors.forward_unmatched_preflights
    made = cors_pb2.CorsPolicy(
        allow_origin_string_match=[string_match(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
        max_age="" if cors.max_age is None else str(cors.max_age // timedelta(seconds=1)),
        filter_enabled=runtime_fraction(100),
        forward_not_matching_preflights=boolean(True if forward is None else forward),
    )
    if cors.credentials is not None:
        made.allow_credentials.CopyFrom(boolean(cors.credentials))
    return made
