"""What PostgreSQL says about its own tables, and rows made up for them."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

Connection = psycopg.Connection[Any]

NAMESPACES = """
select nspname::text from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1
"""
RELATIONS = """
select n.nspname as schema, c.relname as name, c.relkind::text as kind, c.relowner::regrole::text as owner,
       c.relrowsecurity as secured, c.relforcerowsecurity as forced
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any(%s) and c.relkind = any(%s)
order by 1, 2
"""
COLUMNS = """
select a.attname as name, a.attnotnull as required, t.typname as type, t.typtype::text as kind,
       a.attgenerated <> '' as generated, a.attidentity::text as identity, t.oid as type_oid
from pg_attribute as a join pg_type as t on t.oid = a.atttypid
where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, partition, view, materialised view or foreign table."""

    schema: str
    name: str
    kind: str
    """``pg_class.relkind``."""
    owner: str
    secured: bool
    forced: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """For statements."""
        return sql.Identifier(self.schema, self.name)


def namespaces(connection: Connection) -> list[str]:
    """Every schema but the system's."""
    return [name for (name,) in connection.execute(NAMESPACES)]


def relations(connection: Connection, kinds: str) -> list[Table]:
    """Every relation of these kinds outside the system's schemas: ``r`` tables, ``p`` partitioned ones, ``v``
    views, ``m`` materialised views, ``f`` foreign tables, ``S`` sequences."""
    values = (namespaces(connection), list(kinds))
    return [Table(*row) for row in connection.execute(RELATIONS, values)]


def columns(connection: Connection, table: Table) -> list[Any]:
    """The columns of a table, in order."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(COLUMNS, (str(table),)).fetchall()


def made_up_row(connection: Connection, table: Table, tenant: str) -> dict[str, object]:
    """A row of ``tenant`` with a value in every column that takes one."""
    row: dict[str, object] = {}
    for column in columns(connection, table):
        if column.generated or column.identity:
            continue
        row[column.name] = tenant if column.name == "tenant_id" else _value(connection, column)
    return row


def insert(connection: Connection, table: Table, row: dict[str, object]) -> None:
    """Stores a row."""
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def _value(connection: Connection, column: Any) -> object:
    """Some value of the column's type; random, so that unique keys do not stand in the way."""
    if column.kind == "e":
        row = connection.execute(
            "select enumlabel from pg_enum where enumtypid = %s limit 1", (column.type_oid,)
        ).fetchone()
        assert row is not None
        return row[0]
    if column.type.startswith("_"):
        return "{}"
    match column.type:
        case "text" | "varchar" | "bpchar" | "name":
            return f"x{secrets.token_hex(8)}"
        case "int2":
            return random.randrange(1, 2**15)
        case "int4" | "int8" | "numeric" | "float4" | "float8":
            return random.randrange(1, 2**31)
        case "bool":
            return False
        case "uuid":
            return uuid4()
        case "bytea":
            return secrets.token_bytes(8)
        case "json" | "jsonb":
            return "{}"
        case "timestamptz" | "timestamp" | "date":
            return "2026-01-01"
        case "interval":
            return "1 second"
        case "tsvector":
            return "x"
        case _:
            raise AssertionError(f"no value known for a column of type {column.type}: add one here")
