"""JWT authentication: a token that is there must be good; none is no error (authorization decides about
that).

https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf import empty_pb2

from mesh.ir.security import JwtIssuer
from mesh.translate.names import JWT_PAYLOAD
from mesh.translate.packing import Proto, duration
from mesh.xds.protos import base_pb2, http_uri_pb2, jwt_authn_pb2, route_components_pb2

KEYS_KEPT = timedelta(minutes=5)
"""How long a fetched key set is used; Istio's."""

NO_KEYS = '{"keys":[]}'
"""For an issuer whose keys cannot be had: all its tokens are refused."""

_SPACE_DELIMITED = ("permission", "scope")
_FILE = "file://"


def jwt_filter(issuers: Sequence[JwtIssuer], *, reroute: bool) -> Proto:
    """The filter's configuration.

    Args:
        issuers: At least one.
        reroute: Whether the route is looked up again once the claims are known, since routes may ask for
        claims.
    """
    ordered = sorted(issuers, key=lambda item: item.issuer)
    names = [f"origins-{index}" for index in range(len(ordered))]
    return jwt_authn_pb2.JwtAuthentication(
        providers={name: _provider(issuer, reroute) for name, issuer in zip(names, ordered, strict=True)},
        rules=[
            jwt_authn_pb2.RequirementRule(
                match=route_components_pb2.RouteMatch(prefix="/"), requires=_requirement(names)
            )
        ],
        bypass_cors_preflight=True,
    )


def _requirement(names: Sequence[str]) -> Proto:
    """One of them is satisfied, or each of them found no token.

    The first half is for issuers whose tokens are in the same place: each refuses the others' tokens.
    """
    absent_or_good = [_any(_named(name), _absent()) for name in names]
    if len(names) == 1:
        return absent_or_good[0]
    everyone = jwt_authn_pb2.JwtRequirement(
        requires_all=jwt_authn_pb2.JwtRequirementAndList(requirements=absent_or_good)
    )
    return _any(*(_named(name) for name in names), everyone)


def _named(name: str) -> Proto:
    return jwt_authn_pb2.JwtRequirement(provider_name=name)


def _absent() -> Proto:
    return jwt_authn_pb2.JwtRequirement(allow_missing=empty_pb2.Empty())


def _any(*requirements: Proto) -> Proto:
    return jwt_authn_pb2.JwtRequirement(
        requires_any=jwt_authn_pb2.JwtRequirementOrList(requirements=requirements)
    )


def _provider(issuer: JwtIssuer, reroute: bool) -> Proto:
    provider = jwt_authn_pb2.JwtProvider(
        issuer=issuer.issuer,
        audiences=issuer.audiences,
        forward=issuer.forward,
        forward_payload_header=issuer.output_payload_header,
        payload_in_metadata=JWT_PAYLOAD,
        normalize_payload_in_metadata=jwt_authn_pb2.JwtProvider.NormalizePayload(
            space_delimited_claims=_SPACE_DELIMITED
        ),
        from_headers=[
            jwt_authn_pb2.JwtHeader(name=name, value_prefix=prefix) for name, prefix in issuer.from_headers
        ],
        from_params=issuer.from_params,
        from_cookies=issuer.from_cookies,
        claim_to_headers=[
            jwt_authn_pb2.JwtClaimToHeader(header_name=header, claim_name=claim)
            for header, claim in issuer.claims_to_headers
        ],
        clear_route_cache=reroute,
    )
    if issuer.jwks_uri and issuer.jwks_cluster:
        provider.remote_jwks.CopyFrom(
            jwt_authn_pb2.RemoteJwks(
                http_uri=http_uri_pb2.HttpUri(
                    uri=issuer.jwks_uri, cluster=issuer.jwks_cluster, timeout=duration(issuer.timeout)
                ),
                cache_duration=duration(KEYS_KEPT),
            )
        )
    elif issuer.jwks_uri.startswith(_FILE) and not issuer.jwks:
        provider.local_jwks.CopyFrom(base_pb2.DataSource(filename=issuer.jwks_uri.removeprefix(_FILE)))
    else:
        provider.local_jwks.CopyFrom(base_pb2.DataSource(inline_string=issuer.jwks or NO_KEYS))
    return provider
