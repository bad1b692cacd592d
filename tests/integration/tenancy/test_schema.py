"""Nothing in the schema lets tenants meet: read from the catalog, so that a new table is covered at once."""

from __future__ import annotations

from typing import Any

import psycopg
from support.catalog import columns, namespaces, relations

OWNER = "causeway_owner"
APP_ROLES = ("session", "retrieval", "retrieval_relay", "policy")
SCHEMAS = ("session", "retrieval", "policy")
WITHOUT_TENANT = {
    f"{schema}.alembic_version": "the revision the schema is at: no tenant's data, and no role may read it"
    for schema in SCHEMAS
}
SEES_ALL_TENANTS = {
    "retrieval_relay": "moves the jobs of every tenant to the queue; test_grants.py says what it may reach",
}

POLICIES = """
select schemaname || '.' || tablename, policyname, cmd, roles::text[], qual, with_check from pg_policies
"""
VIEWS_WITH_THEIR_OWNERS_RIGHTS = """
select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any(%s) and c.relkind = 'v'
  and not coalesce(c.reloptions @> array['security_invoker=true'], false)
"""
FUNCTIONS_WITH_THEIR_OWNERS_RIGHTS = """
select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname = any(%s) and p.prosecdef
"""
UNIQUE_KEYS = """
select i.indrelid::regclass::text, i.indexrelid::regclass::text,
       (select bool_or(a.attname = 'tenant_id') or bool_and(a.attidentity = 'a')
        from unnest(i.indkey::int2[]) as number
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = number)
from pg_index as i join pg_class as c on c.oid = i.indrelid join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any(%s) and i.indisunique
"""
REFERENCES = """
select conrelid::regclass::text, conname,
       exists (select from unnest(conkey, confkey) as pair(here, there)
               join pg_attribute as h on h.attrelid = conrelid and h.attnum = here
               join pg_attribute as t on t.attrelid = confrelid and t.attnum = there
               where h.attname = 'tenant_id' and t.attname = 'tenant_id')
from pg_constraint where contype = 'f'
"""
OWNED_BY_OTHERS = """
select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any(%(schemas)s) and c.relowner <> %(owner)s::regrole
union all
select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname = any(%(schemas)s) and p.proowner <> %(owner)s::regrole
union all
select nspname::text from pg_namespace
where nspname = any(%(schemas)s) and nspname <> 'public' and nspowner <> %(owner)s::regrole
"""
POWERFUL_ROLES = """
select rolname::text from pg_roles
where rolname <> 'postgres' and rolname !~ '^pg_'
  and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)
"""
MEMBERSHIPS = """
select member::regrole::text, roleid::regrole::text from pg_auth_members
where member::regrole::text !~ '^pg_'
"""

Admin = psycopg.Connection[Any]


def test_there_are_no_schemas_but_those_of_the_services(admin: Admin) -> None:
    assert set(namespaces(admin)) == {*SCHEMAS, "public"}
    assert [table for table in relations(admin, "rpvmfS") if table.schema == "public"] == []


def test_the_tables_are_there_to_be_looked_at(admin: Admin) -> None:
    found = {str(table) for table in relations(admin, "rp")}
    assert found >= {"session.conversations", "session.messages", *WITHOUT_TENANT}


def test_every_table_carries_its_tenant(admin: Admin) -> None:
    for table in relations(admin, "rp"):
        if str(table) in WITHOUT_TENANT:
            continue
        tenant = [column for column in columns(admin, table) if column.name == "tenant_id"]
        assert tenant, f"{table} has no tenant_id"
        assert tenant[0].required, f"{table}.tenant_id may be null"
        assert tenant[0].type == "text", f"{table}.tenant_id is not text"


def test_row_level_security_holds_for_everybody_the_owner_included(admin: Admin) -> None:
    for table in relations(admin, "rp"):
        if str(table) not in WITHOUT_TENANT:
            assert table.secured, f"{table} has no row-level security"
            assert table.forced, f"{table} does not force row-level security on its owner"


def test_every_policy_compares_the_tenant_both_ways(admin: Admin) -> None:
    covered = set()
    for table, name, command, roles, using, check in admin.execute(POLICIES):
        if set(roles) <= set(SEES_ALL_TENANTS):
            continue
        covered.add(table)
        # Where only one of the two is given, PostgreSQL takes it for both.
        expressions = {expression for expression in (using, check) if expression is not None}
        assert expressions, f"{table}: {name} lets everything through"
        for expression in expressions:
            assert "tenant_id" in expression, f"{table}: {name} ({command}) does not look at the tenant"
            assert "app.tenant_id" in expression, f"{table}: {name} ({command}) does not look at the setting"
            assert " or " not in expression.lower(), f"{table}: {name} ({command}) leaves another way in"
    assert covered == {str(table) for table in relations(admin, "rp")} - set(WITHOUT_TENANT)


def test_nothing_goes_around_row_level_security(admin: Admin) -> None:
    schemas = (namespaces(admin),)
    assert [str(view) for view in relations(admin, "mf")] == [], "row-level security does not reach these"
    assert admin.execute(VIEWS_WITH_THEIR_OWNERS_RIGHTS, schemas).fetchall() == []
    assert admin.execute(FUNCTIONS_WITH_THEIR_OWNERS_RIGHTS, schemas).fetchall() == []


def test_every_unique_key_holds_the_tenant_or_is_chosen_by_the_server(admin: Admin) -> None:
    """A key across tenants whose values callers choose tells one, by a conflict, that another has a row."""
    keys = admin.execute(UNIQUE_KEYS, (namespaces(admin),)).fetchall()
    assert keys
    assert [key for table, key, safe in keys if not safe and table not in WITHOUT_TENANT] == []


def test_every_reference_stays_inside_the_tenant(admin: Admin) -> None:
    """PostgreSQL checks foreign keys without row-level security: only the key itself can hold them apart."""
    references = admin.execute(REFERENCES).fetchall()
    assert references
    assert [(table, name) for table, name, bound in references if not bound] == []


def test_the_owner_owns_everything(admin: Admin) -> None:
    values = {"schemas": namespaces(admin), "owner": OWNER}
    assert admin.execute(OWNED_BY_OTHERS, values).fetchall() == []


def test_no_role_may_do_more_than_log_in(admin: Admin) -> None:
    logins = admin.execute("select rolname::text from pg_roles where rolcanlogin and not rolsuper")
    assert {name for (name,) in logins} == {OWNER, *APP_ROLES}
    assert admin.execute(POWERFUL_ROLES).fetchall() == []
    assert admin.execute(MEMBERSHIPS).fetchall() == []
