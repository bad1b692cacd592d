"""Outbox on PostgreSQL, through the relay's role: it sees the jobs of all tenants, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from services.common.postgres import Database
from services.retrieval.model import Job, JobKind
from services.retrieval.ports import Queue

# SKIP LOCKED: several relays share the work instead of waiting for each other.
_DUE = """
select id, tenant_id, kind, document_id, operation_id from retrieval.outbox
where publish_time is null or publish_time < clock_timestamp() - %s
order by publish_time nulls first, id limit %s for update skip locked
"""
_MARK = "update retrieval.outbox set publish_time = clock_timestamp() where id = any(%s)"
_TRY_LOCK = "select pg_try_advisory_xact_lock(%s) as locked"
_LOCK_KEY = 0x7265_7472_6965_7661  # "retrieva"
_TENANTS = "select tenant_id from retrieval.tenants order by tenant_id"


class PostgresOutbox:
    """See services.retrieval.ports.Outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, queue: Queue, older_than: timedelta, limit: int) -> int:
        """See Outbox. The jobs are queued before they are marked: a crash between the two queues them twice,
        which the queue takes as once."""
        async with self._database.transaction() as connection:
            found = await (await connection.execute(_DUE, (older_than, limit))).fetchall()
            if not found:
                return 0
            await queue.put(
                [
                    Job(
                        id=row["id"],
                        tenant=row["tenant_id"],
                        kind=JobKind(row["kind"]),
                        document_id=row["document_id"],
                        operation_id=row["operation_id"],
                    )
                    for row in found
                ]
            )
            await connection.execute(_MARK, ([row["id"] for row in found],))
        return len(found)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[bool]:
        """See Outbox. The lock falls with the transaction, and so with the process."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(_TRY_LOCK, (_LOCK_KEY,))).fetchone()
            yield bool(row and row["locked"])

    async def tenants(self) -> Sequence[str]:
        """See Outbox."""
        async with self._database.transaction() as connection:
            found = await (await connection.execute(_TENANTS)).fetchall()
        return [row["tenant_id"] for row in found]
