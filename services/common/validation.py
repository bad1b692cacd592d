"""Checks requests before a handler sees them: decodable, no unknown fields, every limit of the proto held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import protovalidate
from google.protobuf.message import DecodeError, Message

from services.common.errors import FieldViolation, InvalidRequest

_MAX_VIOLATIONS = 32


def decode(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """The request in ``data``, checked.

    gRPC's own deserialisation turns garbage into INTERNAL; doing it here makes it the client's fault.

    Raises:
        InvalidRequest: undecodable, with fields the server does not know, or against a limit.
    """
    try:
        message = deserialize(data)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("the request is not a valid encoding of its message") from error
    if not isinstance(message, Message) or not message.DESCRIPTOR.file.package.startswith("causeway."):
        return message
    check(message)
    return message


def check(message: Message) -> None:
    """Raises InvalidRequest unless the message holds every rule of its proto, and no unknown field."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise InvalidRequest("the request has fields that this server does not know")
    violations = [
        FieldViolation(_path(found.proto.field), found.proto.message or found.proto.rule_id)
        for found in protovalidate.collect_violations(message)[:_MAX_VIOLATIONS]
    ]
    if violations:
        first = violations[0]
        raise InvalidRequest(f"{first.field}: {first.description}".lstrip(": "), violations=violations)


def _path(field: Any) -> str:
    """A FieldPath as people write it: ``header.labels["x"]``, ``texts[3]``."""
    parts: list[str] = []
    for element in getattr(field, "elements", None) or ():
        parts.append(f".{element.field_name}" if parts else element.field_name)
        subscript = getattr(element, "subscript", None)
        if subscript is None:
            continue
        kind, value = getattr(subscript, "field", None), getattr(subscript, "value", subscript)
        parts.append(f'["{value}"]' if kind == "string_key" or isinstance(value, str) else f"[{value}]")
    return "".join(parts)
