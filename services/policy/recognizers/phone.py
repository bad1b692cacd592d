"""Telephone numbers.

International (ITU-T E.164): ``+``, an assigned country code and 8 to 15 digits in all, with single spaces,
dots, hyphens and brackets between; a number of country code 1 has 11.

National, only in the groups people write them in, since bare digits are more often something else:
- North America: (212) 555-0123, 212-555-0123, 212.555.0123, 212 555 0123, each also after 1;
- France: 01 23 45 67 89, also with dots or hyphens;
- United Kingdom and Australia: 020 7946 0958, (020) 7946 0958, 01632 960001, 0800 123 4567, 0412 345 678;
- Germany, Austria, China (fixed lines): 030 12345678, 0171/1234567, 010-12345678, (030) 123456;
- Japan: 03-1234-5678, 090-1234-5678, 0466-12-3456;
- China (mobile): 13812345678, 138 1234 5678, 138-1234-5678.

Not taken: local numbers without an area code, 10 digits in one piece, and 00 for +.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(r"\((?=[0-9])|(?<![0-9A-Za-z_+])(?<![0-9][\-.])(?:[0-9]|\+(?=[1-9]))")
_END = r"(?![0-9])(?![\-.][0-9])"
_SPACE = "[ \u00a0]"

_INTERNATIONAL = re.compile("\\+[1-9](?:\\)?[ .\\-\u00a0]?\\(?[0-9]){6,14}+(?![0-9])")
_NORTH_AMERICA_INTERNATIONAL = re.compile(
    "\\+1[ .\\-\u00a0]?\\(?[2-9][0-9]{2}\\)?[ .\\-\u00a0]?[2-9][0-9]{2}[ .\\-\u00a0]?[0-9]{4}(?![0-9])"
)
_NOT_DIGITS = re.compile(r"[^0-9]+")
_MIN_DIGITS = 8

_NATIONAL = tuple(
    re.compile(pattern + _END)
    for pattern in (
        # North America
        rf"(?:1[\-. ])?\([2-9][0-9]{{2}}\){_SPACE}?[2-9][0-9]{{2}}[\-. ][0-9]{{4}}",
        r"(?:1[\-. ])?[2-9](?!11)[0-9]{2}([\-. ])[2-9](?!11)[0-9]{2}\1[0-9]{4}",
        # France
        r"0[1-9]([ .\-\u00a0])[0-9]{2}\1[0-9]{2}\1[0-9]{2}\1[0-9]{2}",
        # United Kingdom, Australia
        r"\(?0[1-9][0-9]\)?[ \-][0-9]{4}[ \-][0-9]{4}",
        r"\(?0[1-9][0-9]{2}\)?[ \-][0-9]{3}[ \-][0-9]{3,4}",
        r"\(?0[1-9][0-9]{3}\)?[ \-](?:[0-9]{6}|[0-9]{3}[ \-][0-9]{3})",
        # Germany, Austria, fixed lines of China
        r"0[1-9][0-9]{1,3}[ /\-][0-9]{6,8}",
        rf"\(0[1-9][0-9]{{1,3}}\){_SPACE}?[0-9]{{6,8}}",
        # Japan
        r"0[1-9]-[0-9]{4}-[0-9]{4}",
        r"0[1-9]0-[0-9]{4}-[0-9]{4}",
        r"0[1-9][0-9]-[0-9]{3}-[0-9]{4}",
        r"0[1-9][0-9]{2}-[0-9]{2}-[0-9]{4}",
        # Mobile numbers of China
        r"1[3-9][0-9]{9}(?![A-Za-z_])",
        r"1[3-9][0-9]([ \-])[0-9]{4}\1[0-9]{4}",
    )
)

_COUNTRY_CODE = re.compile(
    r"\+(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-69][0-9]|3[578][0-9]|42[0-9]|5[09][0-9]|6[789][0-9]|8[0578][0-9]|9[679][0-9])"
)
"""Zones with assigned country codes (ITU-T E.164, list of assigned country codes)."""


def find_phone_numbers(text: str) -> Iterator[tuple[int, int]]:
    """Spans of telephone numbers."""
    for start in _START.finditer(text):
        position = start.start()
        find_end = _international_end if text[position] == "+" else _national_end
        end = find_end(text, position)
        if end is not None:
            yield position, end


def _international_end(text: str, position: int) -> int | None:
    if text[position + 1] == "1":
        found = _NORTH_AMERICA_INTERNATIONAL.match(text, position)
        return found.end() if found else None
    found = _INTERNATIONAL.match(text, position)
    if found is None:
        return None
    # Separators stand inside the match, so the prefix is compared without them.
    digits = "+" + _NOT_DIGITS.sub("", found.group())
    if len(digits) - 1 < _MIN_DIGITS or _COUNTRY_CODE.match(digits) is None:
        return None
    return found.end()


def _national_end(text: str, position: int) -> int | None:
    ends = [found.end() for shape in _NATIONAL if (found := shape.match(text, position))]
    return max(ends, default=None)
