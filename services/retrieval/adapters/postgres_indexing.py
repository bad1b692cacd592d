"""IndexingStore on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.postgres import Connection, Database
from services.retrieval.adapters import rows
from services.retrieval.errors import DocumentGone, IndexingOvertaken
from services.retrieval.model import Chunk, ChunkText, Failure, Job, MediaType, OperationState, Work

_BEGIN = """
update retrieval.operations set state = 'running', update_time = clock_timestamp()
where tenant_id = %s and id = %s and state in ('queued', 'running')
returning id, document_id, state, chunks_total, chunks_indexed, failure, create_time, update_time,
    restarts
"""
_STATE = "select state from retrieval.operations where tenant_id = %s and id = %s"
_LOAD = """
select title, media_type, labels, content from retrieval.documents where tenant_id = %s and id = %s
"""
# Holds off a deletion until the transaction ends, so that no passage outlives its document.
_LOCK = "select 1 from retrieval.documents where tenant_id = %s and id = %s for key share"
_DELETE_CHUNKS = "delete from retrieval.chunks where tenant_id = %s and document_id = %s"
_INSERT_CHUNKS = """
insert into retrieval.chunks (tenant_id, document_id, ordinal, id, text, context)
select %s, %s, * from unnest(%s::int[], %s::uuid[], %s::text[], %s::text[])
"""
_COUNTED = """
update retrieval.operations set chunks_total = %s, chunks_indexed = 0, update_time = clock_timestamp()
where tenant_id = %s and id = %s
"""
_SET_COUNT = "update retrieval.documents set chunk_count = %s where tenant_id = %s and id = %s"
_CHUNKS = """
select ordinal, id, text, context from retrieval.chunks
where tenant_id = %s and document_id = %s order by ordinal
"""
_PROGRESS = """
update retrieval.operations set chunks_indexed = %s, update_time = clock_timestamp()
where tenant_id = %s and id = %s and state = 'running' and restarts = %s returning id
"""
_SUCCEED = """
update retrieval.operations
set state = 'succeeded', chunks_indexed = chunks_total, update_time = clock_timestamp()
where tenant_id = %s and id = %s and state = 'running' and restarts = %s returning id
"""
_FAIL = """
update retrieval.operations set state = 'failed', failure = %s, update_time = clock_timestamp()
where tenant_id = %s and id = %s and state in ('queued', 'running') returning id
"""
_SET_STATE = "update retrieval.documents set state = %s where tenant_id = %s and id = %s"
_FORGET = "delete from retrieval.outbox where tenant_id = %s and id = %s"
# What was half indexed is begun anew by the job it has.
_START_OVER = """
update retrieval.operations
set chunks_indexed = 0, restarts = restarts + 1, update_time = clock_timestamp()
where tenant_id = %s and state in ('queued', 'running')
"""
_RESTART = """
with unindexed as (
    update retrieval.documents set state = 'pending'
    where tenant_id = %(tenant)s and state = 'ready' returning id
), operations as (
    insert into retrieval.operations (tenant_id, id, document_id, state)
    select %(tenant)s, gen_random_uuid(), id, 'queued' from unindexed returning id, document_id
), jobs as (
    insert into retrieval.outbox (tenant_id, kind, document_id, operation_id)
    select %(tenant)s, 'index', document_id, id from operations returning id
)
select count(*) as queued from jobs
"""
_ROWS_AT_ONCE = 2_000


class PostgresIndexing:
    """See services.retrieval.ports.IndexingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job: Job) -> Work | None:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            begun = await connection.execute(_BEGIN, (job.tenant, job.operation_id))
            operation = await begun.fetchone()
            if operation is None:
                await self._missed(connection, job)
                return None
            loaded = await connection.execute(_LOAD, (job.tenant, job.document_id), binary=True)
            row = await loaded.fetchone()
        if row is None:
            raise DocumentGone
        return Work(
            document_id=job.document_id,
            operation=rows.operation(operation),
            title=row["title"],
            media_type=MediaType(row["media_type"]),
            labels=row["labels"],
            content=row["content"],
            restarts=operation["restarts"],
        )

    async def save_chunks(self, job: Job, chunks: Sequence[Chunk]) -> None:
        """See IndexingStore."""
        document = (job.tenant, job.document_id)
        async with self._database.tenant(job.tenant) as connection:
            if await (await connection.execute(_LOCK, document)).fetchone() is None:
                raise DocumentGone
            await connection.execute(_DELETE_CHUNKS, document)
            for start in range(0, len(chunks), _ROWS_AT_ONCE):
                some = chunks[start : start + _ROWS_AT_ONCE]
                await connection.execute(
                    _INSERT_CHUNKS,
                    (
                        *document,
                        [chunk.ordinal for chunk in some],
                        [chunk.id for chunk in some],
                        [chunk.content.text for chunk in some],
                        [chunk.content.context for chunk in some],
                    ),
                )
            await connection.execute(_SET_COUNT, (len(chunks), *document))
            await connection.execute(_COUNTED, (len(chunks), job.tenant, job.operation_id))

    async def chunks(self, job: Job) -> Sequence[Chunk]:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            found = await (await connection.execute(_CHUNKS, (job.tenant, job.document_id))).fetchall()
        return [Chunk(row["id"], row["ordinal"], ChunkText(row["text"], row["context"])) for row in found]

    async def progress(self, job: Job, work: Work, chunks_indexed: int) -> None:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            cursor = await connection.execute(
                _PROGRESS, (chunks_indexed, job.tenant, job.operation_id, work.restarts)
            )
            if await cursor.fetchone() is None:
                await self._missed(connection, job)

    async def succeed(self, job: Job, work: Work) -> None:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            cursor = await connection.execute(_SUCCEED, (job.tenant, job.operation_id, work.restarts))
            if await cursor.fetchone() is None:
                await self._missed(connection, job)
            else:
                await connection.execute(_SET_STATE, ("ready", job.tenant, job.document_id))
            await connection.execute(_FORGET, (job.tenant, job.id))

    async def fail(self, job: Job, failure: Failure) -> None:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            cursor = await connection.execute(
                _FAIL, (rows.failure_json(failure), job.tenant, job.operation_id)
            )
            if await cursor.fetchone() is not None:
                await connection.execute(_DELETE_CHUNKS, (job.tenant, job.document_id))
                await connection.execute(_SET_COUNT, (0, job.tenant, job.document_id))
                await connection.execute(_SET_STATE, ("failed", job.tenant, job.document_id))
            await connection.execute(_FORGET, (job.tenant, job.id))

    async def forget(self, job: Job) -> None:
        """See IndexingStore."""
        async with self._database.tenant(job.tenant) as connection:
            await connection.execute(_FORGET, (job.tenant, job.id))

    async def restart(self, tenant: str) -> int:
        """See IndexingStore."""
        async with self._database.tenant(tenant) as connection:
            await connection.execute(_START_OVER, (tenant,))
            row = await (await connection.execute(_RESTART, {"tenant": tenant})).fetchone()
        return int(row["queued"]) if row else 0

    async def _missed(self, connection: Connection, job: Job) -> None:
        """An update found no row to change. Returns when another worker has finished the operation."""
        row = await (await connection.execute(_STATE, (job.tenant, job.operation_id))).fetchone()
        if row is None:
            raise DocumentGone
        if not OperationState(row["state"]).finished:
            raise IndexingOvertaken
