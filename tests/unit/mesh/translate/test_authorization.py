"""AuthorizationPolicies: who may do what, asked of the translated filters."""

from __future__ import annotations

from typing import Any

import pytest
from golden.views import origin

from mesh.ir.security import (
    Attribute,
    Condition,
    Effect,
    ExternalAuthorizer,
    Policy,
    Rule,
    Security,
)
from mesh.simulate.rbac import judge
from mesh.simulate.request import Connection, Facts, Offer, Request
from mesh.translate import rbac
from mesh.translate.names import EXT_AUTHZ, NETWORK_EXT_AUTHZ, NETWORK_RBAC, RBAC

GATEWAY = "spiffe://cluster.local/ns/causeway/sa/gateway"


def facts(
    who: str = GATEWAY,
    *,
    path: str = "/a",
    method: str = "POST",
    authority: str = "session:8080",
    headers: dict[str, str] | None = None,
    claims: dict[str, object] | None = None,
    tcp: bool = False,
    source: str = "127.66.1.1",
    remote: str = "",
) -> Facts:
    """A call, or a connection."""
    connection = Connection(
        source=source,
        address="127.66.1.2",
        port=9443,
        principal=who,
        secured=bool(who),
        tls=Offer(sni="session.example.com"),
    )
    request = Request(authority=authority, path=path, method=method, headers=headers or {})
    made = Facts(request=None if tcp else request, connection=connection, remote=remote)
    if claims is None:
        return made
    return made.with_metadata("envoy.filters.http.jwt_authn", {"payload": claims})


def rule(
    *conditions: Condition,
    sources: tuple[tuple[Condition, ...], ...] = (),
    operations: tuple[tuple[Condition, ...], ...] = (),
) -> Rule:
    """A rule."""
    return Rule(sources=sources, operations=operations, conditions=conditions, origin=origin("rule"))


def policy(*rules: Rule, effect: Effect = Effect.ALLOW, **said: Any) -> Policy:
    """A policy."""
    return Policy(name="causeway/p", effect=effect, rules=rules, origin=origin("p"), **said)


def allowed(given: Policy, asked: Facts) -> bool:
    """Whether the policy alone lets it pass."""
    http = asked.request is not None
    verdict = judge(rbac.rules(given.effect, [given], http=http), asked).allowed
    assert verdict is not None
    return verdict


def test_a_rule_without_anything_matches_everyone() -> None:
    assert allowed(policy(rule()), facts(""))


def test_a_policy_without_rules_lets_nobody_in() -> None:
    assert not allowed(policy(), facts())


def test_one_source_and_one_operation_and_all_conditions_must_match() -> None:
    given = policy(
        rule(
            Condition(Attribute.HEADER, ("yes",), "x-really"),
            sources=(
                (Condition(Attribute.PRINCIPAL, ("cluster.local/ns/causeway/sa/gateway",)),),
                (Condition(Attribute.PRINCIPAL, ("cluster.local/ns/causeway/sa/ingress",)),),
            ),
            operations=(
                (Condition(Attribute.PATH, ("/a",)), Condition(Attribute.METHOD, ("POST",))),
                (Condition(Attribute.PATH, ("/b",)),),
            ),
        )
    )
    really = {"x-really": "yes"}
    assert allowed(given, facts(headers=really))
    assert allowed(given, facts(path="/b", method="GET", headers=really))
    assert not allowed(given, facts(path="/a", method="GET", headers=really))
    assert not allowed(given, facts())
    assert not allowed(given, facts("spiffe://cluster.local/ns/causeway/sa/other", headers=really))


