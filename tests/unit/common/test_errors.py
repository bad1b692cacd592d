"""Errors on the wire: the enum is the proto's, and a peer's refusal arrives as it was raised."""

from __future__ import annotations

import base64
import zlib
from datetime import timedelta

import grpc
import pytest

from causeway.errors.v1 import error_reason_pb2
from services.common import errors
from services.common.errors import Code, DomainError, FieldViolation, InvalidPageToken, Reason
from services.common.pagination import decode_page_token, encode_page_token
from services.common.permissions import ACTIONS, ROLES, is_allowed
from services.common.status import from_status, to_status


class QuotaExceeded(DomainError):
    reason = Reason.QUOTA_EXCEEDED
    code = Code.RESOURCE_EXHAUSTED


def test_reasons_are_those_of_the_proto() -> None:
    assert {f"ERROR_REASON_{reason.name}": reason.value for reason in Reason} == dict(
        error_reason_pb2.ErrorReason.items()
    )


def test_codes_are_those_of_grpc() -> None:
    assert {code.name: code.value for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


def test_every_error_has_a_reason_and_a_code() -> None:
    for kind in vars(errors).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, DomainError)
            and kind not in (DomainError, errors.RemoteError)
        ):
            assert kind.reason is not Reason.UNSPECIFIED, kind
            assert kind.code not in (Code.OK, Code.UNKNOWN), kind


def test_an_error_survives_the_wire() -> None:
    raised = QuotaExceeded(
        "used up",
        metadata={"tenant": "acme"},
        violations=[FieldViolation("tokens", "too many")],
        retry_after=timedelta(seconds=12.5),
    )
    arrived = from_status(to_status(raised, "request-1"))
    assert arrived is not None
    assert arrived.status == raised.status
    assert (arrived.message, arrived.metadata, arrived.violations, arrived.retry_after) == (
        raised.message,
        raised.metadata,
        raised.violations,
        raised.retry_after,
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest("words"),
        errors.PromptTooLong("words"),
        errors.RemoteError(Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST, "words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whoever_sent_an_invalid_argument_is_told_which_or_that_it_is_the_whole(error: DomainError) -> None:
    arrived = from_status(to_status(error, "request-1"))
    assert arrived is not None
    assert arrived.violations == (FieldViolation("", "words"),)


FORGED = base64.urlsafe_b64encode(zlib.crc32(b"5").to_bytes(4, "big") + b"5").decode()
"""The right checksum over something that is no cursor."""


def test_a_page_token_goes_on_where_it_was_issued() -> None:
    token = encode_page_token("messages", ["a", 7, "é"])
    assert decode_page_token("messages", token) == ("a", 7, "é")


@pytest.mark.parametrize(
    "token", ["x", "AAAA", "é", "=", encode_page_token("other", [1]), FORGED, "a" * 256, ""]
)
def test_a_token_of_another_query_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        decode_page_token("messages", token)


def test_roles_grow_from_reader_to_admin() -> None:
    for action in ACTIONS:
        grants = [is_allowed({role}, action) for role in ROLES]
        assert grants == sorted(grants), action
    assert not is_allowed({"admin"}, "no.such_action")
    assert not is_allowed({"root"}, "chat.complete")
