"""Why a document cannot be read. These cross the border between the processes by name."""

from __future__ import annotations

from collections.abc import Mapping


class ReadError(Exception):
    """The document's fault; the message is public and never quotes the document."""

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})


class Unreadable(ReadError):
    """The bytes are not what the media type says."""


class Empty(ReadError):
    """There is no text in it."""


class TooLong(ReadError):
    """There is more in it than is read."""
