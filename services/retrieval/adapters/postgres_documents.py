"""DocumentStore on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from services.common.postgres import Connection, Database, first_or_none
from services.retrieval.adapters import rows
from services.retrieval.errors import DocumentNotFound, OperationNotFound
from services.retrieval.model import (
    Document,
    DocumentFilter,
    DocumentState,
    JobKind,
    NewDocument,
    Operation,
    OperationState,
    Passage,
    Position,
    Stored,
)

_REMEMBER_TENANT = "insert into retrieval.tenants (tenant_id) values (%s) on conflict do nothing"
_INSERT_DOCUMENT = """
insert into retrieval.documents
    (tenant_id, id, title, media_type, source, labels, state, content, size_bytes, sha256, request_id,
     fingerprint)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (tenant_id, request_id) where request_id is not null do nothing
returning id, title, media_type, source, labels, state, size_bytes, chunk_count, sha256, create_time
"""
_INSERT_OPERATION = """
insert into retrieval.operations (tenant_id, id, document_id, state, failure)
values (%s, %s, %s, %s, %s)
returning id, document_id, state, chunks_total, chunks_indexed, failure, create_time, update_time
"""
_INSERT_JOB = """
insert into retrieval.outbox (tenant_id, kind, document_id, operation_id) values (%s, %s, %s, %s)
"""
_BY_REQUEST = """
select id, title, media_type, source, labels, state, size_bytes, chunk_count, sha256, create_time, fingerprint
from retrieval.documents where tenant_id = %s and request_id = %s
"""
_LATEST_OPERATION = """
select id, document_id, state, chunks_total, chunks_indexed, failure, create_time, update_time
from retrieval.operations
where tenant_id = %s and document_id = %s order by create_time desc limit 1
"""
_GET = """
select id, title, media_type, source, labels, state, size_bytes, chunk_count, sha256, create_time
from retrieval.documents where tenant_id = %s and id = %s
"""
_LIST = """
select id, title, media_type, source, labels, state, size_bytes, chunk_count, sha256, create_time
from retrieval.documents
where tenant_id = %(tenant)s and labels @> %(labels)s
    and (%(state)s::text is null or state = %(state)s)
    and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(id)s::uuid))
order by create_time desc, id desc limit %(limit)s
"""
_DELETE = "delete from retrieval.documents where tenant_id = %s and id = %s returning id"
_GET_OPERATION = """
select id, document_id, state, chunks_total, chunks_indexed, failure, create_time, update_time
from retrieval.operations where tenant_id = %s and id = %s
"""
_LIST_OPERATIONS = """
select id, document_id, state, chunks_total, chunks_indexed, failure, create_time, update_time
from retrieval.operations
where tenant_id = %(tenant)s
    and (not %(unfinished)s or state in ('queued', 'running'))
    and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(id)s::uuid))
