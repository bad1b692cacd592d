"""What the reader's processes say to each other: length-prefixed frames on a pipe. Pure.

A request is a frame of JSON (``media_type``, ``title``) and a frame of the document's bytes. A response is
one frame of JSON: ``{"chunks": [[text, context], …]}`` or ``{"failure": {"kind", "message", "metadata"}}``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from services.retrieval.model import ChunkText, MediaType
from services.retrieval.reading.failures import Empty, ReadError, TooLong, Unreadable

LENGTH = struct.Struct(">Q")
MAX_FRAME = 1 << 30
"""A longer frame is a broken stream."""

_KINDS = {"unreadable": Unreadable, "empty": Empty, "too_long": TooLong}
_NAMES = {error: name for name, error in _KINDS.items()}


def frame(payload: bytes) -> bytes:
    """One frame."""
    return LENGTH.pack(len(payload)) + payload


def encode_request(media_type: MediaType, title: str, content: bytes) -> list[bytes]:
    """A request, as pieces to write."""
    head = json.dumps({"media_type": media_type.value, "title": title}).encode()
    return [frame(head), LENGTH.pack(len(content)), content]


def decode_head(payload: bytes) -> tuple[MediaType, str]:
    """Media type and title of a request."""
    head = json.loads(payload)
    return MediaType(head["media_type"]), head["title"]


def encode_chunks(chunks: Sequence[ChunkText]) -> bytes:
    """The response of a success."""
    return frame(json.dumps({"chunks": [[chunk.text, chunk.context] for chunk in chunks]}).encode())


def encode_failure(error: ReadError) -> bytes:
    """The response of a failure."""
    failure = {"kind": _NAMES[type(error)], "message": error.message, "metadata": error.metadata}
    return frame(json.dumps({"failure": failure}).encode())


def decode_response(payload: bytes) -> list[ChunkText]:
    """The passages.

    Raises:
        ReadError: the failure that the response tells.
    """
    response: dict[str, Any] = json.loads(payload)
    failure = response.get("failure")
    if failure is not None:
        raise _KINDS[failure["kind"]](failure["message"], failure["metadata"])
    return [ChunkText(text, context) for text, context in response["chunks"]]
