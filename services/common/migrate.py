"""Brings every service's schema to its newest revision: ``python -m services.common.migrate``.

Reads ``CAUSEWAY_POSTGRES_DSN`` and ``CAUSEWAY_POSTGRES_PASSWORD_FILE`` of the role that owns the tables. Each
service has a schema of its own and, beside its code, the Alembic revisions that made it; the revision it is
at stands in ``<schema>.alembic_version``. An advisory lock lets several processes try at once.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config as AlembicConfig
from psycopg import sql

from services.common import config, logs
from services.common.postgres import PostgresConfig

SCHEMAS = ("policy", "session", "retrieval")
SERVICES = Path(__file__).resolve().parent.parent
LOCK_KEY = 0x6361_7573_6577_6179  # "causeway"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the migration."""

    postgres: PostgresConfig
    """The role that owns the tables."""
    log_level: str = "info"
    """debug, info, warning or error."""


def migrate(settings: PostgresConfig) -> None:
    """Applies every revision that is missing; each schema's in one transaction.

    Raises:
        psycopg.Error, sqlalchemy.exc.DBAPIError: the server refused; what was applied before stays.
    """
    password = settings.password.reveal() or None
    with psycopg.connect(settings.dsn, password=password, autocommit=True) as lock:
        lock.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(settings.dsn, password=password)
        )
        try:
            for schema in SCHEMAS:
                lock.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
                with engine.begin() as connection:
                    command.upgrade(configuration(connection, schema), "head")
                log.info("schema is up to date", extra={"schema": schema})
        finally:
            engine.dispose()


def configuration(connection: sqlalchemy.Connection, schema: str) -> AlembicConfig:
    """What Alembic's commands need for one schema, all within the connection's transaction."""
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(SERVICES / "common" / "alembic"))
    alembic.set_main_option("version_locations", str(SERVICES / schema / "migrations" / "versions"))
    alembic.set_main_option("path_separator", "os")
    alembic.attributes.update(connection=connection, schema=schema)
    return alembic


def main() -> int:
    """Migrates; returns the exit code."""
    settings = config.load(Config)
    logs.configure("migrate", settings.log_level)
    migrate(settings.postgres)
    return 0


if __name__ == "__main__":
    sys.exit(main())
