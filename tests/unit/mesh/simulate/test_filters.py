"""HTTP filters, in a gateway that stands alone."""

from __future__ import annotations

from typing import Any

import pytest
from support.envoy_config import HTTP, Plain, eds, endpoints, http_chain, listener, node, table, to

from mesh.ir.view import ProxyKind
from mesh.simulate.filters import Assumptions
from mesh.simulate.hop import Settings
from mesh.simulate.request import Offer, Request, Token, grpc_call
from mesh.simulate.traffic import Traffic
from mesh.simulate.walk import Result, Walk
from mesh.simulate.world import World

ISSUER = "https://issuer.causeway.local"
JWT: Plain = {
    "name": "envoy.filters.http.jwt_authn",
    "typed_config": {
        "@type": f"{HTTP}.jwt_authn.v3.JwtAuthentication",
        "providers": {
            "origins-0": {
                "issuer": ISSUER,
                "audiences": ["causeway"],
                "local_jwks": {"inline_string": "{}"},
                "payload_in_metadata": "payload",
                "claim_to_headers": [{"header_name": "x-tenant", "claim_name": "tenant"}],
            }
        },
        "rules": [
            {
                "match": {"prefix": "/"},
                "requires": {
                    "requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}
                },
            }
        ],
    },
}


def claims_rbac() -> Plain:
    """Only with a token of the issuer."""
    issuer = {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "payload"}, {"key": "iss"}],
            "value": {"string_match": {"exact": ISSUER}},
        }
    }
    rules = {"policies": {"people": {"permissions": [{"any": True}], "principals": [issuer]}}}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {"@type": f"{HTTP}.rbac.v3.RBAC", "rules": rules},
    }


def ingress(filters: list[Plain], routes: list[Plain] | None = None, *, authorizer: bool = False) -> World:
    """An ingress in front of one host; `authorizer` says whether there is one."""
    chain = http_chain(table("http.80", routes or [to("app")]), filters)
    made = listener("in", "127.66.1.1", 443, [chain])
    return World.of(
        [
            node(
                "ingress",
                "us-west-2",
                "127.66.1.1",
                listeners=[made],
                clusters=[eds("app"), eds("policy")],
                assignments=[
                    endpoints("app", [("us-west-2", 0, ["127.66.1.9"])]),
                    endpoints("policy", [("us-west-2", 0, ["127.66.1.8"])] if authorizer else []),
                ],
                kind=ProxyKind.GATEWAY,
            )
        ]
    )


def ask(world: World, request: Request, assumptions: Assumptions | None = None) -> Walk:
    """A request from outside, in plaintext."""
    traffic = Traffic(world, Settings(assumptions=assumptions or Assumptions()))
    return traffic.arrive("ingress", request, 443)


def good(**more: Any) -> Token:
    """A token that is accepted."""
    return Token(issuer=ISSUER, audiences=("causeway",), **more)


@pytest.mark.parametrize(
    "token, status, grpc",
    [
        (None, 403, "PERMISSION_DENIED"),
        (Token(issuer=ISSUER, audiences=("causeway",), genuine=False), 401, "UNAUTHENTICATED"),
        (Token(issuer="https://else", audiences=("causeway",)), 401, "UNAUTHENTICATED"),
        (Token(issuer=ISSUER, audiences=("other",)), 403, "PERMISSION_DENIED"),
    ],
)
def test_without_a_good_token_nobody_gets_in(token: Token | None, status: int, grpc: str) -> None:
    walk = ask(ingress([JWT, claims_rbac()]), grpc_call("api", "/a.B/C", token=token))
    assert (walk.ending.result, walk.ending.status, walk.ending.grpc) == (Result.REFUSED, status, grpc)


def test_a_good_token_gets_in_and_its_claims_are_seen_behind() -> None:
    by_tenant = {
        "match": {"prefix": "/", "headers": [{"name": "x-tenant", "string_match": {"exact": "acme"}}]},
        "route": {"cluster": "app"},
    }
    world = ingress(
        [JWT, claims_rbac()], [by_tenant, {"match": {"prefix": "/"}, "direct_response": {"status": 404}}]
    )
    assert ask(world, grpc_call("api", "/a.B/C", token=good(claims={"tenant": "acme"}))).reached
    other = ask(world, grpc_call("api", "/a.B/C", token=good(claims={"tenant": "else"})))
    assert (other.ending.result, other.ending.status) == (Result.ANSWERED, 404)


