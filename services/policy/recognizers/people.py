"""Numbers that states give to people.

US social security numbers (https://www.ssa.gov/employer/randomization.html): AAA-GG-SSSS or AAA GG SSSS,
never an area of 000, 666 or 900 to 999, a group of 00 or a serial of 0000. Nine digits in one piece have no
check digit to tell them by, and are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SSN = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9][\-.])(?!000|666|9)[0-9]{3}([\- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}"
    r"(?![0-9A-Za-z_])(?![\-.][0-9])"
)


def find_us_ssns(text: str) -> Iterator[tuple[int, int]]:
    """Spans of US social security numbers."""
    for found in _SSN.finditer(text):
        yield found.span()
