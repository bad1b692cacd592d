"""Questions as Envoys at the edge ask them (ext_authz, rate limits), from true ones to hopeless ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzz.messages import NASTY
from fuzz.methods import Method
from fuzz.wire import requests
from mesh.local.issuer import AUDIENCE, ISSUER
from services.common.envoy_api import module
from services.common.permissions import METHODS, PUBLIC_METHODS, ROLES

AUTHORIZATION = module("envoy.service.auth.v3.external_auth_pb2")
RATE_LIMITS = module("envoy.service.ratelimit.v3.rls_pb2")

CHECK = Method(AUTHORIZATION.DESCRIPTOR.services_by_name["Authorization"].methods_by_name["Check"])
SHOULD_RATE_LIMIT = Method(
    RATE_LIMITS.DESCRIPTOR.services_by_name["RateLimitService"].methods_by_name["ShouldRateLimit"]
)
NAMESPACE, PAYLOAD = "envoy.filters.http.jwt_authn", "payload"
DOMAIN = "causeway"

_TEXT = st.one_of(st.text(max_size=20), st.sampled_from(NASTY), st.sampled_from(["x" * 300, "🧀" * 300]))
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), _TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_TENANTS = st.sampled_from(["fuzz", "a", "a" * 63, "a" * 64, "FUZZ", "a{b}", "a:b", "*", "fuzz\n", ""])


def checks() -> SearchStrategy[bytes]:
    """Requests of ``envoy.service.auth.v3.Authorization.Check``."""
    return _with_damage(CHECK.request, _check())


def rate_limits() -> SearchStrategy[bytes]:
    """Requests of ``envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit``."""
    return _with_damage(SHOULD_RATE_LIMIT.request, _rate_limit())


def parsed(method: Method, data: bytes) -> Any:
    """The request in ``data``. Raises DecodeError when it is none."""
    request = CLASSES[method]()
    request.ParseFromString(data)
    return request


CLASSES: dict[Method, Callable[[], Any]] = {
    CHECK: AUTHORIZATION.CheckRequest,
    SHOULD_RATE_LIMIT: RATE_LIMITS.RateLimitRequest,
}


def claims_in(request: Any) -> dict[str, str]:
    """The claims that the proxy says it has verified, as far as they are texts."""
    payload = request.attributes.metadata_context.filter_metadata[NAMESPACE].fields[PAYLOAD].struct_value
    return {name: value.string_value for name, value in payload.fields.items()}


def _with_damage(descriptor: Descriptor, likely: SearchStrategy[Message]) -> SearchStrategy[bytes]:
    encoded = likely.map(lambda message: message.SerializeToString())
    cut = st.tuples(encoded, st.integers(0, 400)).map(lambda found: found[0][: found[1]])
    return _mostly(encoded, cut, requests(descriptor))


def _mostly(usual: SearchStrategy[Any], *others: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Three of four are usual; ``one_of`` would give each alternative inside the others the same weight."""
    return st.sampled_from([usual] * 3 * len(others) + [*others]).flatmap(lambda chosen: chosen)


def _check() -> SearchStrategy[Message]:
    known = st.sampled_from(sorted([*METHODS, *PUBLIC_METHODS]))
    path = _mostly(
        known,
        st.tuples(known, st.sampled_from(["?a=b", "?", "/", "#", "%00", "\n", ";x"])).map("".join),
        known.map(lambda method: "/" + method),
        known.map(str.upper),
        _TEXT,
    )
    names = st.sampled_from(
        ["x-causeway-tenant", "X-Causeway-Class", "x-causeway-", "x-request-id", "content-type", "cookie"]
    )
    headers = st.dictionaries(
        st.one_of(names, _TEXT), st.one_of(st.just("application/grpc"), _TEXT), max_size=4
    )
    return st.builds(_build_check, path, headers, st.booleans(), _mostly(_claims(), _VALUES))


def _claims() -> SearchStrategy[object]:
    """Mostly those of a token of ours, of anybody; some with one of them replaced."""
    good = st.fixed_dictionaries(
        {
            "iss": st.just(ISSUER),
            "aud": st.sampled_from([AUDIENCE, [AUDIENCE, "another"]]),
            "sub": st.one_of(st.sampled_from(["somebody", "José", "a\nb", "🧀"]), _TEXT),
            "tenant": st.one_of(st.just("fuzz"), _TENANTS),
            "roles": st.one_of(st.just(["admin"]), st.lists(st.sampled_from(sorted(ROLES)), max_size=2)),
        }
    )
    names = st.sampled_from(["iss", "aud", "sub", "tenant", "roles", "exp"])
    replaced = st.one_of(st.just({}), st.dictionaries(names, _VALUES, min_size=1, max_size=1))
    return st.builds(lambda claims, other: {**claims, **other}, good, replaced)


def _build_check(path: str, headers: dict[str, str], raw: bool, payload: object) -> Message:
    request = AUTHORIZATION.CheckRequest()
    http = request.attributes.request.http
    http.path = path
    for name, value in headers.items():
        if raw:
            http.header_map.headers.add(key=name, raw_value=value.encode())
        else:
            http.headers[name] = value
    if payload is not None:
        request.attributes.metadata_context.filter_metadata[NAMESPACE][PAYLOAD] = payload
    built: Message = request
    return built


def _rate_limit() -> SearchStrategy[Message]:
    keys = st.sampled_from(["tenant", "class", "subject", "remote_address", ""])
    entry = st.fixed_dictionaries(
        {"key": st.one_of(keys, keys, _TEXT), "value": st.one_of(_TENANTS, st.just("chat"), _TEXT)}
    )
    tenant = _TENANTS.map(lambda value: {"key": "tenant", "value": value})
    usual = st.one_of(
        tenant.map(lambda one: [one]),
        tenant.map(lambda one: [one, {"key": "class", "value": "chat"}]),
        st.just([{"key": "tenant", "value": "fuzz"}, {"key": "class", "value": "read"}]),
    )
    sizes = st.one_of(st.sampled_from([0, 1, 2, 10**7, 2**32 - 1]), st.integers(0, 2**32 - 1))
    override = st.fixed_dictionaries({"requests_per_unit": sizes, "unit": st.integers(0, 8)})
    hits = st.fixed_dictionaries({"value": st.one_of(sizes, st.sampled_from([2**63, 2**64 - 1]))})
    descriptor = st.fixed_dictionaries(
        {"entries": st.one_of(usual, st.lists(entry, max_size=3))},
        optional={"limit": override, "hits_addend": hits},
    )
    return st.builds(
        RATE_LIMITS.RateLimitRequest,
        domain=st.one_of(st.just(DOMAIN), st.just(DOMAIN), st.just(DOMAIN), _TEXT),
        descriptors=st.lists(descriptor, max_size=18),
        hits_addend=sizes,
    )
