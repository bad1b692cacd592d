"""Checks requests before a handler sees them: decodable, no unknown fields, every limit of the proto held.

Every refusal names the fields that it is about, as paths from the request. What is not about one field is
about the request as a whole, whose path is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import protovalidate
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.common.errors import FieldViolation, InvalidRequest

MAX_REQUEST_BYTES = 8 << 20
"""Of one message. Above every limit of the protos, so that an oversized field is told by its name; a larger
message is not even decoded."""

_MAX_VIOLATIONS = 32
_UNKNOWN_FIELDS = "the request has fields that this server does not know"
_SEARCHED = 16 << 10
"""Bytes of a request up to which its unknown fields are looked for: Python makes an object of each, and eight
megabytes hold four million."""


def decode(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """The request in ``data``, checked.

    gRPC's own deserialisation turns garbage into INTERNAL; doing it here makes it the client's fault.

    Raises:
        InvalidRequest: too large, undecodable, with fields the server does not know, or against a limit.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise InvalidRequest.whole(f"the request has {len(data)} bytes; the most is {MAX_REQUEST_BYTES}")
    try:
        message = deserialize(data)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest.whole("the request is not a valid encoding of its message") from error
    if not isinstance(message, Message) or not message.DESCRIPTOR.file.package.startswith("causeway."):
        return message
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        if len(data) > _SEARCHED:
            raise InvalidRequest.whole(_UNKNOWN_FIELDS)
        # Finding out which takes longer, and so is left to the requests that have some.
        raise _with_unknown_fields(deserialize(data))
    _check(message)
    return message


def _check(message: Message) -> None:
    violations = [
        FieldViolation(_path(found.proto.field), found.proto.message or found.proto.rule_id)
        for found in protovalidate.collect_violations(message)[:_MAX_VIOLATIONS]
    ]
    if violations:
        first = violations[0]
        raise InvalidRequest(f"{first.field}: {first.description}".lstrip(": "), violations=violations)


def _with_unknown_fields(message: Message) -> InvalidRequest:
    paths = list(islice(dict.fromkeys(unknown_fields(message)), _MAX_VIOLATIONS))
    if not paths:
        return InvalidRequest.whole(_UNKNOWN_FIELDS)
    violations = [FieldViolation(path, "is not known to this server") for path in paths]
    return InvalidRequest(f"{_UNKNOWN_FIELDS}: {', '.join(paths)}", violations=violations)


def unknown_fields(message: Message, path: str = "") -> Iterator[str]:
    """Paths of the fields, each of which ends in a number, since that is all that is known of it."""
    unknown_set: Any = UnknownFieldSet(message)  # its published types lack the iteration
    for unknown in unknown_set:
        yield f"{path}{unknown.field_number}"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key, item in value.items():
                    name = f'"{key}"' if isinstance(key, str) else str(key)
                    yield from unknown_fields(item, f"{path}{field.name}[{name}].")
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from unknown_fields(item, f"{path}{field.name}[{index}].")
        else:
            yield from unknown_fields(value, f"{path}{field.name}.")


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
