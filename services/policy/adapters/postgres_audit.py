"""The audit log in PostgreSQL. A batch is one INSERT; its rows are committed when ``append`` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from services.common.errors import RequestIdReused
from services.common.postgres import Connection, Database
from services.policy.domain import AuditCursor, AuditDraft, AuditEntry, AuditFilter, AuditRecord, Outcome

_INSERT = """
insert into policy.audit_entries (tenant_id, id, subject, action, resource, outcome, attributes, request_id)
select %(tenant)s, id, subject, action, resource, outcome, attributes, request_id
from unnest(
    %(ids)s::uuid[], %(subjects)s::text[], %(actions)s::text[], %(resources)s::text[],
    %(outcomes)s::smallint[], %(attributes)s::jsonb[], %(request_ids)s::uuid[]
) with ordinality as given (id, subject, action, resource, outcome, attributes, request_id, position)
order by position
on conflict (tenant_id, id) do nothing
returning id
"""

_COLUMNS = "id, subject, action, resource, outcome, attributes, request_id, create_time, sequence"
_BY_ID = f"select {_COLUMNS} from policy.audit_entries where tenant_id = %s and id = any(%s)"  # noqa: S608
_PAGE = sql.SQL(
    "select {columns} from policy.audit_entries where {conditions} "
    "order by create_time desc, sequence desc limit %(limit)s"
)


class PostgresAuditLog:
    """An AuditLog in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """``database`` is open, under a role that may insert and select."""
        self._database = database

    async def append(self, tenant: str, entries: Sequence[AuditEntry]) -> None:
        """See AuditLog."""
        async with self._database.tenant(tenant) as connection:
            cursor = await connection.execute(_INSERT, _parameters(tenant, entries))
            stored = {row["id"] for row in await cursor.fetchall()}
            if len(stored) < len(entries):
                await self._expect_same(connection, tenant, entries)

    @staticmethod
    async def _expect_same(connection: Connection, tenant: str, entries: Sequence[AuditEntry]) -> None:
        """A retry must ask for what is there already, whoever stored it: an earlier call, a concurrent one
        that has just committed, or this batch itself."""
        cursor = await connection.execute(_BY_ID, (tenant, [entry.id for entry in entries]))
        kept = {row["id"]: _record(row).entry for row in await cursor.fetchall()}
        for index, entry in enumerate(entries):
            if _content(kept[entry.id]) != _content(entry):
                raise RequestIdReused(f"entries[{index}].request_id: was used before for another entry")

    async def query(
        self, tenant: str, wanted: AuditFilter, after: AuditCursor | None, limit: int
    ) -> Sequence[AuditRecord]:
        """See AuditLog."""
        conditions: Mapping[str, object] = {
            "tenant_id = %(tenant)s": tenant,
            "action = %(action)s": wanted.action,
            "subject = %(subject)s": wanted.subject,
            "create_time >= %(start)s": wanted.start_time,
            "create_time < %(end)s": wanted.end_time,
            "(create_time, sequence) < (%(time)s, %(sequence)s)": after,
        }
        chosen = [sql.SQL(text) for text, value in conditions.items() if value is not None]
        statement = _PAGE.format(columns=sql.SQL(_COLUMNS), conditions=sql.SQL(" and ").join(chosen))
        parameters = {
            "tenant": tenant,
            "action": wanted.action,
            "subject": wanted.subject,
            "start": wanted.start_time,
            "end": wanted.end_time,
            "time": after and after.create_time,
            "sequence": after and after.sequence,
            "limit": limit,
        }
        async with self._database.tenant(tenant) as connection:
            cursor = await connection.execute(statement, parameters)
            return [_record(row) for row in await cursor.fetchall()]


def _parameters(tenant: str, entries: Sequence[AuditEntry]) -> Mapping[str, object]:
    drafts = [entry.draft for entry in entries]
    return {
        "tenant": tenant,
        "ids": [entry.id for entry in entries],
        "subjects": [entry.subject for entry in entries],
        "actions": [draft.action for draft in drafts],
        "resources": [draft.resource for draft in drafts],
        "outcomes": [draft.outcome.value for draft in drafts],
        "attributes": [Jsonb(dict(draft.attributes)) for draft in drafts],
        "request_ids": [draft.request_id for draft in drafts],
    }


def _content(entry: AuditEntry) -> tuple[str, str, str, Outcome, Mapping[str, str]]:
    draft = entry.draft
    return entry.subject, draft.action, draft.resource, draft.outcome, dict(draft.attributes)


def _record(row: Mapping[str, Any]) -> AuditRecord:
    draft = AuditDraft(
        action=row["action"],
        outcome=Outcome(row["outcome"]),
        resource=row["resource"],
        attributes=row["attributes"],
        request_id=row["request_id"],
    )
    return AuditRecord(AuditEntry(row["id"], row["subject"], draft), row["create_time"], row["sequence"])
