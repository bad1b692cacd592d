"""Checks what a caller sends the generator: the messages and the sampling parameters.

Everything an engine would misread, crash on or silently ignore is refused here, with the field's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_models.errors import InvalidInputError

MAX_MESSAGES = 256
MAX_MESSAGES_BYTES = 256 * 1024
MAX_PARAMS_BYTES = 64 * 1024
MAX_TOKENS_DEFAULT = 512
MAX_TOKENS_LIMIT = 32_768
MAX_STOPS = 8
MAX_STOP_BYTES = 256
MAX_GRAMMAR_BYTES = 4 * 1024
MAX_CACHE_KEY_BYTES = 256
MAX_SCHEMA_DEPTH = 24
"""The engine turns a schema into a grammar recursively; depth is its stack."""
MAX_SCHEMA_VALUES = 300
"""JSON values in a schema. Time grows with the square: 3000 take the engine 13 s, and all others wait."""

ROLES = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of the conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Checked sampling parameters, with their defaults."""

    max_tokens: int = MAX_TOKENS_DEFAULT
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int | None = None
    stop: tuple[str, ...] = ()
    cache_key: str = ""
    """Requests with the same key may reuse one another's prompt work; an empty key never reuses anything."""
    ignore_eos: bool = False
    response_format: Mapping[str, Any] | None = None
    grammar: str | None = None
    continue_from: int | None = None
    """The last message is the assistant's, and the beginning of the answer, of so many tokens: go on behind
    it. ``max_tokens`` counts them, too. ``None``: the answer is a new message."""
    probe: bool = False
    """Ask for the engine's state instead of an answer."""

    @property
    def tokens_left(self) -> int:
        """How many tokens may still be generated; none or less when the beginning has used them up."""
        return self.max_tokens - (self.continue_from or 0)


def parse_messages(raw: bytes | None) -> tuple[Message, ...]:
    """The conversation in MESSAGES: a JSON list of ``{"role", "content"}``. Raises ``InvalidInputError``."""
    if raw is None:
        raise InvalidInputError("MESSAGES", "is missing")
    value = _json(raw, "MESSAGES", MAX_MESSAGES_BYTES)
    if not isinstance(value, list) or not value:
        raise InvalidInputError("MESSAGES", "must be a JSON list with at least one message")
    if len(value) > MAX_MESSAGES:
        raise InvalidInputError(
            "MESSAGES", f"{len(value)} messages are more than the limit of {MAX_MESSAGES}"
        )
    return tuple(_message(item, index) for index, item in enumerate(value))


def _message(item: object, index: int) -> Message:
    where = f"MESSAGES[{index}]"
    if not isinstance(item, dict) or set(item) != {"role", "content"}:
        raise InvalidInputError(where, 'must be an object with exactly "role" and "content"')
    role, content = item["role"], item["content"]
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidInputError(f"{where}.role", f"must be one of {', '.join(sorted(ROLES))}")
    return Message(role=role, content=_text(content, f"{where}.content"))


def check_continuation(messages: Sequence[Message], params: Params) -> None:
    """Raises ``InvalidInputError`` unless there is something to go on with when that is asked for."""
    if params.continue_from is None:
        return
    if messages[-1].role != "assistant" or not messages[-1].content:
        raise InvalidInputError(
            "PARAMS.continue_from", "the last message must be the assistant's: the beginning of the answer"
        )


def parse_params(raw: bytes | None) -> Params:
    """The parameters in PARAMS, a JSON object; without it, the defaults. Raises ``InvalidInputError``."""
    if not raw:
        return Params()
    value = _json(raw, "PARAMS", MAX_PARAMS_BYTES)
    if not isinstance(value, dict):
        raise InvalidInputError("PARAMS", "must be a JSON object")
    unknown = sorted(set(value) - set(_CHECKS))
    if unknown:
        raise InvalidInputError(f"PARAMS.{unknown[0][:64]}", f"unknown; known: {', '.join(sorted(_CHECKS))}")
    checked = {key: _CHECKS[key](item, f"PARAMS.{key}") for key, item in value.items() if item is not None}
    params = Params(**checked)
    if params.grammar is not None and params.response_format is not None:
        raise InvalidInputError("PARAMS.grammar", "cannot be combined with response_format")
    return params


