"""Uploads: the bytes of one document, in pieces. Nothing is stored unless all of it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.common.errors import InvalidRequest, Overloaded
from services.retrieval.documents import Documents, Limits, check_header
from services.retrieval.errors import DocumentTooLarge
from services.retrieval.model import Header, Stored

_RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Start:
    """The first part of an upload."""

    header: Header
    size_bytes: int


Part = Start | bytes


class Uploads:
    """Puts uploads together, and bounds what they hold in memory while they come in."""

    def __init__(self, documents: Documents, limits: Limits) -> None:
        self._documents = documents
        self._limits = limits
        self._buffered = 0

    async def receive(self, tenant: str, parts: AsyncIterator[Part]) -> Stored:
        """Stores the document that the parts make up.

        Raises:
            DocumentTooLarge: the declared size is more than the limit; told before a byte of it is read.
            InvalidRequest: the parts are not a start and as many bytes as it declares.
            Overloaded: too many uploads are coming in.
            RequestIdReused: see Documents.create.
        """
        start = await anext(parts, None)
        if not isinstance(start, Start):
            raise InvalidRequest.field("start", "must be the first part of an upload")
        check_header(start.header)
        if start.size_bytes > self._limits.upload_bytes:
            raise DocumentTooLarge.declared("start.size_bytes", start.size_bytes, self._limits.upload_bytes)
        with self._room(start.size_bytes):
            content = await _collect(start.size_bytes, parts)
            return await self._documents.store(tenant, start.header, content)

    @contextmanager
    def _room(self, size: int) -> Iterator[None]:
        if self._buffered + size > self._limits.buffered_bytes:
            raise Overloaded("too many uploads are coming in", retry_after=_RETRY_AFTER)
        self._buffered += size
        try:
            yield
        finally:
            self._buffered -= size


async def _collect(size: int, parts: AsyncIterator[Part]) -> bytes:
    content = bytearray()
    async for part in parts:
        if isinstance(part, Start):
            raise InvalidRequest.field("start", "must be the first part of an upload only")
        content += part
        if len(content) > size:
            raise InvalidRequest.field("start.size_bytes", f"is {size}, but more bytes have come")
    if len(content) < size:
        raise InvalidRequest.field("start.size_bytes", f"is {size}, but only {len(content)} bytes have come")
    return bytes(content)
