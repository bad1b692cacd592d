"""Payment card numbers and IBANs: both carry check digits.

Cards (ISO/IEC 7812-1): 13 to 19 digits with a right Luhn digit, in a length that a network of their prefix
issues, written in one piece or in the groups that are printed on cards (4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4)
with the same separator throughout. A number that goes on after a decimal point is none.

IBANs (ISO 13616): a country of the registry, its length, and check digits that are right modulo 97; written
in one piece or in groups of four.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_SEPARATOR = "[ .\\-\u00a0\u202f]"
_CARD_START = re.compile(r"(?<![0-9A-Za-z_])(?<![0-9][.,])[2-6][0-9]{3}")
_CARD_SHAPES = tuple(
    re.compile(shape + r"(?![0-9A-Za-z_])(?![.,][0-9])")
    for shape in (
        r"[0-9]{13,19}+",
        rf"[0-9]{{4}}({_SEPARATOR})[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{3}}",
        rf"[0-9]{{4}}({_SEPARATOR})[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}",
        rf"[0-9]{{4}}({_SEPARATOR})[0-9]{{6}}\1[0-9]{{4,5}}+",
    )
)
_NOT_DIGITS = re.compile(r"[^0-9]+")
_LONG = frozenset(range(16, 20))

_IBAN_START = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}")
_IBAN_SEPARATORS = frozenset(" -\u00a0\u202f")
_LENGTHS: Mapping[str, int] = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""The IBAN registry (https://www.swift.com/standards/data-standards/iban): country to length."""


def find_credit_cards(text: str) -> Iterator[tuple[int, int]]:
    """Spans of payment card numbers."""
    for start in _CARD_START.finditer(text):
        for shape in _CARD_SHAPES:
            found = shape.match(text, start.start())
            if found is not None and _is_card(_NOT_DIGITS.sub("", found.group())):
                yield found.span()


def _is_card(number: str) -> bool:
    return len(number) in _issued_lengths(number) and _luhn(number)


def _issued_lengths(number: str) -> frozenset[int]:
    """Lengths that the networks issue under the number's prefix."""
    two, four = int(number[:2]), int(number[:4])
    if number[0] == "4":
        return frozenset({13, 16, 19})
    if two in (34, 37):
        return frozenset({15})
    if two in (30, 36, 38, 39):
        return _LONG | {14}
    if 2221 <= four <= 2720 or 51 <= two <= 55:
        return frozenset({16})
    if 2200 <= four <= 2204 or 3528 <= four <= 3589 or two >= 50:
        return _LONG
    return frozenset()


def _luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for index, digit in enumerate(reversed(number)):
        value = int(digit) << (index & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of IBANs."""
    for start in _IBAN_START.finditer(text):
        length = _LENGTHS.get(start.group()[:2])
        if length is None:
            continue
        end = _iban_end(text, start.start(), length)
        if end is not None and _mod97(text[start.start() : end]):
            yield start.start(), end


def _iban_end(text: str, start: int, length: int) -> int | None:
    """Where ``length`` letters and digits from ``start`` end; None when they do not stand there.

    Separators count only between groups of four. Looks at no more than two characters for each of ``length``.
    """
    taken, position = 0, start
    while taken < length:
        character = text[position : position + 1]
        between_groups = taken > 0 and taken % 4 == 0
        if character in _IBAN_SEPARATORS and between_groups and text[position - 1] not in _IBAN_SEPARATORS:
            position += 1
            continue
        if not (character.isascii() and character.isalnum()):
            return None
        taken += 1
        position += 1
    following = text[position : position + 1]
    return None if following.isascii() and following.isalnum() else position


def _mod97(iban: str) -> bool:
    """ISO/IEC 7064, MOD 97-10, with the first four characters moved to the end and letters as 10 to 35."""
    compact = "".join(character for character in iban if character not in _IBAN_SEPARATORS).upper()
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1
