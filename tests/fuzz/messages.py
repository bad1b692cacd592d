"""Hypothesis strategies from message descriptors.

``sound`` follows the limits that the protos state (buf.validate), so that requests get past validation and
reach the code behind it. ``wild`` keeps to the types only. ``fuzz.wire`` goes below the types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzz.tokens import page_tokens

Known = Mapping[str, Sequence[str]]
"""Values that exist in the service, by the names of the fields they may stand in."""

# The module is built from a descriptor when it is imported.
_FIELD_RULES: Any = validate_pb2.field  # type: ignore[attr-defined]
_IGNORE_IF_ZERO_VALUE: int = validate_pb2.IGNORE_IF_ZERO_VALUE  # type: ignore[attr-defined]

_SERVERS_OWN = {field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IDENTIFIER}
_MASK = "google.protobuf.FieldMask"
_MOMENTS = ("google.protobuf.Timestamp", "google.protobuf.Duration")

MAX_DEPTH = 4
LONG = 300_000
"""Characters beyond which no string is made; above every limit of a request's text."""

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: ("sint32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: ("sfixed32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: ("fixed32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: ("sint64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: ("sfixed64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: ("uint64", 0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: ("fixed64", 0, 2**64 - 1),
}
NASTY = (
    "",
    "\0",
    "a\0b",
    " ",
    "\t\r\n",
    "\x7f\x80\x9f",
    "\ufeff",
    "\u202eabc",
    "\ud7ff\ue000\uffff",
    "\U0010ffff",
    "e\u0301\u0301\u0301" * 20,
    "👩‍👩‍👧‍👦",
    "'; drop table conversations; --",
    "%s%n%(x)s{0}{x}",
    "\\u0000\\x00",
    "../../../etc/passwd",
    "file:///etc/passwd",
    "__class__",
    "null",
    "NaN",
    "-0",
    "1e400",
    "{}",
    "[" * 500,
    "<script>alert(1)</script>",
    "%PDF-1.7",
    "00000000-0000-0000-0000-000000000000",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "{00000000-0000-0000-0000-000000000000}",
    "00000000000000000000000000000000",
)
"""Strings that break things."""


def sound(descriptor: Descriptor, known: Known | None = None) -> SearchStrategy[Message]:
    """Messages that hold most limits of their proto; message-wide rules are not looked at."""
    return _Builder(known or {}, wild=False).message(descriptor, 0)


def wild(descriptor: Descriptor, known: Known | None = None) -> SearchStrategy[Message]:
    """Messages with any value of the right type: extremes, undefined enum numbers, every kind of text."""
    return _Builder(known or {}, wild=True).message(descriptor, 0)


def rules_of(field: FieldDescriptor) -> Any:
    """The field's buf.validate.FieldRules."""
    return field.GetOptions().Extensions[_FIELD_RULES]


def _behaviour(field: FieldDescriptor) -> Sequence[int]:
    behaviour: Sequence[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return behaviour


class _Builder:
    def __init__(self, known: Known, *, wild: bool) -> None:
        self._known = known
        self._wild = wild

    def message(self, descriptor: Descriptor, depth: int) -> SearchStrategy[Message]:
        if not self._wild and descriptor.full_name in (
            "google.protobuf.Timestamp",
            "google.protobuf.Duration",
        ):
            return _moments(descriptor)
        fields = [field for field in descriptor.fields if depth < MAX_DEPTH or field.message_type is None]
        choices = [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1]
        loose = [field for field in fields if field.containing_oneof not in choices]
        needed = [field for field in loose if not self._wild and _is_needed(field)]
        parts = [
            st.fixed_dictionaries(
                {field.name: self.field(field, descriptor, depth) for field in needed},
                optional={
                    field.name: self.field(field, descriptor, depth) for field in loose if field not in needed
                },
            )
        ]
        for oneof in choices:
            members = [field for field in oneof.fields if field in fields]
            parts.append(
                st.one_of(
                    st.just({}),
                    *(
                        st.fixed_dictionaries({field.name: self.field(field, descriptor, depth)})
                        for field in members
                    ),
                )
            )
        return st.tuples(*parts).map(lambda found: _build(descriptor, found))

    def field(self, field: FieldDescriptor, parent: Descriptor, depth: int) -> SearchStrategy[Any]:
        rules = rules_of(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            keys, values = (
                field.message_type.fields_by_name["key"],
                field.message_type.fields_by_name["value"],
            )
            most = min(rules.map.max_pairs or 8, 40)
            return st.dictionaries(
                self.single(keys, rules.map.keys, parent, depth),
                self.single(values, rules.map.values, parent, depth),
                min_size=0 if self._wild else rules.map.min_pairs,
                max_size=most + 1 if self._wild else most,
            )
        if field.is_repeated:
            few = rules.repeated.min_items
            most = min(rules.repeated.max_items or 8, 12)
            items = self.single(field, rules.repeated.items, parent, depth)
            size = {"min_size": 0 if self._wild else few, "max_size": max(few, most)}
            if rules.repeated.unique and not self._wild:
                return st.lists(items, unique=True, **size)
            if not self._wild or field.message_type is not None:
                return st.lists(items, **size)
            over = min(rules.repeated.max_items or 8, 1000) + 1
            return st.one_of(st.lists(items, **size), items.map(lambda item: [item] * over))
        return self.single(field, rules, parent, depth)

    def single(
        self, field: FieldDescriptor, rules: Any, parent: Descriptor, depth: int
    ) -> SearchStrategy[Any]:
        """One value of the field, its repetition apart."""
        if field.message_type is not None:
            if field.message_type.full_name == _MASK:
                return self._mask(parent)
            return self.message(field.message_type, depth + 1)
        if field.enum_type is not None:
            return self._enum(field, rules)
        if field.type in _INTEGERS:
            return self._integer(field, rules)
        match field.type:
            case FieldDescriptor.TYPE_BOOL:
                return st.booleans()
            case FieldDescriptor.TYPE_STRING:
                return self._string(field, rules.string)
            case FieldDescriptor.TYPE_BYTES:
                return self._bytes(rules.bytes)
            case FieldDescriptor.TYPE_FLOAT:
                return self._float(rules.float, 32)
            case FieldDescriptor.TYPE_DOUBLE:
                return self._float(rules.double, 64)
            case _:
                raise NotImplementedError(f"{field.full_name}: no strategy for type {field.type}")

    def _enum(self, field: FieldDescriptor, rules: Any) -> SearchStrategy[int]:
        assert field.enum_type is not None
        defined = [number for number in field.enum_type.values_by_number if number not in rules.enum.not_in]
        if not self._wild:
            return st.sampled_from(defined)
        return st.one_of(st.sampled_from([0, -1, max(defined) + 1]), st.integers(-(2**31), 2**31 - 1))

    def _integer(self, field: FieldDescriptor, rules: Any) -> SearchStrategy[int]:
        kind, least, most = _INTEGERS[field.type]
        low, high = _bounds(getattr(rules, kind), least, most, 1)
        if not self._wild:
            return st.one_of(st.sampled_from([low, high]), st.integers(low, high))
        edges = {least, most, low - 1, high + 1, low, high, 0, 1}
        inside = sorted(edge for edge in edges if least <= edge <= most)
        return st.one_of(st.sampled_from(inside), st.integers(least, most))

    def _float(self, rules: Any, width: int) -> SearchStrategy[float]:
        if self._wild:
            return st.floats(width=width)  # type: ignore[arg-type]
        low, high = _bounds(rules, -1e6, 1e6, 2**-10)
        return st.floats(low, high).map(lambda value: max(low, min(high, value)))

    def _bytes(self, rules: Any) -> SearchStrategy[bytes]:
        most = min(rules.max_len or 64, LONG)
        if not self._wild:
            return st.binary(min_size=rules.min_len, max_size=max(rules.min_len, min(most, 256)))
        return st.one_of(st.binary(max_size=64), st.sampled_from([b"\0", b"%PDF-", b"\xff\xfe", b"x" * most]))

    def _string(self, field: FieldDescriptor, rules: Any) -> SearchStrategy[str]:
        known = list(self._known.get(field.name, ()))
        if self._wild:
            return self._wild_string(rules, known)
        if field.name == "page_token":
            return page_tokens(known)
        if rules.uuid or field.name == "id" or field.name.endswith("_id"):
            strangers = st.uuids().map(str)
            mine = st.sampled_from(known) if known else strangers
            return st.one_of(mine, mine.map(str.upper), strangers)
        most = rules.max_len or 64
        if rules.pattern:
            pattern = re.compile(rules.pattern, re.ASCII)
            made = st.from_regex(pattern, fullmatch=True).filter(
                lambda value: rules.min_len <= len(value) <= most
            )
            fitting = [value for value in known if len(value) <= most and pattern.search(value)]
            return st.one_of(st.sampled_from(fitting), made) if fitting else made
        options = [st.text(min_size=rules.min_len, max_size=max(rules.min_len, min(most, 40)))]
        if known:
            options.append(st.sampled_from(known))
        if most <= LONG:
            options.append(st.sampled_from("x🧀").map(lambda letter: letter * most))
        return st.one_of(options)

    def _wild_string(self, rules: Any, known: Sequence[str]) -> SearchStrategy[str]:
        most = min(rules.max_len or 64, LONG)
        options = [
            st.text(max_size=50),
            st.sampled_from(NASTY),
            st.sampled_from([most, most + 1]).map(lambda size: "x" * size),
        ]
        if known:
            options.append(st.sampled_from(list(known)))
        return st.one_of(options)

    def _mask(self, parent: Descriptor) -> SearchStrategy[Message]:
        """Paths of the messages beside the mask; the sound ones are of fields that callers may set."""
        beside = [field.message_type for field in parent.fields if field.message_type is not None]
        inside = [inner for message in beside if message.full_name != _MASK for inner in message.fields]
        names = [inner.name for inner in inside if self._wild or not _SERVERS_OWN & set(_behaviour(inner))]
        paths = st.sampled_from(names) if names else st.just("x")
        if self._wild:
            paths = st.one_of(paths, st.sampled_from(NASTY), st.just("*"))
        mask = next(message for message in beside if message.full_name == _MASK)
        some = st.lists(paths, min_size=0 if self._wild else 1, max_size=3 if self._wild else 1)
        return some.map(lambda chosen: _build(mask, [{"paths": chosen}]))


def _is_needed(field: FieldDescriptor) -> bool:
    """Whether a message without the field breaks its rules."""
    rules = rules_of(field)
    if rules.ignore == _IGNORE_IF_ZERO_VALUE:
        return False
    kind = rules.WhichOneof("type")
    low = getattr(getattr(rules, kind), "gte", 0) if kind in ("int32", "int64", "uint32", "uint64") else 0
    return bool(
        rules.required
        or rules.string.uuid
        or rules.string.min_len
        or rules.bytes.min_len
        or 0 in rules.enum.not_in
        or rules.repeated.min_items
        or low > 0
    )


def _bounds(rules: Any, least: Any, most: Any, step: Any) -> tuple[Any, Any]:
    """The lowest and highest value that gt, gte, lt and lte allow."""
    low = rules.gte if rules.HasField("gte") else rules.gt + step if rules.HasField("gt") else least
    high = rules.lte if rules.HasField("lte") else rules.lt - step if rules.HasField("lt") else most
    return low, high


def _moments(descriptor: Descriptor) -> SearchStrategy[Message]:
    """Times and durations; some out of the range that their documentation gives."""
    seconds = st.one_of(
        st.integers(0, 4_000),
        st.integers(1_600_000_000, 1_900_000_000),
        st.sampled_from([-1, 253_402_300_799, 253_402_300_800, -62_135_596_801, 2**63 - 1, -(2**63)]),
    )
    nanos = st.sampled_from([0, 0, 1, 999_999_999, 1_000_000_000, -1])
    return st.tuples(seconds, nanos).map(
        lambda found: _build(descriptor, [{"seconds": found[0], "nanos": found[1]}])
    )


def _build(descriptor: Descriptor, parts: Sequence[Mapping[str, Any]]) -> Message:
    message = GetMessageClass(descriptor)()
    for name, value in ((name, value) for part in parts for name, value in part.items()):
        field = descriptor.fields_by_name[name]
        holder = getattr(message, name)
        if isinstance(value, dict):
            _fill_map(holder, value)
        elif isinstance(value, list):
            holder.extend(value)
        elif field.message_type is not None:
            holder.CopyFrom(value)
            holder.SetInParent()
        else:
            setattr(message, name, _fitting(field, value))
    return message


def _fill_map(holder: Any, value: Mapping[Any, Any]) -> None:
    for key, item in value.items():
        if isinstance(item, Message):
            holder[key].CopyFrom(item)
        else:
            holder[key] = item


def _fitting(field: FieldDescriptor, value: Any) -> Any:
    """A float field takes what a double holds only where it is in range."""
    if field.type == FieldDescriptor.TYPE_FLOAT and math.isfinite(value) and abs(value) > 3.4e38:
        return math.copysign(math.inf, value)
    return value