CASES = [
    (Condition(Attribute.PRINCIPAL, ("cluster.local/ns/causeway/sa/gateway",)), {}, {"who": ""}),
    (
        Condition(Attribute.PRINCIPAL, ("*/sa/gateway",)),
        {},
        {"who": "spiffe://cluster.local/ns/x/sa/mygateway"},
    ),
    (
        Condition(Attribute.PRINCIPAL, ("cluster.local/ns/causeway/*",)),
        {},
        {"who": "spiffe://other/ns/causeway/sa/x"},
    ),
    (Condition(Attribute.PRINCIPAL, ("*",)), {}, {"who": ""}),
    (Condition(Attribute.NAMESPACE, ("causeway",)), {}, {"who": "spiffe://cluster.local/ns/causeway2/sa/x"}),
    (Condition(Attribute.NAMESPACE, ("cause*",)), {}, {"who": "spiffe://cluster.local/ns/other/sa/x"}),
    (Condition(Attribute.SERVICE_ACCOUNT, ("causeway/gateway",)), {}, {"who": f"{GATEWAY}-junk"}),
    (
        Condition(Attribute.TRUST_DOMAIN, ("cluster.local",)),
        {},
        {"who": "spiffe://clusterxlocal/ns/causeway/sa/gateway"},
    ),
    (Condition(Attribute.TRUST_DOMAIN, ("*.local",)), {}, {"who": "spiffe://elsewhere.test/ns/a.local/sa/b"}),
    (Condition(Attribute.TRUST_DOMAIN, ("*",)), {}, {"who": ""}),
    (Condition(Attribute.SOURCE_IP, ("127.66.0.0/16",)), {}, {"source": "10.0.0.1"}),
    (Condition(Attribute.SOURCE_IP, ("127.66.1.1",)), {}, {"source": "127.66.1.2"}),
    (Condition(Attribute.REMOTE_IP, ("192.0.2.0/24",)), {"remote": "192.0.2.7"}, {"remote": "198.51.100.1"}),
    (Condition(Attribute.HEADER, ("*",), "x-a"), {"headers": {"x-a": "1"}}, {}),
    (Condition(Attribute.HEADER, ("a*",), "x-a"), {"headers": {"x-a": "ab"}}, {"headers": {"x-a": "ba"}}),
    (Condition(Attribute.HOST, ("SESSION:8080",)), {}, {"authority": "other"}),
    (
        Condition(Attribute.HOST, ("*.example.com",)),
        {"authority": "a.EXAMPLE.com"},
        {"authority": "example.com"},
    ),
    (Condition(Attribute.METHOD, ("POST", "PUT")), {"method": "PUT"}, {"method": "GET"}),
    (Condition(Attribute.PATH, ("/v1/*",)), {"path": "/v1/x?y=1"}, {"path": "/v2/x"}),
    (Condition(Attribute.PATH, ("*/List",)), {"path": "/p.S/List"}, {"path": "/p.S/Get"}),
    (Condition(Attribute.PATH, ("/t/{*}/m",)), {"path": "/t/1/m"}, {"path": "/t/1/2/m"}),
    (Condition(Attribute.PATH, ("/t/{**}",)), {"path": "/t/1/2"}, {"path": "/u/1"}),
    (Condition(Attribute.DESTINATION_IP, ("127.66.1.0/24",)), {}, None),
    (Condition(Attribute.PORT, ("9443",)), {}, None),
    (Condition(Attribute.SNI, ("*.example.com",)), {}, None),
    (
        Condition(Attribute.REQUEST_PRINCIPAL, ("https://issuer/*",)),
        {"claims": {"iss": "https://issuer", "sub": "ann"}},
        {"claims": {"iss": "https://other", "sub": "ann"}},
    ),
    (
        Condition(Attribute.REQUEST_PRINCIPAL, ("https://issuer/ann",)),
        {"claims": {"iss": "https://issuer", "sub": "ann"}},
        {"claims": {"iss": "https://issuer", "sub": "bob"}},
    ),
    (Condition(Attribute.REQUEST_PRINCIPAL, ("*",)), {"claims": {"iss": "i", "sub": "s"}}, {}),
    (
        Condition(Attribute.REQUEST_AUDIENCE, ("causeway",)),
        {"claims": {"aud": ["x", "causeway"]}},
        {"claims": {}},
    ),
    (
        Condition(Attribute.REQUEST_AUDIENCE, ("causeway",)),
        {"claims": {"aud": "causeway"}},
        {"claims": {"aud": "x"}},
    ),
    (
        Condition(Attribute.REQUEST_PRESENTER, ("app",)),
        {"claims": {"azp": "app"}},
        {"claims": {"azp": "bot"}},
    ),
    (
        Condition(Attribute.CLAIM, ("admin", "edit*"), "roles"),
        {"claims": {"roles": ["reader", "editor"]}},
        {"claims": {"roles": ["reader"]}},
    ),
    (
        Condition(Attribute.CLAIM, ("one",), "realm][name"),
        {"claims": {"realm": {"name": "one"}}},
        {"claims": {"realm": {"name": "two"}}},
    ),
]


@pytest.mark.parametrize("condition, yes, no", CASES)
def test_every_attribute_is_compared(
    condition: Condition, yes: dict[str, Any], no: dict[str, Any] | None
) -> None:
    given = policy(rule(condition))
    assert allowed(given, facts(**yes))
    if no is not None:
        assert not allowed(given, facts(**no))


@pytest.mark.parametrize("condition, yes, no", CASES)
def test_a_negation_matches_the_rest(
    condition: Condition, yes: dict[str, Any], no: dict[str, Any] | None
) -> None:
    turned = Condition(condition.attribute, condition.values, condition.key, invert=True)
    assert not allowed(policy(rule(turned)), facts(**yes))
    if no is not None:
        assert allowed(policy(rule(turned)), facts(**no))


def test_metadata_of_other_filters_can_be_asked_for() -> None:
    given = policy(rule(Condition(Attribute.FILTER, ("[update]",), "envoy.x[db.table]")))
    lists = facts().with_metadata("envoy.x", {"db.table": ["select", "update"]})
    assert allowed(given, lists)
    assert not allowed(given, facts().with_metadata("envoy.x", {"db.table": ["select"]}))


MIXED = rule(
    sources=((Condition(Attribute.PRINCIPAL, ("cluster.local/ns/causeway/sa/gateway",)),),),
    operations=((Condition(Attribute.PATH, ("/a",)), Condition(Attribute.PORT, ("9443",))),),
)


