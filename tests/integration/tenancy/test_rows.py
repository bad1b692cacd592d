"""Two tenants' rows in every table, and everything that one could try on the other's.

Each test puts a made-up row of either tenant into a table, as the superuser and with the table's checks taken
away for the length of the transaction, then becomes each role in turn; all of it is undone at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from support.catalog import Table, columns, insert, made_up_row, relations

MINE, THEIRS, NOBODY = "tenancy-mine", "tenancy-theirs", ""
ROLES = ("causeway_owner", "session", "retrieval", "retrieval_relay", "policy")
WITHOUT_TENANT = ("alembic_version",)
SEES_ALL_TENANTS = {"retrieval_relay"}
"""It moves every tenant's jobs to the queue; test_grants.py says what little it may reach."""

Admin = psycopg.Connection[Any]


def tables(admin: Admin) -> list[Table]:
    """Every table that holds tenants' rows."""
    found = [table for table in relations(admin, "rp") if table.name not in WITHOUT_TENANT]
    assert found
    return found


def fill(admin: Admin, table: Table) -> None:
    """One row of either tenant, and one of nobody."""
    constraints = admin.execute(
        "select conname from pg_constraint where conrelid = %s::regclass and contype in ('c', 'f')",
        (str(table),),
    ).fetchall()
    for (name,) in constraints:
        admin.execute(
            sql.SQL("alter table {} drop constraint {}").format(table.identifier, sql.Identifier(name))
        )
    admin.execute("set local session_replication_role = replica")
    for tenant in (MINE, THEIRS, NOBODY):
        insert(admin, table, made_up_row(admin, table, tenant))
    admin.execute("set local session_replication_role = origin")


@contextmanager
def attempt(admin: Admin, role: str, tenant: str | None) -> Iterator[None]:
    """Whatever is done inside is done as ``role`` for ``tenant``, and undone."""
    with admin.transaction(force_rollback=True):
        if tenant is not None:
            admin.execute("select set_config('app.tenant_id', %s, true)", (tenant,))
        admin.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield


def may(admin: Admin, role: str, table: Table, privilege: str) -> bool:
    """Whether a role has a privilege on a whole table."""
    values = (role, str(table), privilege)
    row = admin.execute("select has_table_privilege(%s, %s, %s)", values).fetchone()
    return row is not None and bool(row[0])


def may_change(admin: Admin, role: str, table: Table, column: str) -> bool:
    """Whether a role may update a column."""
    values = (role, str(table), column)
    row = admin.execute("select has_column_privilege(%s, %s, %s, 'UPDATE')", values).fetchone()
    return row is not None and bool(row[0])


def users(admin: Admin, table: Table, privilege: str) -> list[str]:
    """The roles that a privilege opens the table to, the relay apart."""
    found = [role for role in ROLES if role not in SEES_ALL_TENANTS and may(admin, role, table, privilege)]
    assert "causeway_owner" in found
    return found


def tenants_seen(admin: Admin, table: Table) -> set[str]:
    """Whose rows the present role sees, of those that were made up."""
    statement = sql.SQL("select tenant_id from {} where tenant_id = any(%s)").format(table.identifier)
    return {tenant for (tenant,) in admin.execute(statement, ([MINE, THEIRS, NOBODY],))}


def count(admin: Admin, table: Table) -> int:
    """How many rows the present role sees, whoever's they are."""
    row = admin.execute(sql.SQL("select count(*) from {}").format(table.identifier)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("tenant", [None, NOBODY], ids=["never set", "set before"])
def test_without_a_tenant_there_are_no_rows(admin: Admin, tenant: str | None) -> None:
    """After a transaction that set it, an unset tenant reads as '' and not as NULL."""
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            for role in users(admin, table, "SELECT"):
                with attempt(admin, role, tenant):
                    assert count(admin, table) == 0, f"{role} sees rows of {table} without a tenant"


@pytest.mark.parametrize("tenant", [None, NOBODY], ids=["never set", "set before"])
@pytest.mark.parametrize("target", [MINE, NOBODY])
def test_without_a_tenant_nothing_can_be_stored(admin: Admin, tenant: str | None, target: str) -> None:
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            for role in users(admin, table, "INSERT"):
                row = made_up_row(admin, table, target)
                with attempt(admin, role, tenant), pytest.raises(InsufficientPrivilege, match="row-level"):
                    insert(admin, table, row)


def test_a_tenant_sees_its_own_rows_only(admin: Admin) -> None:
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            for role in users(admin, table, "SELECT"):
                with attempt(admin, role, MINE):
                    assert tenants_seen(admin, table) == {MINE}, f"{role}: {table}"
                    assert count(admin, table) == 1, f"{role}: {table}"


def test_a_tenant_cannot_store_for_another(admin: Admin) -> None:
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            for role in users(admin, table, "INSERT"):
                row = made_up_row(admin, table, THEIRS)
                with attempt(admin, role, MINE), pytest.raises(InsufficientPrivilege, match="row-level"):
                    insert(admin, table, row)


def test_a_tenant_cannot_delete_anothers_rows(admin: Admin) -> None:
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            for role in users(admin, table, "DELETE"):
                with attempt(admin, role, MINE):
                    deleted = admin.execute(sql.SQL("delete from {}").format(table.identifier)).rowcount
                    assert deleted == 1, f"{role}: {table}"
                    admin.execute("reset role")
                    assert tenants_seen(admin, table) == {THEIRS, NOBODY}, f"{role}: {table}"


def test_a_tenant_cannot_change_anothers_rows_nor_give_its_own_away(admin: Admin) -> None:
    for table in tables(admin):
        with admin.transaction(force_rollback=True):
            fill(admin, table)
            names = [
                column.name
                for column in columns(admin, table)
                if not column.generated and column.identity != "a"
            ]
            for role in ROLES:
                if role in SEES_ALL_TENANTS:
                    continue
                changeable = [name for name in names if may_change(admin, role, table, name)]
                for name in changeable:
                    with attempt(admin, role, MINE):
                        statement = sql.SQL("update {} set {column} = {column}").format(
                            table.identifier, column=sql.Identifier(name)
                        )
                        changed = admin.execute(statement).rowcount
                        assert changed <= 1, f"{role}: {table}.{name}"
                if "tenant_id" in changeable:
                    with attempt(admin, role, MINE), pytest.raises(InsufficientPrivilege, match="row-level"):
                        admin.execute(
                            sql.SQL("update {} set tenant_id = %s").format(table.identifier), (THEIRS,)
                        )


@pytest.mark.parametrize(
    "flaw",
    [
        "",
        "alter table session.leaky enable row level security; create policy p on session.leaky using (true)",
        (
            "alter table session.leaky enable row level security, force row level security; "
            "create policy p on session.leaky using (tenant_id in ('tenancy-mine', 'tenancy-theirs'))"
        ),
    ],
    ids=["no fence", "an open gate", "a gate for two"],
)
def test_a_new_table_with_a_hole_would_be_noticed(admin: Admin, flaw: str) -> None:
    admin.execute("create table session.leaky (tenant_id text not null, id uuid primary key)")
    admin.execute("alter table session.leaky owner to causeway_owner")
    admin.execute("grant select, insert, delete, update on session.leaky to session")
    for statement in filter(None, flaw.split("; ")):
        admin.execute(statement)
    for rule in (
        test_a_tenant_sees_its_own_rows_only,
        test_a_tenant_cannot_delete_anothers_rows,
    ):
        with pytest.raises(AssertionError, match="leaky"), admin.transaction():
            rule(admin)
