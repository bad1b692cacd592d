"""The made-up requests are worth sending: sound ones pass validation, and the others are what they say."""

from __future__ import annotations

from typing import TypeVar

import protovalidate
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from causeway.session.v1 import conversation_service_pb2, message_service_pb2
from fuzz.messages import sound, wild
from fuzz.methods import Method, all_methods
from fuzz.tokens import encode, kinds_of, page_tokens
from fuzz.wire import NOT_UTF8, encoded_field, requests, varint
from services.common.errors import InvalidPageToken
from services.common.pagination import decode_page_token, encode_page_token

T = TypeVar("T")

APPEND = message_service_pb2.AppendMessageRequest.DESCRIPTOR
LIST = conversation_service_pb2.ListConversationsRequest.DESCRIPTOR
METHODS = pytest.mark.parametrize("method", all_methods(), ids=str)


def sample(strategy: SearchStrategy[T], count: int = 40) -> list[T]:
    """Some of what a strategy makes; the same at every run."""
    made: list[T] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: T) -> None:
        made.append(value)

    collect()
    return made


@METHODS
def test_most_sound_requests_pass_validation(method: Method) -> None:
    made = sample(sound(method.request))
    passed = [message for message in made if not protovalidate.collect_violations(message)]
    assert len(passed) * 2 >= len(made)


@METHODS
def test_encoded_requests_are_of_every_kind(method: Method) -> None:
    decodable = []
    for data in sample(requests(method.request), 80):
        try:
            message = GetMessageClass(method.request).FromString(data)
        except DecodeError:
            decodable.append(False)
        else:
            decodable.append(True)
            message.DiscardUnknownFields()
    assert {True, False} <= set(decodable)


def test_known_values_are_used() -> None:
    known = {"conversation_id": ["5b7c9a4e-8f64-4b5c-9d5f-0e3a2b1c4d5e"]}
    ids = {message.conversation_id for message in sample(sound(APPEND, known))}  # type: ignore[attr-defined]
    assert known["conversation_id"][0] in ids


def test_wild_requests_reach_the_extremes() -> None:
    sizes = {message.page_size for message in sample(wild(LIST), 150)}  # type: ignore[attr-defined]
    assert {2**31 - 1, -(2**31), 201, -1} <= sizes
    roles = {message.role for message in sample(wild(APPEND), 150)}  # type: ignore[attr-defined]
    assert not roles <= {0, 1, 2}
    assert any("\0" in message.text for message in sample(wild(APPEND), 150))  # type: ignore[attr-defined]


def test_text_that_is_not_utf8_does_not_decode() -> None:
    for payload in NOT_UTF8:
        with pytest.raises(DecodeError):
            message_service_pb2.AppendMessageRequest.FromString(encoded_field(3, 2, payload))


def test_forged_tokens_have_a_checksum_that_holds() -> None:
    issued = encode_page_token("list", [1, "x"])
    assert encode(["list", 1, "x"]) == issued
    assert kinds_of([issued, "junk", encode(5)]) == ["list"]
    taken = [token for token in sample(page_tokens([issued]), 200) if _is_taken(token)]
    assert set(taken) - {issued}


def _is_taken(token: str) -> bool:
    try:
        decode_page_token("list", token)
    except InvalidPageToken:
        return False
    return True


def test_varints_are_those_of_the_specification() -> None:
    assert (varint(1), varint(150), varint(2**64 - 1)) == (b"\x01", b"\x96\x01", b"\xff" * 9 + b"\x01")
