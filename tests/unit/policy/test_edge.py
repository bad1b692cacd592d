"""Who comes in at the edge: decided by verified claims and the method, and by nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidCredentials, PermissionDenied
from services.common.permissions import ACTIONS, METHODS, PUBLIC_METHODS
from services.gateway.app import PERMISSIONS as GATEWAY
from services.policy.app import PERMISSIONS as POLICY
from services.policy.decisions import RoleTable
from services.policy.edge import Admission, Edge, EdgeRequest, class_of, header_value
from services.retrieval.app import PERMISSIONS as RETRIEVAL
from services.session.app import PERMISSIONS as SESSION

CHAT = "/causeway.gateway.v1.ChatService/Chat"
WRITE = "/causeway.retrieval.v1.DocumentService/CreateDocument"
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.test",
    "aud": "causeway",
    "sub": "ada",
    "tenant": "acme",
    "roles": ["reader"],
}


def admit(path: str = CHAT, claims: Any = CLAIMS, headers: tuple[str, ...] = ()) -> Admission:
    """Asks the edge."""
    edge = Edge(RoleTable(), "https://issuer.test", "causeway")
    return edge.admit(EdgeRequest(path=path, claims=claims, headers=headers))


def test_the_edge_knows_every_method_of_every_service_and_its_action() -> None:
    assert {**GATEWAY, **POLICY, **RETRIEVAL, **SESSION} == METHODS
    assert set(METHODS.values()) <= set(ACTIONS)


def test_a_caller_with_the_role_comes_in_under_its_own_name() -> None:
    admission = admit()
    assert admission.caller is not None
    assert (admission.caller.tenant, admission.caller.subject, admission.action) == (
        "acme",
        "ada",
        "chat.complete",
    )
    assert admission.set_headers == {
        "x-causeway-tenant": "acme",
        "x-causeway-subject": "ada",
        "x-causeway-class": "chat",
    }


@pytest.mark.parametrize(
    "path, counted",
    [(CHAT, True), (WRITE, True), ("/causeway.gateway.v1.ChatService/ListModels", False)],
)
def test_calls_that_cost_are_counted_and_reads_are_left_to_each_ingress(path: str, counted: bool) -> None:
    assert admit(path, {**CLAIMS, "roles": ["editor"]}).counted is counted


def test_headers_that_the_client_sent_under_our_names_are_taken_out() -> None:
    sent = ("x-causeway-tenant", "x-causeway-role", "x-causeway-", "x-other")
    # What is set replaces what was sent, and must not be taken out afterwards.
    assert admit(headers=sent).remove_headers == ("x-causeway-", "x-causeway-role")
    public = admit("/grpc.health.v1.Health/Check", claims=None, headers=sent)
    assert public.remove_headers == ("x-causeway-", "x-causeway-role", "x-causeway-tenant")
    assert public.set_headers == {}


@pytest.mark.parametrize("path", sorted(PUBLIC_METHODS))
def test_a_balancer_may_ask_for_health_without_a_token(path: str) -> None:
    assert admit(path, claims=None).caller is None


def test_without_a_token_there_is_no_caller() -> None:
    with pytest.raises(InvalidCredentials):
        admit(claims=None)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.test"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"tenant": ""},
        {"tenant": "a/b"},
        {"tenant": 7.0},
        {"tenant": None},
        {"sub": ""},
        {"sub": None},
        {"sub": "a\0b"},
        {"sub": "x" * 257},
        {"roles": "admin"},
        {"roles": [None]},
        {"roles": {"admin": True}},
    ],
)
def test_claims_that_speak_for_nobody_here_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidCredentials):
        admit(claims=CLAIMS | changed)


def test_one_of_several_audiences_is_enough() -> None:
    assert admit(claims=CLAIMS | {"aud": ["other", "causeway"]}).caller is not None


@pytest.mark.parametrize("roles", [[], ["guest"], ["reader"]])
def test_an_action_that_no_role_allows_is_refused(roles: list[str]) -> None:
    with pytest.raises(PermissionDenied):
        admit(WRITE, CLAIMS | {"roles": roles})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        CHAT + "/",
        CHAT.lower(),
        "//causeway.gateway.v1.ChatService/Chat",
        "/x/.." + CHAT,
        CHAT.replace("Chat", "%43hat"),
        "/causeway.gateway.v1.ChatService",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/envoy.service.auth.v3.Authorization/Check",
        "/v1/chat/completions",
    ],
)
def test_a_path_that_is_no_method_of_the_platform_is_refused(path: str) -> None:
    with pytest.raises(PermissionDenied):
        admit(path, CLAIMS | {"roles": ["admin"]})


def test_a_query_does_not_change_what_is_asked_for() -> None:
    assert admit(CHAT + "?x=/grpc.health.v1.Health/Check").action == "chat.complete"
    with pytest.raises(InvalidCredentials):
        admit(CHAT + "?/grpc.health.v1.Health/Check", claims=None)


def test_every_action_has_a_class_of_work() -> None:
    classes = {action: class_of(action) for action in ACTIONS}
    assert classes["chat.complete"] == "chat"
    assert classes["models.embed"] == "embed"
    assert classes["documents.search"] == "read"
    assert classes["documents.write"] == "write"
    assert set(classes.values()) == {"chat", "embed", "read", "write"}


@given(st.text(max_size=300))
def test_any_subject_can_stand_in_a_header_and_is_told_from_every_other(subject: str) -> None:
    subject = subject.encode("utf-8", "replace").decode()
    value = header_value(subject)
    assert all("!" <= character <= "~" for character in value)
    from urllib.parse import unquote

    assert unquote(value) == subject


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    path=st.sampled_from(sorted(METHODS)) | st.text(max_size=60),
    claims=st.none()
    | st.dictionaries(st.sampled_from(sorted(CLAIMS)) | st.text(max_size=5), JSON, max_size=6),
    headers=st.lists(st.text(max_size=20), max_size=4),
)
def test_whatever_is_asked_is_answered_by_a_decision(path: str, claims: Any, headers: list[str]) -> None:
    with suppress(InvalidCredentials, PermissionDenied):
        admission = admit(path, claims, tuple(headers))
        assert admission.caller is not None or admission.method in PUBLIC_METHODS
        assert not set(admission.set_headers) & set(admission.remove_headers)