def test_a_fault_of_a_share_is_drawn_and_of_all_is_certain() -> None:
    def fault(percent: int) -> Plain:
        abort = {"grpc_status": 14, "percentage": {"numerator": percent, "denominator": "HUNDRED"}}
        return {
            "name": "envoy.filters.http.fault",
            "typed_config": {"@type": f"{HTTP}.fault.v3.HTTPFault", "abort": abort},
        }

    call = grpc_call("api", "/a.B/C")
    assert ask(ingress([fault(100)]), call).ending.grpc == "UNAVAILABLE"
    assert ask(ingress([fault(10)]), call).reached
    assert not ask(ingress([fault(10)]), call, Assumptions(random=0.05)).reached
    assert ask(ingress([fault(10)]), call, Assumptions(random=0.1)).reached


def ext_authz(*, allow_failure: bool = False) -> Plain:
    """Asks the policy cluster."""
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{HTTP}.ext_authz.v3.ExtAuthz",
            "grpc_service": {"envoy_grpc": {"cluster_name": "policy"}},
            "failure_mode_allow": allow_failure,
        },
    }


def test_an_authorizer_that_cannot_be_asked_refuses_unless_failure_is_allowed() -> None:
    call = grpc_call("api", "/a.B/C")
    assert ask(ingress([ext_authz()]), call).ending.status == 403
    assert ask(ingress([ext_authz(allow_failure=True)]), call).reached


def test_what_an_authorizer_says_is_assumed_and_said_to_be() -> None:
    world = ingress([ext_authz()], authorizer=True)
    call = grpc_call("api", "/a.B/C")
    unknown = ask(world, call)
    assert unknown.reached
    assert not unknown.sure
    assert ask(world, call, Assumptions(authorizer=True)).sure
    assert ask(world, call, Assumptions(authorizer=False)).ending.status == 403


def test_a_preflight_is_answered_by_the_proxy() -> None:
    cors = {"name": "envoy.filters.http.cors", "typed_config": {"@type": f"{HTTP}.cors.v3.Cors"}}
    route = {
        **to("app"),
        "typed_per_filter_config": {
            "envoy.filters.http.cors": {
                "@type": f"{HTTP}.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"exact": "https://app"}],
            }
        },
    }
    world = ingress([cors], [route])
    headers = {"origin": "https://app", "access-control-request-method": "POST"}
    preflight = Request(authority="api", path="/a.B/C", method="OPTIONS", headers=headers)
    assert ask(world, preflight).ending.status == 200
    foreign = Request(
        authority="api", path="/a.B/C", method="OPTIONS", headers={**headers, "origin": "https://evil"}
    )
    assert ask(world, foreign).reached


def test_a_filter_may_be_switched_off_for_a_route() -> None:
    route = {
        **to("app"),
        "typed_per_filter_config": {
            "envoy.filters.http.rbac": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "disabled": True,
            }
        },
    }
    assert ask(ingress([claims_rbac()], [route]), grpc_call("api", "/")).reached
    assert not ask(ingress([claims_rbac()]), grpc_call("api", "/")).reached


def test_an_unknown_filter_is_passed_and_said_to_be_unknown() -> None:
    lua = {
        "name": "lua",
        "typed_config": {"@type": f"{HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": ""}},
    }
    walk = ask(ingress([lua]), grpc_call("api", "/"))
    assert walk.reached
    assert not walk.sure
    assert any("not simulated" in step.says for step in walk.steps("filter"))


def test_a_custom_policy_that_does_not_match_spares_the_authorizer() -> None:
    shadow = {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{HTTP}.rbac.v3.RBAC",
            "shadow_rules_stat_prefix": "istio_ext_authz_",
            "shadow_rules": {
                "action": "DENY",
                "policies": {
                    "istio-ext-authz-p": {
                        "permissions": [{"url_path": {"path": {"prefix": "/guarded"}}}],
                        "principals": [{"any": True}],
                    }
                },
            },
        },
    }
    gate = ext_authz()
    gate["typed_config"]["filter_enabled_metadata"] = {
        "filter": "envoy.filters.http.rbac",
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }
    world = ingress([shadow, gate])
    assert ask(world, grpc_call("api", "/open")).reached
    assert ask(world, grpc_call("api", "/guarded")).ending.status == 403


def test_the_client_of_a_port_without_tls_must_not_speak_it() -> None:
    world = ingress([])
    walk = Traffic(world).arrive("ingress", grpc_call("api", "/"), 443, offer=Offer(sni="api"))
    assert walk.ending.result is Result.REFUSED
    assert "plaintext" in walk.ending.says
