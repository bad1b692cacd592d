"""Documents: what may be stored, what a retry gives, how lists go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.common.config import ConfigError
from services.common.errors import InvalidPageToken, InvalidRequest, RequestIdReused
from services.common.pagination import decode_page_token, encode_page_token, page_limit
from services.retrieval.errors import DocumentNotFound, DocumentTooLarge, IngestionError
from services.retrieval.model import (
    Document,
    DocumentFilter,
    Header,
    NewDocument,
    Operation,
    Page,
    Position,
    Stored,
)
from services.retrieval.ports import DocumentStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be stored at once."""

    inline_bytes: int = 4 * 1024 * 1024
    """Most bytes of a document that comes in one message."""
    upload_bytes: int = 32 * 1024 * 1024
    """Most bytes of an uploaded document."""
    buffered_bytes: int = 128 * 1024 * 1024
    """Most bytes of unfinished uploads that one process holds."""
    tenant_buffered_bytes: int = 64 * 1024 * 1024
    """Most of them that are one tenant's: what is left is for the others."""
    upload_idle: timedelta = timedelta(seconds=15)
    """How long an upload may send nothing before it is given up. Longer than a client's longest pause between
    two pieces, its retransmissions included."""

    def __post_init__(self) -> None:
        if not self.upload_bytes <= self.tenant_buffered_bytes <= self.buffered_bytes:
            raise ConfigError(
                "CAUSEWAY_LIMITS_UPLOAD_BYTES must be at most CAUSEWAY_LIMITS_TENANT_BUFFERED_BYTES, and that"
                " at most CAUSEWAY_LIMITS_BUFFERED_BYTES: else nobody can upload the largest document"
            )
        if self.upload_idle <= timedelta(0):
            raise ConfigError("CAUSEWAY_LIMITS_UPLOAD_IDLE must be positive")


