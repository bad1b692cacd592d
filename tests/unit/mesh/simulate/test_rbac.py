"""Who may do what."""

from __future__ import annotations

from typing import Any

import pytest
from support.envoy_config import message, policy, spiffe

from mesh.simulate import rbac
from mesh.simulate.rbac import Action
from mesh.simulate.request import Connection, Facts, Offer, Request

RULES = "envoy.config.rbac.v3.RBAC"
GATEWAY = Connection(
    source="127.66.1.2",
    address="127.66.1.7",
    port=9443,
    secured=True,
    principal=spiffe("gateway"),
    tls=Offer(sni="x"),
)


def judge(policies: dict[str, Any], facts: Facts, action: str = "ALLOW") -> rbac.Verdict:
    """The verdict of these policies."""
    return rbac.judge(message(RULES, {"action": action, "policies": policies}), facts)


def asks(path: str, connection: Connection = GATEWAY, **headers: str) -> Facts:
    """A call."""
    request = Request(authority="session:8080", path=path, method="POST", headers=headers)
    return Facts(request=request, connection=connection)


def one(permission: dict[str, Any] | None = None, principal: dict[str, Any] | None = None) -> dict[str, Any]:
    """A policy of one permission and one principal."""
    return {"p": {"permissions": [permission or {"any": True}], "principals": [principal or {"any": True}]}}


def test_a_policy_lets_its_principal_ask_for_its_paths_and_nothing_else() -> None:
    rules = {"read": policy("gateway", "/Messages/")}
    assert judge(rules, asks("/Messages/List")).allowed is True
    refused = judge(rules, asks("/Conversations/Delete"))
    assert refused.allowed is False
    assert refused.near == ("read",)
    assert "not for this" in refused.says


def test_another_principal_is_refused_and_so_is_plaintext() -> None:
    rules = {"read": policy("gateway", "/Messages/")}
    other = Connection(secured=True, principal=spiffe("retrieval"))
    assert judge(rules, asks("/Messages/List", other)).says == "denied: no policy allows this caller"
    assert judge(rules, asks("/Messages/List", Connection())).allowed is False


def test_no_policies_allow_nothing_and_deny_nothing() -> None:
    assert judge({}, asks("/")).allowed is False
    assert judge({}, asks("/"), "DENY").allowed is True


def test_deny_names_the_policy() -> None:
    verdict = judge({"no": policy("gateway", "/Admin/")}, asks("/Admin/Drop"), "DENY")
    assert (verdict.allowed, verdict.policy, verdict.action) == (False, "no", Action.DENY)


def test_log_refuses_nothing() -> None:
    assert judge(one(), asks("/"), "LOG").allowed is True
    assert judge({}, asks("/"), "LOG").allowed is True


@pytest.mark.parametrize(
    "permission, allowed",
    [
        ({"header": {"name": ":method", "string_match": {"exact": "POST"}}}, True),
        ({"header": {"name": ":authority", "string_match": {"prefix": "session"}}}, True),
        ({"destination_port": 9443}, True),
        ({"destination_port": 80}, False),
        ({"destination_port_range": {"start": 9000, "end": 9443}}, False),
        ({"destination_ip": {"address_prefix": "127.66.0.0", "prefix_len": 16}}, True),
        ({"requested_server_name": {"exact": "x"}}, True),
        ({"not_rule": {"url_path": {"path": {"exact": "/a"}}}}, False),
        ({"and_rules": {"rules": [{"any": True}, {"destination_port": 80}]}}, False),
        ({"or_rules": {"rules": [{"destination_port": 80}, {"any": True}]}}, True),
        (
            {
                "uri_template": {
                    "name": "t",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                        "path_template": "/*",
                    },
                }
            },
            True,
        ),
    ],
)
def test_permissions(permission: dict[str, Any], allowed: bool) -> None:
    assert judge(one(permission), asks("/a")).allowed is allowed


@pytest.mark.parametrize(
    "principal, allowed",
    [
        ({"authenticated": {}}, True),
        ({"authenticated": {"principal_name": {"suffix": "/sa/gateway"}}}, True),
        ({"direct_remote_ip": {"address_prefix": "127.66.1.2", "prefix_len": 32}}, True),
        ({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, False),
        ({"header": {"name": "x-a", "string_match": {"exact": "1"}}}, True),
        ({"not_id": {"authenticated": {"principal_name": {"exact": spiffe("gateway")}}}}, False),
        ({"and_ids": {"ids": [{"any": True}, {"authenticated": {}}]}}, True),
        ({"or_ids": {"ids": []}}, False),
    ],
)
def test_principals(principal: dict[str, Any], allowed: bool) -> None:
    request = Request(authority="s", headers={"x-a": "1"})
    assert judge(one(principal=principal), Facts(request=request, connection=GATEWAY)).allowed is allowed


def test_what_cannot_be_known_leaves_the_verdict_open() -> None:
    condition = {"condition": {"const_expr": {"bool_value": True}}}
    verdict = judge({"cel": {**one()["p"], **condition}}, asks("/a"))
    assert verdict.allowed is None
    assert "depends" in verdict.says


def test_a_certain_policy_decides_although_another_is_open() -> None:
    condition = {"condition": {"const_expr": {"bool_value": True}}}
    assert judge({"a": {**one()["p"], **condition}, "b": one()["p"]}, asks("/a")).allowed is True


def test_of_an_open_request_only_the_caller_is_known() -> None:
    facts = Facts(request=Request(authority="", open=True), connection=GATEWAY)
    rules = {"read": policy("gateway", "/Messages/"), "other": policy("retrieval", "/")}
    assert judge(rules, facts).allowed is None
    stranger = Facts(request=facts.request, connection=Connection(secured=True, principal=spiffe("x")))
    assert judge(rules, stranger).allowed is False
    found = message(RULES, {"policies": rules}).policies["read"]
    assert rbac.targets(found) == ("/Messages/*",)