def _json(raw: bytes, field: str, limit: int) -> object:
    if len(raw) > limit:
        raise InvalidInputError(field, f"{len(raw)} bytes are more than the limit of {limit}")
    try:
        value: object = json.loads(raw)
    except UnicodeDecodeError as error:
        raise InvalidInputError(field, f"not valid UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(field, f"not valid JSON: {error}") from None
    return value


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(field, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(field, "holds half of a surrogate pair") from None
    if "\0" in value:
        # The engine's prompts are C strings: the rest would be lost without a word.
        raise InvalidInputError(field, "must not contain the NUL character")
    return value


def _short_text(limit: int) -> Callable[[object, str], str]:
    def check(value: object, field: str) -> str:
        text = _text(value, field)
        if len(text.encode()) > limit:
            raise InvalidInputError(field, f"is longer than {limit} bytes")
        return text

    return check


def _integer(low: int, high: int) -> Callable[[object, str], int]:
    def check(value: object, field: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInputError(field, f"must be an integer from {low} to {high}")
        return value

    return check


def _number(low: float, high: float) -> Callable[[object, str], float]:
    def check(value: object, field: str) -> float:
        # The comparison is also what refuses NaN, which Python's JSON parser lets through.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidInputError(field, f"must be a number from {low:g} to {high:g}")
        return float(value)

    return check


def _boolean(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(field, "must be true or false")
    return value


def _stop(value: object, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_STOPS:
        raise InvalidInputError(field, f"must be a list of at most {MAX_STOPS} strings")
    stops = tuple(_short_text(MAX_STOP_BYTES)(item, f"{field}[{index}]") for index, item in enumerate(value))
    if "" in stops:
        raise InvalidInputError(field, "must not contain an empty string")
    return stops


def _response_format(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        raise InvalidInputError(f"{field}.type", "must be text, json_object or json_schema")
    depth, values = _extent(value)
    if depth > MAX_SCHEMA_DEPTH:
        raise InvalidInputError(field, f"is nested more than {MAX_SCHEMA_DEPTH} levels deep")
    if values > MAX_SCHEMA_VALUES:
        raise InvalidInputError(field, f"holds {values} values, more than the limit of {MAX_SCHEMA_VALUES}")
    if value["type"] == "json_schema":
        described = value.get("json_schema")
        if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
            raise InvalidInputError(f"{field}.json_schema.schema", "must be an object")
    return value


def _extent(value: object) -> tuple[int, int]:
    """Levels of nesting and number of values, without recursion: the value comes from a stranger."""
    deepest, count, pending = 0, 0, [(value, 0)]
    while pending:
        item, level = pending.pop()
        deepest, count = max(deepest, level), count + 1
        children: Sequence[object] = ()
        if isinstance(item, dict):
            children = list(item.values())
        elif isinstance(item, list):
            children = item
        pending.extend((child, level + 1) for child in children)
    return deepest, count


_CHECKS: Mapping[str, Callable[[object, str], Any]] = {
    "max_tokens": _integer(1, MAX_TOKENS_LIMIT),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "seed": _integer(0, 2**32 - 2),  # the engine reads 2**32 - 1 as "choose one"
    "stop": _stop,
    "cache_key": _short_text(MAX_CACHE_KEY_BYTES),
    "ignore_eos": _boolean,
    "response_format": _response_format,
    "grammar": _short_text(MAX_GRAMMAR_BYTES),
    "continue_from": _integer(0, MAX_TOKENS_LIMIT),
    "probe": _boolean,
}