order by create_time desc, id desc limit %(limit)s
"""
_PASSAGES = """
select c.id, c.document_id, d.title, c.text, c.ordinal
from retrieval.chunks c join retrieval.documents d on d.tenant_id = c.tenant_id and d.id = c.document_id
where c.tenant_id = %s and c.id = any(%s) and d.state = 'ready'
"""


class PostgresDocuments:
    """See services.retrieval.ports.DocumentStore. Row-level security holds the tenants apart; the tenant in
    every statement is what its index begins with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, document: NewDocument) -> Stored:
        """See DocumentStore."""
        header, refusal = document.header, document.refusal
        async with self._database.tenant(tenant) as connection:
            await connection.execute(_REMEMBER_TENANT, (tenant,))
            cursor = await connection.execute(
                _INSERT_DOCUMENT,
                (
                    tenant,
                    document.id,
                    header.title,
                    header.media_type.value,
                    header.source,
                    Jsonb(dict(header.labels)),
                    (DocumentState.FAILED if refusal else DocumentState.PENDING).value,
                    document.content,
                    document.size_bytes,
                    document.sha256,
                    header.request_id,
                    document.fingerprint,
                ),
                binary=True,
            )
            row = await cursor.fetchone()
            if row is None:
                return await self._created_before(connection, tenant, header.request_id)
            cursor = await connection.execute(
                _INSERT_OPERATION,
                (
                    tenant,
                    document.operation_id,
                    document.id,
                    (OperationState.FAILED if refusal else OperationState.QUEUED).value,
                    rows.failure_json(refusal) if refusal else None,
                ),
            )
            if refusal is None:
                await connection.execute(
                    _INSERT_JOB, (tenant, JobKind.INDEX.value, document.id, document.operation_id)
                )
            operation = await cursor.fetchone()
        if operation is None:
            raise AssertionError("insert … returning gives a row")
        return Stored(rows.document(row), rows.operation(operation), document.fingerprint)

    async def _created_before(self, connection: Connection, tenant: str, request_id: UUID | None) -> Stored:
        row = await (await connection.execute(_BY_REQUEST, (tenant, request_id))).fetchone()
        if row is None:
            # Deleted between the two statements. The caller's retry, with the same request_id, creates it.
            raise DocumentNotFound(UUID(int=0))
        cursor = await connection.execute(_LATEST_OPERATION, (tenant, row["id"]))
        operation = await cursor.fetchone()
        if operation is None:
            raise DocumentNotFound(row["id"])
        return Stored(rows.document(row), rows.operation(operation), row["fingerprint"])

    async def get(self, tenant: str, document_id: UUID) -> Document:
        """See DocumentStore."""
        async with self._database.tenant(tenant) as connection:
            row = await (await connection.execute(_GET, (tenant, document_id))).fetchone()
        if row is None:
            raise DocumentNotFound(document_id)
        return rows.document(row)

    async def list_page(
        self, tenant: str, where: DocumentFilter, after: Position | None, limit: int
    ) -> Sequence[Document]:
        """See DocumentStore."""
        arguments = {
            "tenant": tenant,
            "labels": Jsonb(dict(where.labels)),
            "state": where.state.value if where.state else None,
            "time": after.create_time if after else None,
            "id": after.id if after else None,
            "limit": limit,
        }
        async with self._database.tenant(tenant) as connection:
            found = await (await connection.execute(_LIST, arguments)).fetchall()
        return [rows.document(row) for row in found]

    async def delete(self, tenant: str, document_id: UUID) -> None:
        """See DocumentStore."""
        async with self._database.tenant(tenant) as connection:
            row = first_or_none(await (await connection.execute(_DELETE, (tenant, document_id))).fetchone())
            if row is None:
                raise DocumentNotFound(document_id)
            await connection.execute(_INSERT_JOB, (tenant, JobKind.DELETE.value, document_id, None))

    async def get_operation(self, tenant: str, operation_id: UUID) -> Operation:
        """See DocumentStore."""
        async with self._database.tenant(tenant) as connection:
            row = await (await connection.execute(_GET_OPERATION, (tenant, operation_id))).fetchone()
        if row is None:
            raise OperationNotFound(operation_id)
        return rows.operation(row)

    async def list_operations(
        self, tenant: str, unfinished_only: bool, after: Position | None, limit: int
    ) -> Sequence[Operation]:
        """See DocumentStore."""
        arguments = {
            "tenant": tenant,
            "unfinished": unfinished_only,
            "time": after.create_time if after else None,
            "id": after.id if after else None,
            "limit": limit,
        }
        async with self._database.tenant(tenant) as connection:
            found = await (await connection.execute(_LIST_OPERATIONS, arguments)).fetchall()
        return [rows.operation(row) for row in found]

    async def passages(self, tenant: str, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """See DocumentStore."""
        if not chunk_ids:
            return {}
        async with self._database.tenant(tenant) as connection:
            found = await (await connection.execute(_PASSAGES, (tenant, list(chunk_ids)))).fetchall()
        return {
            row["id"]: Passage(
                chunk_id=row["id"],
                document_id=row["document_id"],
                title=row["title"],
                text=row["text"],
                ordinal=row["ordinal"],
            )
            for row in found
        }
