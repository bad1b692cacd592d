"""Every role reaches its own schema only, and does there only what its service does."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from support.catalog import namespaces, relations
from support.platform import Platform

SCHEMAS = {
    "session": {"session"},
    "retrieval": {"retrieval", "retrieval_relay"},
    "policy": {"policy"},
}
"""Which roles may use a schema."""
APP_ROLES = tuple(sorted(set().union(*SCHEMAS.values())))
PLAIN = ("SELECT", "INSERT", "UPDATE", "DELETE")
DANGEROUS = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
"""TRUNCATE passes row-level security by, and the others help to."""
SESSION = {
    "session.conversations": {"SELECT", "INSERT", "DELETE"},
    "session.messages": {"SELECT", "INSERT"},
}
RELAY = {
    ("retrieval.outbox", "SELECT"): "every column",
    ("retrieval.outbox", "UPDATE"): "publish_time",
    ("retrieval.tenants", "SELECT"): "every column",
}
"""The relay hands the jobs of all tenants to the queue, and finds them again by the list of tenants: it sees
ids and no text, and may only mark a job as handed over."""
COLUMNS_OF = """
select coalesce(string_agg(attname, ', ') filter (where held), ''), bool_and(held)
from (select attname, has_column_privilege(%(role)s, attrelid, attnum, %(privilege)s) as held
      from pg_attribute where attrelid = %(table)s::regclass and attnum > 0 and not attisdropped) as columns
"""
GRANTED_TO_EVERYBODY = """
select c.oid::regclass::text
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace, aclexplode(c.relacl) as acl
where n.nspname = any(%(schemas)s) and acl.grantee = 0
union all
select nspname::text from pg_namespace, aclexplode(nspacl) as acl
where nspname = any(%(schemas)s) and acl.grantee = 0
union all
select datname::text from pg_database, aclexplode(datacl) as acl
where datname = current_database() and acl.grantee = 0
union all
select 'a default privilege' from pg_default_acl
"""

Admin = psycopg.Connection[Any]


def may(admin: Admin, role: str, table: str, privilege: str, *, in_part: bool = True) -> bool:
    """Whether a role has a privilege on a table, or (``in_part``) on any of its columns."""
    statement = "select has_table_privilege(%(role)s, %(table)s, %(privilege)s)"
    if in_part and privilege in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):
        statement += " or has_any_column_privilege(%(role)s, %(table)s, %(privilege)s)"
    row = admin.execute(statement, {"role": role, "table": table, "privilege": privilege}).fetchone()
    return row is not None and bool(row[0])


@pytest.mark.parametrize("role", APP_ROLES)
def test_a_role_reaches_its_own_schema_only(admin: Admin, role: str) -> None:
    statement = "select has_schema_privilege(%s, %s, 'USAGE'), has_schema_privilege(%s, %s, 'CREATE')"
    for schema, users in SCHEMAS.items():
        usable, creatable = admin.execute(statement, (role, schema, role, schema)).fetchall()[0]
        assert not creatable, f"{role} may create in {schema}"
        assert role in users or not usable, f"{role} may use {schema}"
    for table in relations(admin, "rpvmf"):
        if role in SCHEMAS[table.schema] and table.name != "alembic_version":
            continue
        held = [privilege for privilege in (*PLAIN, *DANGEROUS) if may(admin, role, str(table), privilege)]
        assert held == [], f"{role} has {held} on {table}"


@pytest.mark.parametrize("role", APP_ROLES)
def test_no_role_holds_a_privilege_that_goes_around_row_level_security(admin: Admin, role: str) -> None:
    held = [
        (str(table), privilege)
        for table in relations(admin, "rpvmf")
        for privilege in DANGEROUS
        if may(admin, role, str(table), privilege)
    ]
    assert held == []


def test_everybody_has_nothing(admin: Admin) -> None:
    """A privilege of PUBLIC is one of every role that will ever be."""
    assert admin.execute(GRANTED_TO_EVERYBODY, {"schemas": namespaces(admin)}).fetchall() == []


@pytest.mark.parametrize("role", APP_ROLES)
def test_no_role_may_make_anything(admin: Admin, role: str) -> None:
    for privilege in ("CREATE", "TEMPORARY"):
        row = admin.execute(
            "select has_database_privilege(%s, current_database(), %s)", (role, privilege)
        ).fetchone()
        assert row == (False,), privilege


def test_the_session_service_can_do_what_it_does_and_no_more(admin: Admin) -> None:
    for table, expected in SESSION.items():
        held = {privilege for privilege in PLAIN if may(admin, "session", table, privilege, in_part=False)}
        assert held == expected, table
    updatable = admin.execute(
        """
        select attname::text from pg_attribute
        where attrelid = 'session.conversations'::regclass and attnum > 0
          and has_column_privilege('session', attrelid, attnum, 'UPDATE')
        """
    ).fetchall()
    assert {name for (name,) in updatable} == {"title", "message_count", "update_time"}
    assert not may(admin, "session", "session.messages", "UPDATE")


def test_the_relay_that_sees_all_tenants_sees_as_little_as_can_be(admin: Admin) -> None:
    held = {}
    for table in relations(admin, "rp"):
        for privilege in ("SELECT", "INSERT", "UPDATE"):
            values = {"role": "retrieval_relay", "table": str(table), "privilege": privilege}
            names, all_of_them = admin.execute(COLUMNS_OF, values).fetchall()[0]
            if names:
                held[str(table), privilege] = "every column" if all_of_them else names
        assert not may(admin, "retrieval_relay", str(table), "DELETE"), table
    assert held == RELAY


@pytest.mark.parametrize("role", APP_ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "set role causeway_owner",
        "set session authorization postgres",
        "set row_security = off; select count(*) from session.conversations",
        "alter table session.conversations no force row level security",
        "alter table session.conversations disable row level security",
        "drop policy one_tenant on session.conversations",
        "create policy open on session.conversations using (true)",
        "copy session.conversations to program 'cat'",
        "truncate session.conversations cascade",
        "create temporary table t (x int)",
        "select pg_read_file('/etc/passwd')",
    ],
)
def test_a_stolen_login_cannot_lift_the_fence(data_servers: Platform, role: str, statement: str) -> None:
    with (
        psycopg.connect(data_servers.postgres_conninfo(role)) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        for part in statement.split("; "):
            connection.execute(part)
