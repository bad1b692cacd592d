"""Small values that several parts of a proxy's configuration share."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MatchKind(enum.Enum):
    """How a string is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    """RE2, the whole string."""
    PRESENT = "present"
    """Anything, as long as it is there; `text` is empty."""


@dataclass(frozen=True, slots=True)
class StringMatcher:
    """A comparison with a string."""

    kind: MatchKind
    text: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class NamedMatcher:
    """A comparison with the value of a header or a query parameter."""

    name: str
    matcher: StringMatcher
    invert: bool = False
    """True when it must not match; an absent header then passes."""


@dataclass(frozen=True, slots=True)
class ClaimMatcher:
    """A comparison with a claim of the caller's token, which may be a string or a list of them."""

    path: tuple[str, ...]
    """The names on the way to it."""
    matcher: StringMatcher
    invert: bool = False
    """True when it must not match; a claim or token that is absent then passes."""


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """Where a workload runs: `region/zone/subzone`."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


NOWHERE = Locality()
"""The locality of what has none."""


class Protocol(enum.Enum):
    """What is spoken on a port, as far as routing has to know."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-WEB"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"

    @property
    def is_http(self) -> bool:
        """Whether requests on it can be routed one by one."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_http2(self) -> bool:
        """Whether it is HTTP/2 from the first byte."""
        return self in (Protocol.HTTP2, Protocol.GRPC)
