"""E-mail and IP addresses.

E-mail (RFC 5322 addr-spec without comments, quoted strings and domain literals; RFC 6531 letters in the
domain, Latin letters in the local part): a local part of at most 64 characters, at least two domain labels,
a last label of letters. Characters that cannot begin a name in practice (quotes, asterisks, slashes) are left
outside, so that Markdown around an address survives.

IP (RFC 791, RFC 4291, RFC 4007 for zones): dotted quads without leading zeros that are not part of a longer
dotted number, and IPv6 addresses with at least one digit: ``std::abs`` and ``dead::beef`` stay. A version
number of four parts cannot be told from an IPv4 address unless a letter stands before it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_LATIN = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_MAX_LOCAL = 64
_MAX_DOMAIN = 255
_LOCAL = re.compile(rf"[0-9A-Za-z{_LATIN}.!#$%&'*+/=?^_`{{|}}~\-]")
_LOCAL_FIRST = re.compile(rf"[0-9A-Za-z{_LATIN}_+]")
_DOMAIN = re.compile(rf"[\w.\-]{{1,{_MAX_DOMAIN}}}+")
_LABEL = re.compile(r"(?!-)[^\W_](?:[\w\-]{0,62})(?<!-)")
_ASCII_TOP = re.compile(r"xn--[0-9a-z]{2,59}+|[A-Za-z]{2,63}+", re.IGNORECASE)
_OTHER_TOP = re.compile(r"[^\W\d_a-zA-Z]{2,63}+")

_IPV4 = re.compile(r"(?<![0-9A-Za-z_.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z_]|\.[0-9])")
_IPV6 = re.compile(
    # Begins a run of its characters, or follows a label such as "host:".
    r"(?:(?<![0-9A-Za-z_:.])|(?<=[g-zG-Z]:))(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{3,46}+(?![0-9A-Za-z_:])"
)
_ZONE = re.compile(r"%[0-9A-Za-z][0-9A-Za-z._~\-]{0,31}+")


def find_email_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Spans of e-mail addresses."""
    at = text.find("@")
    while at != -1:
        start = _local_start(text, at)
        end = _domain_end(text, at + 1)
        if start < at and end is not None:
            yield start, end
        at = text.find("@", at + 1)


def _local_start(text: str, at: int) -> int:
    """Where the local part begins; ``at`` when there is none. Looks at no more than 64 characters."""
    start = at
    while start > 0 and at - start < _MAX_LOCAL and _LOCAL.match(text, start - 1):
        if text[start - 1 : start + 1] == "..":
            break
        start -= 1
    while start < at and not _LOCAL_FIRST.match(text, start):
        start += 1
    return start


def _domain_end(text: str, start: int) -> int | None:
    """Where the longest domain name from ``start`` ends; None when there is none."""
    found = _DOMAIN.match(text, start)
    if found is None:
        return None
    end = None
    position = start
    for index, label in enumerate(found.group().split(".")):
        if index:
            top = _ASCII_TOP.match(text, position) or _OTHER_TOP.match(text, position)
            if top is not None and _ends_name(text, top.end()):
                end = top.end()
        if _LABEL.fullmatch(label) is None:
            break
        position += len(label) + 1
    return end


def _ends_name(text: str, position: int) -> bool:
    """Whether a name can end here: what follows does not go on with the same label."""
    following = text[position : position + 1]
    if following == "-":
        # A dash after an address is punctuation unless the label goes on behind it.
        behind = text[position + 1 : position + 2]
        return not (behind.isascii() and behind.isalnum())
    return not (following.isascii() and (following.isalnum() or following == "_"))


def find_ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Spans of IPv4 and IPv6 addresses, the zone included."""
    for found in _IPV4.finditer(text):
        if _is_address(found.group()):
            yield found.span()
    for found in _IPV6.finditer(text):
        end = _ipv6_end(found.group())
        if end is not None:
            zone = _ZONE.match(text, found.start() + end)
            yield found.start(), zone.end() if zone else found.start() + end


def _ipv6_end(candidate: str) -> int | None:
    """How much of the candidate is an address, without the punctuation of a sentence behind it."""
    if candidate.count(":") < 2 or not any(character.isdigit() for character in candidate):
        return None
    for end in (len(candidate), len(candidate.rstrip(".")), len(candidate.rstrip(".:"))):
        if _is_address(candidate[:end]):
            return end
    return None


def _is_address(candidate: str) -> bool:
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return True
