"""Decisions: what the table allows, and nothing else."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidRequest
from services.common.identity import Caller
from services.common.permissions import ACTIONS, ROLES, is_allowed
from services.policy.decisions import RoleTable


def caller(*roles: str) -> Caller:
    """A caller with roles."""
    return Caller("acme", "ada", frozenset(roles))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", [*ROLES, "owner", ""])
def test_the_decision_is_what_every_service_enforces(action: str, role: str) -> None:
    decision = RoleTable().decide(caller(role), action, "")
    assert decision.allowed is is_allowed({role}, action)


def test_a_decision_names_the_rule() -> None:
    table = RoleTable({"a.b": frozenset({"editor", "admin"}), "a.c": frozenset()})
    assert table.decide(caller("reader", "editor"), "a.b", "x").rule == "role editor allows a.b"
    assert table.decide(caller("reader"), "a.b", "").rule == "no rule allows it: a.b is for admin, editor"
    assert table.decide(caller("admin"), "a.c", "").rule == "no rule allows it: a.c is for nobody"


def test_no_reason_is_longer_than_its_proto_allows() -> None:
    many = caller(*(f"role-{n}" for n in range(1000)))
    assert all(len(RoleTable().decide(many, action, "").rule) <= 256 for action in ACTIONS)


def test_a_caller_without_roles_may_do_nothing() -> None:
    assert not any(RoleTable().decide(caller(), action, "").allowed for action in ACTIONS)


def test_an_unknown_action_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequest) as refused:
        RoleTable().decide(caller("admin"), "documents.burn", "")
    assert [violation.field for violation in refused.value.violations] == ["action"]
