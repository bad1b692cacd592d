"""Every statement finds its rows through an index, however many other callers there are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from support.platform import Platform

from services.session.adapters import statements

OWNERS = 40
CONVERSATIONS = 50
"""For each owner."""

FILL = """
insert into session.conversations
    (tenant_id, subject, id, title, message_count, create_time, update_time, requested_title)
select %(tenant)s, 'subject-' || owner, gen_random_uuid(), '', 2, now(), now() + number * interval '1 s', ''
from generate_series(1, %(owners)s) as owner, generate_series(1, %(conversations)s) as number
"""
FILL_MESSAGES = """
insert into session.messages
    (tenant_id, subject, conversation_id, sequence, id, role, text, citations, partial, size_bytes,
     create_time, request_id)
select tenant_id, subject, conversations.id, sequence, gen_random_uuid(), 'user', 'x', '[]', false, 200,
       now(), gen_random_uuid()
from session.conversations, generate_series(1, 2) as sequence
where tenant_id = %(tenant)s
"""


@pytest.fixture(scope="module")
def filled(data_servers: Platform) -> Iterator[tuple[psycopg.Connection[Any], str, UUID]]:
    """A transaction of a tenant with many callers; the tenant, and a conversation."""
    tenant = f"t-{uuid4().hex[:12]}"
    values = {"tenant": tenant, "owners": OWNERS, "conversations": CONVERSATIONS}
    with psycopg.connect(data_servers.postgres_conninfo("session")) as connection:
        connection.execute("select set_config('app.tenant_id', %s, false)", (tenant,))
        connection.execute(FILL, values)
        connection.execute(FILL_MESSAGES, values)
        row = connection.execute(
            "select id from session.conversations where tenant_id = %s and subject = 'subject-1'", (tenant,)
        ).fetchone()
        assert row is not None
        connection.commit()
        with psycopg.connect(data_servers.postgres_conninfo("causeway_owner"), autocommit=True) as owner:
            owner.execute("analyze session.conversations, session.messages")
        yield connection, tenant, row[0]
        connection.execute("delete from session.conversations where tenant_id = %s", (tenant,))


NAMES = (
    "GET_CONVERSATION",
    "LIST_NEWEST",
    "LIST_AFTER",
    "CREATE_CONVERSATION",
    "SET_TITLE",
    "DELETE_CONVERSATION",
    "APPEND_MESSAGE",
    "EARLIER_MESSAGE",
    "LIST_ASCENDING",
    "LIST_DESCENDING",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_reads_no_table_from_end_to_end(
    filled: tuple[psycopg.Connection[Any], str, UUID], name: str
) -> None:
    connection, tenant, conversation_id = filled
    values = {
        "tenant": tenant,
        "subject": "subject-1",
        "id": conversation_id,
        "conversation_id": conversation_id,
        "request_id": uuid4(),
        "update_time": datetime.now(UTC),
        "title": "",
        "role": "user",
        "text": "x",
        "citations": "[]",
        "partial": False,
        "size_bytes": 200,
        "start": 1,
        "count": 50,
        "limit": 50,
    }
    plan = connection.execute("explain " + getattr(statements, name), values).fetchall()
    connection.rollback()
    lines = [line for (line,) in plan]
    assert any("Index" in line for line in lines), lines
    assert not [line for line in lines if "Seq Scan" in line], lines


def test_the_statements_looked_at_are_all_there_are() -> None:
    public = {name for name in vars(statements) if name.isupper() and not name.startswith("_")}
    assert public - {"LOCK_CREATIONS"} == set(NAMES)
