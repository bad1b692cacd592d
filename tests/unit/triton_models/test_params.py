"""What the generator accepts and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.errors import InvalidInputError
from triton_models.runtime.params import (
    MAX_MESSAGES,
    MAX_MESSAGES_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_VALUES,
    Message,
    Params,
    parse_messages,
    parse_params,
)


def params(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_all_parameters_are_read() -> None:
    read = parse_params(
        params(
            max_tokens=5,
            temperature=0,
            top_p=0.5,
            seed=7,
            stop=["a", "b"],
            cache_key="tenant",
            ignore_eos=True,
        )
    )
    assert read == Params(
        max_tokens=5, temperature=0.0, top_p=0.5, seed=7, stop=("a", "b"), cache_key="tenant", ignore_eos=True
    )


@pytest.mark.parametrize("raw", [None, b"", b"{}", b'{"seed": null}'])
def test_parameters_left_out_have_defaults(raw: bytes | None) -> None:
    assert parse_params(raw) == Params()


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def wide(values: int) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": {"enum": list(range(values))}}}


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"max_tokens": "5"}, "PARAMS.max_tokens"),
        ({"max_tokens": 0}, "PARAMS.max_tokens"),
        ({"max_tokens": True}, "PARAMS.max_tokens"),
        ({"max_tokens": 1.5}, "PARAMS.max_tokens"),
        ({"temperature": -0.1}, "PARAMS.temperature"),
        ({"temperature": 2.1}, "PARAMS.temperature"),
        ({"temperature": float("nan")}, "PARAMS.temperature"),
        ({"temperature": float("inf")}, "PARAMS.temperature"),
        ({"top_p": 1.01}, "PARAMS.top_p"),
        ({"seed": -1}, "PARAMS.seed"),
        ({"seed": 2**32 - 1}, "PARAMS.seed"),
        ({"stop": "a"}, "PARAMS.stop"),
        ({"stop": [1]}, "PARAMS.stop[0]"),
        ({"stop": [""]}, "PARAMS.stop"),
        ({"stop": ["x"] * 9}, "PARAMS.stop"),
        ({"cache_key": "x" * 257}, "PARAMS.cache_key"),
        ({"ignore_eos": 1}, "PARAMS.ignore_eos"),
        ({"grammar": "x" * 20_000}, "PARAMS.grammar"),
        ({"grammar": "root ::= \0"}, "PARAMS.grammar"),
        ({"response_format": {"type": "xml"}}, "PARAMS.response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "PARAMS.response_format.json_schema.schema"),
        ({"response_format": deep(MAX_SCHEMA_DEPTH)}, "PARAMS.response_format"),
        ({"response_format": wide(MAX_SCHEMA_VALUES)}, "PARAMS.response_format"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= x"}, "PARAMS.grammar"),
        ({"n_predict": 5}, "PARAMS.n_predict"),
        ({"id_slot": 0}, "PARAMS.id_slot"),
        ({"cache_prompt": True}, "PARAMS.cache_prompt"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_params(params(**fields))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"invalid_argument: {field}: ")


@pytest.mark.parametrize("raw", [b"[]", b"nonsense", b'"x"', b"\xff", b"1", b"{" * 70_000, b"[" * 60_000])
def test_parameters_that_are_no_json_object_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInputError, match="PARAMS"):
        parse_params(raw)


def test_messages_are_read_in_order() -> None:
    raw = json.dumps(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why? 日本"}]
    ).encode()
    assert parse_messages(raw) == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Why? 日本"),
    )


@pytest.mark.parametrize(
    "value, field",
    [
        ([], "MESSAGES"),
        ({}, "MESSAGES"),
        ("hello", "MESSAGES"),
        ([{"role": "user"}], "MESSAGES[0]"),
        ([{"role": "user", "content": "x", "name": "y"}], "MESSAGES[0]"),
        (["x"], "MESSAGES[0]"),
        ([{"role": "tool", "content": "x"}], "MESSAGES[0].role"),
        ([{"role": ["user"], "content": "x"}], "MESSAGES[0].role"),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": 1}], "MESSAGES[1].content"),
        ([{"role": "user", "content": None}], "MESSAGES[0].content"),
        ([{"role": "user", "content": "a\0b"}], "MESSAGES[0].content"),
        ([{"role": "user", "content": "\ud800"}], "MESSAGES[0].content"),
        ([{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1), "MESSAGES"),
        ([{"role": "user", "content": "x" * MAX_MESSAGES_BYTES}], "MESSAGES"),
    ],
)
def test_wrong_messages_are_refused_by_their_place(value: object, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_messages(json.dumps(value).encode())
    assert caught.value.field == field


def test_missing_messages_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="missing"):
        parse_messages(None)


KEYS = ("role", "content", "max_tokens", "stop", "seed", "response_format", "type", "grammar", "x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(KEYS)), inner, max_size=3)
    ),
    max_leaves=6,
)


def refusal(parse: Callable[[bytes], object], raw: bytes) -> str:
    """The refusal's text; what is accepted counts as refused properly."""
    try:
        parse(raw)
    except InvalidInputError as error:
        return str(error)
    return "invalid_argument: "


@given(JSON)
def test_no_json_value_gets_past_the_checks_or_breaks_them(value: object) -> None:
    raw = json.dumps(value).encode()
    assert refusal(parse_messages, raw).startswith("invalid_argument: ")
    assert refusal(parse_params, raw).startswith("invalid_argument: ")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_checks(raw: bytes) -> None:
    assert refusal(parse_messages, raw).startswith("invalid_argument: ")
    assert refusal(parse_params, raw).startswith("invalid_argument: ")
