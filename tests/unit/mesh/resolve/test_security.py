"""https://istio.io/latest/docs/reference/config/security/authorization-policy/ and request_authentication."""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    cluster_names,
    host,
    listener,
    manifest,
    mesh_config,
    service,
    view_of,
    workload,
)

from mesh.ir.listener import HttpChain
from mesh.ir.security import Attribute, Condition, Effect, Security


def security(*documents: str) -> Security | None:
    view = view_of(CLIENT, SERVER, *documents, proxy="server")
    content = listener(view, "127.1.0.1_9443").chains[0].content
    assert isinstance(content, HttpChain)
    return content.security


def policy(name: str, spec: str = "", *, namespace: str = "shop", dry: bool = False) -> str:
    annotations = {"istio.io/dry-run": "true"} if dry else None
    return manifest("AuthorizationPolicy", name, spec, namespace=namespace, annotations=annotations)


def conditions(rule: str) -> tuple[Condition, ...]:
    found = security(policy("p", f"rules: [{rule}]"))
    assert found is not None
    (only,) = found.policies[0].rules
    return tuple(one for group in (*only.sources, *only.operations) for one in group) + only.conditions


def test_without_any_policy_there_is_nothing_to_check() -> None:
    assert security() is None


def test_policies_of_the_root_come_first_and_only_those_that_select_the_workload() -> None:
    found = security(
        policy("own"),
        policy("other-app", "selector: {matchLabels: {app: client}}"),
        policy("mine", "selector: {matchLabels: {app: server}}"),
        policy("root", namespace="istio-system"),
        policy("root-mine", "selector: {matchLabels: {app: server}}", namespace="istio-system"),
        policy("foreign", namespace="other"),
    )

    assert found is not None
    assert [one.name for one in found.policies] == [
        "istio-system/root",
        "istio-system/root-mine",
        "shop/own",
        "shop/mine",
    ]


def test_a_policy_without_an_action_allows_and_without_rules_matches_nothing() -> None:
    found = security(policy("empty"), policy("dry", "action: DENY\nrules: [{}]", dry=True))

    assert found is not None
    assert [(one.effect, len(one.rules), one.dry_run) for one in found.policies] == [
        (Effect.ALLOW, 0, False),
        (Effect.DENY, 1, True),
    ]


@pytest.mark.parametrize(
    "rule, expected",
    [
        (
            "{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}",
            (Condition(Attribute.PRINCIPAL, ("cluster.local/ns/a/sa/b",)),),
        ),
        (
            "{from: [{source: {notNamespaces: [a], requestPrincipals: ['*']}}]}",
            (
                Condition(Attribute.REQUEST_PRINCIPAL, ("*",)),
                Condition(Attribute.NAMESPACE, ("a",), invert=True),
            ),
        ),
        (
            "{from: [{source: {ipBlocks: [10.0.0.0/8], notRemoteIpBlocks: [10.1.0.0/16]}}]}",
            (
                Condition(Attribute.SOURCE_IP, ("10.0.0.0/8",)),
                Condition(Attribute.REMOTE_IP, ("10.1.0.0/16",), invert=True),
            ),
        ),
        (
            "{from: [{source: {trustDomains: [cluster.local], notTrustDomains: ['*.test']}}]}",
            (
                Condition(Attribute.TRUST_DOMAIN, ("cluster.local",)),
                Condition(Attribute.TRUST_DOMAIN, ("*.test",), invert=True),
            ),
        ),
        (
            "{from: [{source: {serviceAccounts: [gateway, other/gateway]}}]}",
            (Condition(Attribute.SERVICE_ACCOUNT, ("shop/gateway", "other/gateway")),),
        ),
        (
            "{to: [{operation: {hosts: [a], ports: ['8080'], methods: [GET], notPaths: [/b*]}}]}",
            (
                Condition(Attribute.HOST, ("a",)),
                Condition(Attribute.PORT, ("8080",)),
                Condition(Attribute.METHOD, ("GET",)),
                Condition(Attribute.PATH, ("/b*",), invert=True),
            ),
        ),
        (
            "{when: [{key: 'request.headers[x-a]', values: [b]}]}",
            (Condition(Attribute.HEADER, ("b",), "x-a"),),
        ),
        (
            "{when: [{key: 'request.auth.claims[roles]', values: [admin], notValues: [guest]}]}",
            (
                Condition(Attribute.CLAIM, ("admin",), "roles"),
                Condition(Attribute.CLAIM, ("guest",), "roles", invert=True),
            ),
        ),
        ("{when: [{key: connection.sni, values: [a]}]}", (Condition(Attribute.SNI, ("a",)),)),
        ("{when: [{key: destination.port, values: ['1']}]}", (Condition(Attribute.PORT, ("1",)),)),
    ],
)
def test_sources_operations_and_conditions_are_carried_over(
    rule: str, expected: tuple[Condition, ...]
) -> None:
    assert conditions(rule) == expected


