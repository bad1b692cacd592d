"""Page tokens that were issued, that were tampered with, and that were made up with a checksum that holds."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=12),
        st.just("\ud800"),  # JSON can say it, UTF-8 cannot
        st.uuids().map(str),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def encode(value: Any) -> str:
    """A token in the format of services.common.pagination, whatever it holds."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def kinds_of(tokens: Sequence[str]) -> list[str]:
    """The kinds of query that issued tokens go on with."""
    found = set()
    for token in tokens:
        try:
            body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[4:])
        except (ValueError, binascii.Error):
            continue
        if isinstance(body, list) and body and isinstance(body[0], str):
            found.add(body[0])
    return sorted(found)


def page_tokens(issued: Sequence[str]) -> SearchStrategy[str]:
    """Tokens to try a list with; mostly none, or one that was issued."""
    options = [st.just(""), JSON.map(encode), st.text(max_size=40)]
    if issued:
        options.append(st.sampled_from(list(issued)))
    kinds = kinds_of(issued)
    if kinds:
        cursors = st.lists(JSON, max_size=4)
        options.append(
            st.tuples(st.sampled_from(kinds), cursors).map(lambda found: encode([found[0], *found[1]]))
        )
    return st.one_of(options).filter(lambda token: len(token) <= 256)