def test_on_a_connection_an_allow_rule_about_requests_is_left_out() -> None:
    assert not allowed(policy(MIXED), facts(tcp=True))
    assert allowed(policy(MIXED, rule(Condition(Attribute.PORT, ("9443",)))), facts(tcp=True))


def test_on_a_connection_a_deny_rule_keeps_what_it_can_see() -> None:
    denied = policy(MIXED, effect=Effect.DENY)
    assert not allowed(denied, facts(tcp=True))
    assert allowed(denied, facts("spiffe://cluster.local/ns/x/sa/y", tcp=True))


def _names(security: Security, *, http: bool = True) -> list[tuple[str, list[str], list[str]]]:
    return [
        (name, sorted(config.rules.policies), sorted(config.shadow_rules.policies))
        for name, config in rbac.filters(security, http=http)
    ]


def test_audit_comes_before_deny_and_deny_before_allow() -> None:
    policies = tuple(policy(rule(), effect=effect) for effect in (Effect.ALLOW, Effect.DENY, Effect.AUDIT))
    found = rbac.filters(Security(policies=policies, authorizers={}), http=True)
    assert [config.rules.action for _, config in found] == [2, 1, 0]
    assert {name for name, _ in found} == {RBAC}


def test_a_dry_run_only_notes() -> None:
    tried = policy(rule(), effect=Effect.DENY, dry_run=True)
    ((_, config),) = rbac.filters(Security(policies=(tried,), authorizers={}), http=True)
    assert not config.HasField("rules")
    assert config.shadow_rules_stat_prefix == "istio_dry_run_deny_"


def test_allow_rules_that_were_all_left_out_allow_nobody() -> None:
    """The filter is still there: without it, everybody would be let in."""
    given = policy(rule(Condition(Attribute.PATH, ("/a",))))
    ((name, config),) = rbac.filters(Security(policies=(given,), authorizers={}), http=False)
    assert name == NETWORK_RBAC
    assert config.HasField("rules")
    assert judge(config.rules, facts(tcp=True)).allowed is False


def test_policies_have_istios_names() -> None:
    given = Security(policies=(policy(rule(), rule()),), authorizers={})
    assert _names(given) == [(RBAC, ["ns[causeway]-policy[p]-rule[0]", "ns[causeway]-policy[p]-rule[1]"], [])]


def _authorizer(name: str = "policy", *, grpc: bool = True) -> ExternalAuthorizer:
    return ExternalAuthorizer(
        name=name, cluster="outbound|8080||policy.causeway.svc.cluster.local", grpc=grpc, origin=origin(name)
    )


def _custom(provider: str = "policy", **said: Any) -> Policy:
    return policy(rule(), effect=Effect.CUSTOM, provider=provider, **said)


def test_a_custom_policy_is_noted_and_then_the_service_is_asked() -> None:
    given = Security(policies=(_custom(),), authorizers={"policy": _authorizer()})
    (noting, asking) = rbac.custom_filters(given, http=True)
    assert (noting.name, asking.name) == (RBAC, EXT_AUTHZ)
    assert not noting.config.HasField("rules"), "it refuses nothing by itself"
    (noted,) = noting.config.shadow_rules.policies
    condition = asking.config.filter_enabled_metadata
    key = noting.config.shadow_rules_stat_prefix + "shadow_effective_policy_id"
    assert [segment.key for segment in condition.path] == [key]
    assert noted.startswith(condition.value.string_match.prefix)
    assert "|" not in asking.config.grpc_service.envoy_grpc.authority


def test_providers_are_asked_apart() -> None:
    given = Security(
        policies=(_custom("ab"), _custom("a")), authorizers={"a": _authorizer("a"), "ab": _authorizer("ab")}
    )
    noting_a, asking_a, noting_ab, _ = rbac.custom_filters(given, http=True)
    prefix = asking_a.config.filter_enabled_metadata.value.string_match.prefix
    assert all(name.startswith(prefix) for name in noting_a.config.shadow_rules.policies)
    assert not any(name.startswith(prefix) for name in noting_ab.config.shadow_rules.policies)


def test_without_the_provider_what_it_would_be_asked_about_is_denied() -> None:
    (only,) = rbac.custom_filters(Security(policies=(_custom(),), authorizers={}), http=True)
    assert judge(only.config.rules, facts()).allowed is False


def test_a_custom_dry_run_asks_nobody() -> None:
    given = Security(policies=(_custom(dry_run=True),), authorizers={"policy": _authorizer()})
    assert [name for name, _ in rbac.custom_filters(given, http=True)] == [RBAC]


def test_connections_can_be_asked_about_over_grpc_only() -> None:
    grpc = Security(policies=(_custom(),), authorizers={"policy": _authorizer()})
    assert [name for name, _ in rbac.custom_filters(grpc, http=False)] == [NETWORK_RBAC, NETWORK_EXT_AUTHZ]
    http = Security(policies=(_custom(),), authorizers={"policy": _authorizer(grpc=False)})
    assert rbac.custom_filters(http, http=False) == []
