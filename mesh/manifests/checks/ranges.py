"""Numbers, durations, protocols and patterns."""

from __future__ import annotations

import re
import warnings
from datetime import timedelta

from mesh.manifests.common import Percent, PortSelector
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message, shown

PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP")
_HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_OTHER_PROTOCOLS = ("MONGO", "REDIS", "MYSQL", "UDP", "HBONE")
_MILLISECOND = timedelta(milliseconds=1)


def is_http(protocol: str | None) -> bool:
    """Whether requests on a port can be told apart."""
    return (protocol or "").upper() in _HTTP


def is_tls(protocol: str | None) -> bool:
    """Whether a port is TLS from the first byte."""
    return (protocol or "").upper() in ("HTTPS", "TLS")


def check_protocol(message: Message, protocol: str | None, findings: Findings) -> None:
    """A protocol that proxies speak. Istio guesses where none is written."""
    if protocol is None:
        findings.field(message, "protocol", "is missing: protocols are not guessed")
    elif protocol.upper() in _OTHER_PROTOCOLS:
        findings.field(
            message, "protocol", f"{protocol} is not supported: write one of {', '.join(PROTOCOLS)}"
        )
    elif protocol.upper() not in PROTOCOLS:
        findings.field(message, "protocol", f"must be one of {', '.join(PROTOCOLS)}, not `{shown(protocol)}`")


def check_port(
    message: Message, name: str, port: int | None, findings: Findings, key: str | None = None
) -> None:
    """1 to 65535; absent is wrong."""
    if port is None:
        findings.field(message, name, "is missing", key)
    elif not 1 <= port <= 65535:
        findings.field(message, name, f"must be from 1 to 65535, not {port}", key)


def check_optional_port(message: Message, name: str, port: int | None, findings: Findings) -> None:
    """1 to 65535, if it is there."""
    if port is not None:
        check_port(message, name, port, findings)


def check_port_selector(message: Message, name: str, port: PortSelector | None, findings: Findings) -> None:
    """A port by number, if it is there."""
    if port is not None:
        check_port(port, "number", port.number, findings)


def check_duration(message: Message, name: str, value: timedelta | None, findings: Findings) -> None:
    """At least a millisecond, and in whole ones, if it is there."""
    if value is None:
        return
    if value < _MILLISECOND:
        findings.field(message, name, "must be at least 1ms")
    elif value % _MILLISECOND:
        findings.field(message, name, "must be in whole milliseconds")


def check_percent(message: Message, name: str, value: float | None, findings: Findings) -> None:
    """0 to 100, if it is there."""
    if value is not None and not 0 <= value <= 100:
        findings.field(message, name, f"must be from 0 to 100, not {value:g}")


def check_percentage(percentage: Percent | None, findings: Findings) -> None:
    """0, or 0.0001 to 100, if it is there."""
    if percentage is None or percentage.value is None:
        return
    if not 0 <= percentage.value <= 100 or 0 < percentage.value < 0.0001:
        findings.field(percentage, "value", f"must be 0, or from 0.0001 to 100, not {percentage.value:g}")


def check_not_negative(message: Message, names: tuple[str, ...], findings: Findings) -> None:
    """Whole numbers that must not be negative."""
    for name in names:
        value = getattr(message, name)
        if value is not None and value < 0:
            findings.field(message, name, f"must not be negative, not {value}")


_NOT_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|\(|P=|#)|\\[1-9]|[*+?}]\+")
_TRANSLATED = (
    (re.compile(r"\\Q.*?(?:\\E|$)", re.DOTALL), "q"),
    (
        re.compile(
            r"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word"
            r"|xdigit):\]"
        ),
        "a",
    ),
    (re.compile(r"\\[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])"), "a"),
    (re.compile(r"\\z"), r"\\Z"),
    (re.compile(r"\\C"), "."),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?\)"), ""),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?:"), "(?:"),
    (re.compile(r"\(\?<(?=[A-Za-z_])"), "(?P<"),
)
"""What RE2 has and Python spells otherwise, made into something that is as valid."""


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern of RE2, as far as Python can tell (https://github.com/google/re2/wiki/Syntax)."""
    if not pattern:
        return "a pattern must not be empty"
    if len(pattern) > 1024:
        return "a pattern must not be longer than 1024 characters"
    bare = re.sub(r"\\\\", "b", pattern)
    for there, instead in _TRANSLATED:
        bare = there.sub(instead, bare)
    unsupported = _NOT_RE2.search(re.sub(r"\[[^\]]*\]", "c", bare))
    if unsupported is not None:
        return f"`{shown(pattern)}` uses `{unsupported[0]}`, which RE2 does not have"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(bare)
    except (re.error, OverflowError, RecursionError) as error:
        return f"`{shown(pattern)}` is not a pattern: {error}"
    if any(int(count) > 1000 for count in re.findall(r"\{(\d{1,9})(?:,\d*)?\}", bare)):
        return f"`{shown(pattern)}` repeats more than 1000 times, which RE2 does not allow"
    return None


def check_pattern(message: Message, name: str, pattern: str, findings: Findings) -> None:
    """A pattern of RE2."""
    problem = pattern_problem(pattern)
    if problem is not None:
        findings.field(message, name, problem)


def is_prime(number: int) -> bool:
    """Whether a number below 2^32 is prime."""
    if number < 4:
        return number in (2, 3)
    return number % 2 == 1 and all(number % factor for factor in range(3, int(number**0.5) + 1, 2))
