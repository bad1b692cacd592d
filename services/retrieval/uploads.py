"""Uploads: the bytes of one document, in pieces. Nothing is stored unless all of it arrives.

What unfinished uploads hold in memory is bounded, for all and for each tenant. Only bytes that have come
count: a declared size costs its sender nothing, so counting it would let a few streams that send nothing keep
everybody out. One that stays silent is given up, and with it what it holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.common.errors import DeadlineExceeded, InvalidRequest, Overloaded
from services.retrieval.documents import Documents, Limits, check_header
from services.retrieval.errors import UploadTooLarge
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
        self._buffered: Counter[str] = Counter()

    async def receive(self, tenant: str, parts: AsyncIterator[Part]) -> Stored:
        """Stores the document that the parts make up.

        One whose declared size is more than the limit is not read on: its operation has failed at once.

        Raises:
            InvalidRequest: the parts are not a start and as many bytes as it declares.
            Overloaded: too many bytes are coming in, of the tenant's or of everybody's.
            DeadlineExceeded: nothing came for too long.
            RequestIdReused: see Documents.create.
        """
        start = await self._next(parts)
        if not isinstance(start, Start):
            raise InvalidRequest.field("start", "must be the first part of an upload")
        check_header(start.header)
        size, limit = start.size_bytes, self._limits.upload_bytes
        if size > limit:
            return await self._documents.refuse(tenant, start.header, size, UploadTooLarge(size, limit))
        with self._room(tenant) as room:
            content = await self._collect(size, parts, room)
            return await self._documents.store(tenant, start.header, content)

    async def _collect(self, size: int, parts: AsyncIterator[Part], room: _Room) -> bytes:
        content = bytearray()
        while (part := await self._next(parts)) is not None:
            if isinstance(part, Start):
                raise InvalidRequest.field("start", "must be the first part of an upload only")
            if len(content) + len(part) > size:
                raise InvalidRequest.field("start.size_bytes", f"is {size}, but more bytes have come")
            room.take(len(part))
            content += part
        if len(content) < size:
            raise InvalidRequest.field(
                "start.size_bytes", f"is {size}, but only {len(content)} bytes have come"
            )
        return bytes(content)

    async def _next(self, parts: AsyncIterator[Part]) -> Part | None:
        """None at the end."""
        idle = self._limits.upload_idle
        try:
            async with asyncio.timeout(idle.total_seconds()):
                return await anext(parts, None)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"nothing of the upload has come for {idle.total_seconds():g} s", retry_after=_RETRY_AFTER
            ) from error

    @contextmanager
    def _room(self, tenant: str) -> Iterator[_Room]:
        room = _Room(tenant, self._buffered, self._limits)
        try:
            yield room
        finally:
            room.leave()


class _Room:
    """What one upload holds of the memory for all of them."""

    def __init__(self, tenant: str, buffered: Counter[str], limits: Limits) -> None:
        """``buffered``: bytes by tenant, of all uploads."""
        self._tenant = tenant
        self._buffered = buffered
        self._limits = limits
        self._taken = 0

    def take(self, size: int) -> None:
        """Raises Overloaded when there is no room for so much more."""
        if self._buffered[self._tenant] + size > self._limits.tenant_buffered_bytes:
            raise Overloaded("too many uploads of this tenant are coming in", retry_after=_RETRY_AFTER)
        if self._buffered.total() + size > self._limits.buffered_bytes:
            raise Overloaded("too many uploads are coming in", retry_after=_RETRY_AFTER)
        self._buffered[self._tenant] += size
        self._taken += size

    def leave(self) -> None:
        """Gives all of it back."""
        self._buffered[self._tenant] -= self._taken
        self._taken = 0
        if not self._buffered[self._tenant]:
            del self._buffered[self._tenant]
