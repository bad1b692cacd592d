"""JWT authentication: a bad token is refused, none is let through."""

from __future__ import annotations

from typing import Any

import pytest
from golden.views import origin

from mesh.ir.security import JwtIssuer
from mesh.translate.jwt import jwt_filter

GOOD, BAD, MISSING = "good", "bad", "missing"


def issuer(name: str = "https://issuer", **said: Any) -> JwtIssuer:
    """An issuer with keys."""
    return JwtIssuer(**{"issuer": name, "jwks": '{"keys":[]}', "origin": origin(), **said})


def passes(requirement: Any, tokens: dict[str, str]) -> bool:
    """Whether a request passes, given what each provider would say of it."""
    kind = requirement.WhichOneof("requires_type")
    if kind == "provider_name":
        return tokens[requirement.provider_name] == GOOD
    if kind == "allow_missing":
        # Envoy means: no provider of this list has found a token.
        return all(found == MISSING for found in tokens.values())
    if kind == "requires_any":
        return _any(requirement.requires_any.requirements, tokens)
    return all(passes(item, tokens) for item in requirement.requires_all.requirements)


def _any(requirements: Any, tokens: dict[str, str]) -> bool:
    """`allow_missing` looks at the providers beside it only."""
    names = [
        item.provider_name for item in requirements if item.WhichOneof("requires_type") == "provider_name"
    ]
    return any(
        passes(item, {name: tokens[name] for name in names} if names else tokens) for item in requirements
    )


@pytest.mark.parametrize("token, expected", [(GOOD, True), (MISSING, True), (BAD, False)])
def test_one_issuer(token: str, expected: bool) -> None:
    made = jwt_filter([issuer()], reroute=False)
    assert passes(made.rules[0].requires, {"origins-0": token}) is expected


@pytest.mark.parametrize(
    "first, second, expected",
    [
        (GOOD, BAD, True),
        (BAD, GOOD, True),
        (GOOD, MISSING, True),
        (MISSING, MISSING, True),
        (BAD, BAD, False),
        (BAD, MISSING, False),
    ],
)
def test_of_several_issuers_one_is_enough(first: str, second: str, expected: bool) -> None:
    """Where tokens share a place, each issuer finds the other's bad."""
    made = jwt_filter([issuer("a"), issuer("b")], reroute=False)
    tokens = {"origins-0": first, "origins-1": second}
    assert passes(made.rules[0].requires, tokens) is expected


def test_claims_are_left_where_authorization_reads_them() -> None:
    made = jwt_filter([issuer()], reroute=False).providers["origins-0"]
    assert made.payload_in_metadata == "payload"
    assert list(made.normalize_payload_in_metadata.space_delimited_claims) == ["permission", "scope"]


def test_issuers_are_in_order_whatever_order_they_came_in() -> None:
    one = jwt_filter([issuer("b"), issuer("a")], reroute=False)
    other = jwt_filter([issuer("a"), issuer("b")], reroute=False)
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_everything_an_issuer_says_is_carried_over() -> None:
    given = issuer(
        audiences=("causeway",),
        from_headers=(("x-token", "Token "),),
        from_params=("token",),
        from_cookies=("session",),
        forward=True,
        output_payload_header="x-payload",
        claims_to_headers=(("x-tenant", "tenant"),),
    )
    made = jwt_filter([given], reroute=True).providers["origins-0"]
    assert list(made.audiences) == ["causeway"]
    assert (made.from_headers[0].name, made.from_headers[0].value_prefix) == ("x-token", "Token ")
    assert (list(made.from_params), list(made.from_cookies)) == (["token"], ["session"])
    assert made.forward
    assert made.forward_payload_header == "x-payload"
    assert (made.claim_to_headers[0].header_name, made.claim_to_headers[0].claim_name) == (
        "x-tenant",
        "tenant",
    )
    assert made.clear_route_cache


def test_keys_are_fetched_through_a_cluster_or_read_from_a_file() -> None:
    remote = issuer(jwks="", jwks_uri="https://issuer/keys", jwks_cluster="outbound|443||issuer")
    made = jwt_filter([remote], reroute=False).providers["origins-0"]
    assert made.remote_jwks.http_uri.cluster == "outbound|443||issuer"
    assert made.remote_jwks.cache_duration.seconds == 300
    local = issuer(jwks="", jwks_uri="file:///run/keys.json")
    assert jwt_filter([local], reroute=False).providers["origins-0"].local_jwks.filename == "/run/keys.json"


def test_without_keys_no_token_is_good() -> None:
    made = jwt_filter([issuer(jwks="", jwks_uri="https://nowhere/keys")], reroute=False)
    assert made.providers["origins-0"].local_jwks.inline_string == '{"keys":[]}'


def test_preflights_carry_no_token() -> None:
    assert jwt_filter([issuer()], reroute=False).bypass_cors_preflight
