"""Page tokens: opaque to clients, bound to the kind of query that issued them.

A token is not a permission: what it points into is still guarded by row-level security. The checksum only
tells a mistaken token from a real one, so that it becomes a clear error.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence

from services.common.errors import InvalidPageToken

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200


def page_limit(page_size: int) -> int:
    """How many items a page holds: ``page_size``, or the default for 0."""
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_page_token(kind: str, cursor: Sequence[str | int]) -> str:
    """A token that goes on after ``cursor`` in queries of ``kind``."""
    body = json.dumps([kind, *cursor], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def decode_page_token(kind: str, token: str) -> tuple[str | int, ...]:
    """The cursor of a token.

    Raises:
        InvalidPageToken: it is not a token, or not one of this kind.
    """
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        checksum, body = raw[:4], raw[4:]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise InvalidPageToken
        issued_for, *cursor = json.loads(body)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidPageToken from error
    if issued_for != kind or not all(isinstance(part, str | int) for part in cursor):
        raise InvalidPageToken
    return tuple(cursor)