class Documents:
    """A tenant's documents and their operations."""

    def __init__(self, store: DocumentStore, limits: Limits, new_id: Callable[[], UUID] = uuid4) -> None:
        self._store = store
        self._limits = limits
        self._new_id = new_id

    async def create(self, tenant: str, header: Header, content: bytes) -> Stored:
        """Stores a document that came in one message.

        Raises:
            DocumentTooLarge: more than ``Limits.inline_bytes``.
            InvalidRequest: a text of the header cannot be stored.
            RequestIdReused: the request_id came before with another document.
        """
        if len(content) > self._limits.inline_bytes:
            raise DocumentTooLarge("content", len(content), self._limits.inline_bytes)
        return await self.store(tenant, header, content)

    async def store(self, tenant: str, header: Header, content: bytes) -> Stored:
        """Stores a document of any size. Raises as ``create`` does."""
        check_header(header)
        sha256 = hashlib.sha256(content).hexdigest()
        document = NewDocument(
            id=self._new_id(),
            operation_id=self._new_id(),
            header=header,
            content=content,
            size_bytes=len(content),
            sha256=sha256,
            fingerprint=_fingerprint(header, sha256),
        )
        stored = await self._store.create(tenant, document)
        if stored.fingerprint == _unread(header, len(content)):
            # The same document was too large before; the limit is another today.
            with suppress(DocumentNotFound):
                await self._store.delete(tenant, stored.document.id)
            stored = await self._store.create(tenant, document)
        if stored.fingerprint != document.fingerprint:
            raise RequestIdReused("this request_id created another document")
        return stored

    async def refuse(self, tenant: str, header: Header, size_bytes: int, error: IngestionError) -> Stored:
        """Notes a document whose bytes are not wanted: it and its operation have failed, for all to see.

        Raises:
            InvalidRequest, RequestIdReused: as ``create`` does.
        """
        check_header(header)
        document = NewDocument(
            id=self._new_id(),
            operation_id=self._new_id(),
            header=header,
            content=None,
            size_bytes=size_bytes,
            sha256="",
            fingerprint=_unread(header, size_bytes),
            refusal=error.failure(),
        )
        stored = await self._store.create(tenant, document)
        same = {document.fingerprint}
        if stored.document.size_bytes == size_bytes:
            # Stored while the limit allowed it: the same, as far as can be told without its bytes.
            same.add(_fingerprint(header, stored.document.sha256))
        if stored.fingerprint not in same:
            raise RequestIdReused("this request_id created another document")
        return stored

    async def get(self, tenant: str, document_id: UUID) -> Document:
        """Reads one. Raises DocumentNotFound."""
        return await self._store.get(tenant, document_id)

    async def list_page(
        self, tenant: str, where: DocumentFilter, page_size: int, page_token: str
    ) -> Page[Document]:
        """The newest first.

        Raises:
            InvalidPageToken: the token is not one of this list with this filter.
        """
        check_labels(where.labels, "labels")
        kind = f"documents:{_digest([sorted(where.labels.items()), where.state])}"
        limit = page_limit(page_size)
        # One more than the page holds tells whether there is a next page.
        found = await self._store.list_page(tenant, where, _position(kind, page_token), limit + 1)
        token = _token(kind, found[limit - 1].create_time, found[limit - 1].id) if len(found) > limit else ""
        return Page(found[:limit], token)

    async def delete(self, tenant: str, document_id: UUID) -> None:
        """Deletes one with all that was made of it. Raises DocumentNotFound, also the second time."""
        await self._store.delete(tenant, document_id)

    async def get_operation(self, tenant: str, operation_id: UUID) -> Operation:
        """Reads one. Raises OperationNotFound."""
        return await self._store.get_operation(tenant, operation_id)

    async def list_operations(
        self, tenant: str, unfinished_only: bool, page_size: int, page_token: str
    ) -> Page[Operation]:
        """The newest first.

        Raises:
            InvalidPageToken: the token is not one of this list.
        """
        kind = f"operations:{int(unfinished_only)}"
        limit = page_limit(page_size)
        after = _position(kind, page_token)
        found = await self._store.list_operations(tenant, unfinished_only, after, limit + 1)
        token = _token(kind, found[limit - 1].create_time, found[limit - 1].id) if len(found) > limit else ""
        return Page(found[:limit], token)


def check_header(header: Header) -> None:
    """Raises InvalidRequest for texts that cannot be stored, and for a blank title."""
    if not header.title.strip():
        raise InvalidRequest.field("header.title", "must not be blank")
    _check_text(header.title, "header.title")
    _check_text(header.source, "header.source")
    check_labels(header.labels, "header.labels")


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """Raises InvalidRequest for texts that cannot be stored."""
    for key, value in labels.items():
        _check_text(key, field)
        _check_text(value, f'{field}["{key}"]')


def _check_text(text: str, field: str) -> None:
    # PostgreSQL's text and jsonb cannot hold it: https://www.postgresql.org/docs/17/datatype-character.html
    if "\0" in text:
        raise InvalidRequest.field(field, "must not contain the character U+0000")


def _fingerprint(header: Header, content: str) -> str:
    """``content``: what tells it from others."""
    return _digest([header.title, header.media_type, header.source, sorted(header.labels.items()), content])


def _unread(header: Header, size_bytes: int) -> str:
    """The fingerprint of a document whose bytes were not read."""
    return _fingerprint(header, f"{size_bytes} bytes")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def _token(kind: str, time: datetime, item_id: UUID) -> str:
    return encode_page_token(kind, [(time - _EPOCH) // _MICROSECOND, str(item_id)])


def _position(kind: str, token: str) -> Position | None:
    if not token:
        return None
    cursor = decode_page_token(kind, token)
    match cursor:
        case (int(microseconds), str(item_id)):
            try:
                return Position(_EPOCH + microseconds * _MICROSECOND, UUID(item_id))
            except (ValueError, OverflowError) as error:
                raise InvalidPageToken from error
        case _:
            raise InvalidPageToken