def test_a_principal_is_meant_in_every_name_of_the_trust_domain() -> None:
    config = mesh_config("trustDomain: new.example\ntrustDomainAliases: [old.example]")
    rule = "{from: [{source: {principals: [cluster.local/ns/a/sa/b, '*']}}]}"
    found = security(config, policy("p", f"rules: [{rule}]"))

    assert found is not None
    assert found.policies[0].rules[0].sources[0][0].values == (
        "new.example/ns/a/sa/b",
        "old.example/ns/a/sa/b",
        "*",
    )


PROVIDER = mesh_config(f"""
extensionProviders:
  - name: guard
    envoyExtAuthzGrpc: {{service: {host("guard")}, port: 8080, timeout: 250ms, failOpen: false}}
""")
CUSTOM = policy("ask", "action: CUSTOM\nprovider: {name: guard}\nrules: [{}]")


def test_a_custom_policy_asks_its_provider_through_the_providers_cluster() -> None:
    found = security(PROVIDER, CUSTOM, service("guard"))

    assert found is not None
    guard = found.authorizers["guard"]
    assert (guard.cluster, guard.timeout, guard.fail_open) == (
        f"outbound|8080||{host('guard')}",
        timedelta(milliseconds=250),
        False,
    )


def test_a_providers_cluster_is_there_even_where_the_sidecar_resource_does_not_let_it_through() -> None:
    scope = manifest("Sidecar", "scope", "egress: [{hosts: ['~/*']}]")

    view = view_of(CLIENT, SERVER, PROVIDER, CUSTOM, service("guard"), scope, proxy="server")

    assert cluster_names(view) == {f"outbound|8080||{host('guard')}"}


JWT = "jwtRules: [{issuer: %s, jwksUri: 'https://keys.example/keys'}]"


def test_every_request_authentication_that_selects_the_workload_counts() -> None:
    found = security(
        manifest("RequestAuthentication", "own", JWT % "https://own.example"),
        manifest("RequestAuthentication", "root", JWT % "https://root.example", namespace="istio-system"),
        manifest(
            "RequestAuthentication",
            "other",
            "selector: {matchLabels: {app: client}}\n" + JWT % "https://other.example",
        ),
    )

    assert found is not None
    assert [one.issuer for one in found.issuers] == ["https://root.example", "https://own.example"]


def test_a_key_set_of_a_known_service_is_fetched_through_its_cluster() -> None:
    keys = manifest(
        "ServiceEntry",
        "issuer",
        """
hosts: [issuer.example]
location: MESH_EXTERNAL
resolution: DNS
ports: [{number: 443, name: https, protocol: HTTPS}]
""",
    )
    rule = "jwtRules: [{issuer: a, jwksUri: 'https://issuer.example/keys'}]"
    found = security(keys, manifest("RequestAuthentication", "own", rule))

    assert found is not None
    assert found.issuers[0].jwks_cluster == "outbound|443||issuer.example"


def test_a_gateway_checks_what_comes_in() -> None:
    edge = workload("edge", "edge", address="127.1.0.8", labels={"istio": "ingressgateway"})
    gateway = manifest(
        "Gateway",
        "edge",
        """
selector: {istio: ingressgateway}
servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
""",
    )
    view = view_of(edge, gateway, policy("own"), proxy="edge")

    content = view.listeners[0].chains[0].content
    assert isinstance(content, HttpChain)
    assert content.security is not None
    assert [one.name for one in content.security.policies] == ["shop/own"]
