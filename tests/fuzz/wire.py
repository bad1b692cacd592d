"""Encoded messages that no well-behaved client sends (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzz.messages import Known, sound, wild

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
NOT_UTF8 = (
    b"\xff",
    b"\xc0\x80",  # an overlong U+0000
    b"\xed\xa0\x80",  # a lone high surrogate
    b"\xed\xb0\x80",  # a lone low surrogate
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xe2\x82",  # cut off
)


def varint(number: int) -> bytes:
    """A varint."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encoded_field(number: int, kind: int, payload: bytes) -> bytes:
    """A field; ``payload`` gets a length where its wire type has one."""
    length = varint(len(payload)) if kind == LENGTH else b""
    return varint(number << 3 | kind) + length + payload


def requests(descriptor: Descriptor, known: Known | None = None) -> SearchStrategy[bytes]:
    """Encoded requests, from sound to hopeless."""
    good = sound(descriptor, known).map(lambda message: message.SerializeToString())
    odd = wild(descriptor, known).map(lambda message: message.SerializeToString())
    return st.one_of(good, good, odd, _damaged(descriptor, good), st.binary(max_size=64))


def _damaged(descriptor: Descriptor, good: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    return st.one_of(
        st.tuples(good, _unknown_fields(descriptor)).map(b"".join),
        st.tuples(_wrong_fields(descriptor), good).map(b"".join),
        st.tuples(good, _wrong_fields(descriptor)).map(b"".join),
        st.tuples(good, st.integers(0, 400)).map(lambda found: found[0][: found[1]]),
        st.tuples(good, st.integers(0, 10_000), st.integers(1, 255)).map(lambda found: _flipped(*found)),
        st.tuples(good, st.sampled_from(_HOPELESS)).map(b"".join),
    )


_HOPELESS = (
    b"\xff" * 11,  # a varint without an end
    b"\x0a\xff\xff\xff\xff\x0f",  # a length beyond the end
    b"\x00\x00",  # field 0
    encoded_field(2**29 - 1, LENGTH, b""),
    b"\x0b" * 200,  # groups that are never closed
    b"\x0c",  # a group that was never opened
    b"\x0e",  # wire types that do not exist
    b"\x0f",
)


def _flipped(data: bytes, place: int, mask: int) -> bytes:
    if not data:
        return bytes([mask])
    changed = bytearray(data)
    changed[place % len(changed)] ^= mask
    return bytes(changed)


def _payload(kind: int) -> SearchStrategy[bytes]:
    match kind:
        case 0:
            return st.integers(0, 2**64 - 1).map(varint)
        case 1:
            return st.binary(min_size=8, max_size=8)
        case 5:
            return st.binary(min_size=4, max_size=4)
        case _:
            return st.binary(max_size=32)


def _some_field(numbers: SearchStrategy[int]) -> SearchStrategy[bytes]:
    return st.sampled_from([VARINT, FIXED64, LENGTH, FIXED32]).flatmap(
        lambda kind: st.tuples(numbers, st.just(kind), _payload(kind)).map(
            lambda found: encoded_field(*found)
        )
    )


def _unknown_fields(descriptor: Descriptor) -> SearchStrategy[bytes]:
    defined = set(descriptor.fields_by_number)
    numbers = st.one_of(st.integers(1, 200), st.integers(1, 2**29 - 1)).filter(lambda n: n not in defined)
    return _some_field(numbers)


def _wrong_fields(descriptor: Descriptor) -> SearchStrategy[bytes]:
    """Defined fields with another wire type, text that is not UTF-8, or messages nested without end."""
    options: list[SearchStrategy[bytes]] = [st.just(b"")]
    if descriptor.fields:
        options.append(_some_field(st.sampled_from(sorted(descriptor.fields_by_number))))
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            options.append(_with_payloads(field, NOT_UTF8))
        elif field.message_type is not None:
            options.append(_with_payloads(field, [_nested(field.number, 50), _nested(field.number, 2000)]))
    return st.one_of(options)


def _with_payloads(field: FieldDescriptor, payloads: Sequence[bytes]) -> SearchStrategy[bytes]:
    number = field.number
    return st.sampled_from(payloads).map(lambda payload: encoded_field(number, LENGTH, payload))


def _nested(number: int, depth: int) -> bytes:
    payload = b""
    for _ in range(depth):
        payload = encoded_field(number, LENGTH, payload)
    return payload
