"""Small values that every kind of xDS resource is made of."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from google.protobuf import any_pb2, duration_pb2, wrappers_pb2
from google.protobuf.message import Message

from mesh.ir.values import MatchKind, NamedMatcher, StringMatcher
from mesh.xds.protos import (
    address_pb2,
    base_pb2,
    config_source_pb2,
    percent_pb2,
    regex_pb2,
    route_components_pb2,
    string_pb2,
)

Proto = Any
"""A message of Envoy's API. Its generated classes have no published types."""

_MICROSECOND = timedelta(microseconds=1)
UNLIMITED = 2**32 - 1
ZERO = timedelta()


def pack(message: Message) -> any_pb2.Any:
    """The message inside an Any, its maps in order: equal messages become equal bytes."""
    return any_pb2.Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


@cache
def empty(kind: type[Message]) -> any_pb2.Any:
    """A packed message of that class with nothing set; shared, so nobody may change it."""
    return pack(kind())


def duration(value: timedelta) -> duration_pb2.Duration:
    """Exact to the microsecond."""
    seconds, rest = divmod(value // _MICROSECOND, 1_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1000)


def maybe_duration(value: timedelta | None) -> duration_pb2.Duration | None:
    """None for a field that is left out."""
    return None if value is None else duration(value)


def number(value: int) -> wrappers_pb2.UInt32Value:
    """A UInt32Value, which tells zero from absent."""
    return wrappers_pb2.UInt32Value(value=value)


def maybe_number(value: int | None) -> wrappers_pb2.UInt32Value | None:
    """None for a field that is left out."""
    return None if value is None else number(value)


def boolean(value: bool) -> wrappers_pb2.BoolValue:
    """A BoolValue, which tells False from absent."""
    return wrappers_pb2.BoolValue(value=value)


def fraction(percent: float) -> Proto:
    """A FractionalPercent, exact to a ten-thousandth of a percent."""
    return percent_pb2.FractionalPercent(
        numerator=round(percent * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
    )


def runtime_fraction(percent: float) -> Proto:
    """A RuntimeFractionalPercent that no runtime key can change."""
    return base_pb2.RuntimeFractionalPercent(default_value=fraction(percent))


@cache
def over_ads(*, wait: bool = True) -> Proto:
    """A ConfigSource: the stream the resource itself came over. Shared, so nobody may change it.

    Args:
        wait: Whether what needs it waits for it however long it takes; else for Envoy's 15 seconds.
    """
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=duration_pb2.Duration() if wait else None,
    )


def address_of(host: str, port: int) -> Proto:
    """A socket address, or, for an absolute path, a Unix socket."""
    if host.startswith("/"):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=host))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def string_match(matcher: StringMatcher) -> Proto:
    """A StringMatcher. Raises ValueError for PRESENT, which each user expresses in its own way."""
    text, ignore_case = matcher.text, matcher.ignore_case
    if matcher.kind is MatchKind.REGEX:
        return regex_match(text, ignore_case)
    if matcher.kind is MatchKind.PRESENT:
        raise ValueError("being present is not a comparison with a string")
    if not text and matcher.kind in (MatchKind.PREFIX, MatchKind.SUFFIX, MatchKind.CONTAINS):
        # Envoy refuses an empty prefix; everything has one.
        return regex_match(".*")
    return string_pb2.StringMatcher(ignore_case=ignore_case, **{matcher.kind.value: text})


def regex_match(text: str, ignore_case: bool = False) -> Proto:
    """A StringMatcher by RE2; Envoy does not apply `ignore_case` to expressions, so it is written into this
    one."""
    return string_pb2.StringMatcher(safe_regex=regex(text, ignore_case))


def regex(text: str, ignore_case: bool = False) -> Proto:
    """A RegexMatcher."""
    return regex_pb2.RegexMatcher(regex=f"(?i){text}" if ignore_case else text)


def header_match(named: NamedMatcher) -> Proto:
    """A HeaderMatcher; an inverted one also passes when the header is absent."""
    if named.matcher.kind is MatchKind.PRESENT:
        return route_components_pb2.HeaderMatcher(
            name=named.name, present_match=True, invert_match=named.invert
        )
    return route_components_pb2.HeaderMatcher(
        name=named.name,
        string_match=string_match(named.matcher),
        invert_match=named.invert,
        treat_missing_header_as_empty=named.invert,
    )
