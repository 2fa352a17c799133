"""The tables of a database are made, brought up to date, or refused, in one transaction.

Whoever starts at the same time waits for the other: on PostgreSQL for an advisory lock, on SQLite for the
database. The version stands in ``meta``, where the first programs look for it, and in Alembic's own table.
"""

import logging

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
    update,
)

from passferry.adapters import schema

LOCK = int.from_bytes(b"passferr")
"""Of PostgreSQL's advisory locks, which all programs on a database share."""

LOCK_SECONDS = 10.0
"""How long a change of a table waits for its readers. Everybody else queues behind it meanwhile."""

_log = logging.getLogger(__name__)

mark = Table(  # as Alembic makes it
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class NewerDatabase(Exception):
    """The database was written by a newer version; its argument is that version."""


class ForeignDatabase(Exception):
    """The database has other tables of our names; its argument is one of them."""


def migrate(connection: Connection) -> None:
    """Bring the tables to ``schema.VERSION``, all or nothing: make them, upgrade them, or do nothing.

    Args:
        connection: in a transaction, on SQLite one that began as IMMEDIATE, on PostgreSQL READ COMMITTED.

    Raises:
        NewerDatabase: a newer program has upgraded it.
        ForeignDatabase: the tables are not ours.
    """
    if connection.dialect.name == "postgresql":
        # An index may take its time, and whoever starts meanwhile waits for as long.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}"))
    tables = set(inspect(connection).get_table_names())
    found = _version(connection, tables)
    if found is None:
        _make(connection)
    elif found > schema.VERSION:
        raise NewerDatabase(str(found))
    elif found < schema.VERSION:
        _upgrade(connection, found)


def _version(connection: Connection, tables: set[str]) -> int | None:
    """The stored version; None where none of our tables is. Where marks differ, the newer one counts."""
    ours = tables & set(schema.metadata.tables)
    if not ours:
        return None
    if not ours >= {"meta", "orgs", "changes"}:
        raise ForeignDatabase(min(ours))
    marks = list(connection.scalars(select(schema.meta.c.value).where(schema.meta.c.name == "version")))
    if not marks:
        raise ForeignDatabase("meta")
    if mark.name in tables:
        marks += connection.scalars(select(mark.c.version_num))
    return max(map(int, marks))


def _make(connection: Connection) -> None:
    schema.metadata.create_all(connection, checkfirst=False)
    mark.create(connection)
    connection.execute(insert(schema.meta).values(name="version", value=str(schema.VERSION)))
    connection.execute(insert(mark).values(version_num=_revision(schema.VERSION)))


def _upgrade(connection: Connection, found: int) -> None:
    # Imported here because it takes longer than the rest of a start, which seldom needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "passferry.adapters:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, _revision(schema.VERSION))
    version = update(schema.meta).where(schema.meta.c.name == "version")
    connection.execute(version.values(value=str(schema.VERSION)))
    # A warning, and the text whole: both are what every log setting shows.
    _log.warning(f"the database is upgraded from version {found} to {schema.VERSION}")


def _revision(version: int) -> str:
    return f"{version:04}"
