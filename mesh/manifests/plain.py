"""What YAML means by text without quotes.

Kubernetes reads YAML 1.1 with Go's resolver (https://github.com/go-yaml/yaml/blob/v2/resolve.go), other tools
read 1.2; where the two differ nobody can be sure, so that such text must be in quotes.
"""

from __future__ import annotations

import enum
import functools
import re


class PlainKind(enum.Enum):
    """What YAML takes plain text for."""

    TEXT = "text"
    NULL = "nothing"
    BOOLEAN = "a boolean"
    WORD = "a boolean to some readers of YAML and text to others"
    INTEGER = "a number"
    DECIMAL = "a decimal number"
    NOTATION = "a number to some readers of YAML and another or text to others"


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_WORD = frozenset(
    form for word in ("y", "n", "yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper())
)
_STARTS = frozenset("+-.0123456789~nNtTfFyYoO")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+|\.[0-9]+[eE][-+]?[0-9]+)")
_NOTATION = re.compile(
    r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?"
    r"|\.inf|\.Inf|\.INF|\.nan|\.NaN|\.NAN)"
)


@functools.lru_cache(maxsize=65536)
def _kind(text: str) -> PlainKind:
    if text in _NULL:
        return PlainKind.NULL
    if text in _BOOLEAN:
        return PlainKind.BOOLEAN
    if text in _WORD:
        return PlainKind.WORD
    if _INTEGER.fullmatch(text):
        return PlainKind.INTEGER
    if _DECIMAL.fullmatch(text):
        return PlainKind.DECIMAL
    if _NOTATION.fullmatch(text):
        return PlainKind.NOTATION
    return PlainKind.TEXT


def plain_kind(text: str) -> PlainKind:
    """What YAML takes plain text for."""
    if text and (text[0] not in _STARTS or len(text) > 64):
        return PlainKind.TEXT
    return _kind(text)
