"""The audit table: what the service's role can do to it, and how it is searched."""

from __future__ import annotations

import json

import psycopg
import pytest
from support.platform import Platform
from support.policy_client import PolicyClient, entry


def connect(platform: Platform, tenant: str | None) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the service's role, for a tenant or for none."""
    connection = psycopg.connect(platform.postgres_conninfo("policy"), autocommit=True)
    if tenant is not None:
        connection.execute("select set_config('app.tenant_id', %s, false)", (tenant,))
    return connection


@pytest.mark.parametrize(
    "statement",
    [
        "update policy.audit_entries set subject = 'eve'",
        "delete from policy.audit_entries",
        "truncate policy.audit_entries",
        "drop table policy.audit_entries",
        "alter table policy.audit_entries disable row level security",
        "create table policy.other (a int)",
    ],
)
async def test_the_service_cannot_change_what_was_done(
    client: PolicyClient, data_servers: Platform, statement: str
) -> None:
    await client.append(entry())
    with (
        connect(data_servers, client.tenant) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
    assert len((await client.query()).entries) == 1


async def test_without_a_tenant_there_are_no_rows(client: PolicyClient, data_servers: Platform) -> None:
    await client.append(entry())
    count = "select count(*) from policy.audit_entries"
    for tenant, expected in ((None, 0), (f"{client.tenant}x", 0), (client.tenant, 1)):
        with connect(data_servers, tenant) as connection:
            assert connection.execute(count).fetchone() == (expected,)


@pytest.mark.parametrize("tenant", [None, "other"])
async def test_no_row_can_be_written_for_another_tenant(
    client: PolicyClient, data_servers: Platform, tenant: str | None
) -> None:
    insert = (
        "insert into policy.audit_entries (tenant_id, id, subject, action, resource, outcome, attributes) "
        "values (%s, gen_random_uuid(), 'eve', 'a.b', '', 1, '{}')"
    )
    with connect(data_servers, tenant) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(insert, (client.tenant,))
    assert not (await client.query()).entries


@pytest.mark.parametrize(
    "condition, index",
    [
        ("", "audit_entries_by_time"),
        ("and subject = 'nobody'", "audit_entries_by_subject"),
        ("and action = 'no.thing'", "audit_entries_by_action"),
    ],
)
async def test_a_page_is_read_from_an_index_in_its_order(
    client: PolicyClient, data_servers: Platform, condition: str, index: str
) -> None:
    query = (
        f"select * from policy.audit_entries where tenant_id = '{client.tenant}' {condition} "  # noqa: S608
        "and (create_time, sequence) < (now(), 5) order by create_time desc, sequence desc limit 51"
    )
    with connect(data_servers, client.tenant) as connection:
        # The table is small here; what counts is that the order and the start come from the index.
        connection.execute("set enable_seqscan = off")
        connection.execute("set enable_bitmapscan = off")
        connection.execute("set enable_sort = off")
        rows = connection.execute(f"explain (format json) {query}").fetchone()
    plan = json.dumps(rows)
    assert f'"Index Name": "{index}"' in plan
    assert '"Sort"' not in plan
    assert "ROW(create_time, sequence) <" in plan.partition('"Index Cond"')[2]
