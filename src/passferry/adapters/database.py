"""Transactions on SQLite, the audit chain within them, and what a failing disk means.

Every transaction is one plain function over a connection, run in the one thread that owns the connection:
one hop a transaction, whatever the number of its statements.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, event, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from passferry.adapters import schema
from passferry.adapters.rows import key_id_of
from passferry.domain.audit import GENESIS, Head, Record, fields_of, link
from passferry.ports import StaleSeal, StoreBusy, StoreFull, StoreLost

T = TypeVar("T")

BUSY_SECONDS = 10.0
CHECKPOINT_BUSY_MS = 250


class NewerDatabase(Exception):
    """The database was written by a newer version; its argument is that version."""


class Database:
    """One SQLite database and its thread. ``inline``, for virtual time: transactions run on the caller's."""

    def __init__(self, path: Path | None, audit_key: bytes, *, inline: bool = False) -> None:
        """Open (not create) the database file; None keeps everything in memory, for tests."""
        self.audit_key = audit_key
        self._path = path
        self._engine = _engine(path)
        self._reader = _reader(path) if path is not None else None
        self._thread = None if inline else ThreadPoolExecutor(1, thread_name_prefix="store")
        self._closed = False

    @property
    def engine(self) -> Engine:
        """For set-up and tests; everything else goes through ``run``."""
        return self._engine

    async def run(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work`` in one committed transaction.

        Cancelling the caller does not stop a transaction that has begun. Raises ``StoreFull``, ``StoreBusy``,
        ``StoreLost``, or what ``work`` raises after everything was rolled back.
        """
        if self._thread is None:
            return self._transact(work)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    async def look(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``, which only reads, on a connection of its own.

        However long it reads, transactions go on beside it. Raises ``StoreBusy`` and what ``work`` raises.
        """
        if self._reader is None:  # in memory there is one connection
            return await self.run(work)
        if self._thread is None:
            return self._look(self._reader, work)
        return await asyncio.to_thread(self._look, self._reader, work)

    def _look(self, reader: Engine, work: Callable[[Connection], T]) -> T:
        try:
            with reader.connect() as connection:
                return work(connection)
        except OperationalError as error:
            failure = _failure(error, committing=False)
            if failure is None:
                raise
        raise failure

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            try:
                connection.begin()
                result = work(connection)
            except OperationalError as error:
                connection.rollback()
                failure = _failure(error, committing=False)
                if failure is None:
                    raise
            except BaseException:
                connection.rollback()
                raise
            else:
                try:
                    connection.commit()
                except DBAPIError as error:
                    failure = _failure(error, committing=True) or StoreLost("a commit failed")
                else:
                    return result
        raise failure

    async def checkpoint(self) -> None:
        """Move the write-ahead log into the database and empty it, so that erased rows leave it too."""

        def work(connection: Connection) -> None:
            raw = connection.connection.driver_connection
            assert raw is not None  # noqa: S101  # a live connection has one
            # A long reader elsewhere would hold it up, and with it every accept: then the next one does it.
            raw.execute(f"PRAGMA busy_timeout = {CHECKPOINT_BUSY_MS}")
            try:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                raw.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

        def outside() -> None:
            with self._engine.connect() as connection:
                work(connection)

        if self._thread is None:
            outside()
        else:
            await asyncio.get_running_loop().run_in_executor(self._thread, outside)

    def close(self) -> None:
        """Finish what runs, then close. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._thread is not None:
                self._thread.shutdown(wait=True)
            self._engine.dispose()


def _failure(error: DBAPIError, *, committing: bool) -> Exception | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull("the disk is full")
    if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY and not committing:
        return StoreBusy("the database is locked by another program")
    if committing:
        return StoreLost("a commit failed")
    if code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
        return StoreLost("the disk failed")
    return None


def _engine(path: Path | None) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}" if path else "sqlite://",
        poolclass=StaticPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _connect(raw: sqlite3.Connection, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
            with closing(raw.execute(f"PRAGMA {pragma}")):
                pass

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reader(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _connect(raw: sqlite3.Connection, _: Any) -> None:
        with closing(raw.execute("PRAGMA query_only=ON")):
            pass

    return engine


def prepare(database: Database) -> None:
    """Create the tables of an empty database. Raises ``NewerDatabase``."""
    with database.engine.begin() as connection:
        schema.metadata.create_all(connection)
        found = connection.execute(
            select(schema.meta.c.value).where(schema.meta.c.name == "version")
        ).scalar()
        if found is None:
            connection.execute(insert(schema.meta).values(name="version", value=str(schema.VERSION)))
        elif int(found) > schema.VERSION:
            raise NewerDatabase(found)
        for index in schema.ADDED_INDEXES:
            index.create(connection, checkfirst=True)


def required_key(connection: Connection) -> str | None:
    """The id of the newest sealing key that a rotation made; None while no key was rotated."""
    return connection.execute(_REQUIRED_KEY).scalar()


_REQUIRED_KEY = select(schema.meta.c.value).where(schema.meta.c.name == "sealing_key")
_NAMED = select(schema.meta.c.name).where(schema.meta.c.name.in_(bindparam("names", expanding=True))).limit(1)


def retired(key_id: str) -> str:
    """The name in ``meta`` that says that nothing is stored any more that is sealed under ``key_id``."""
    return f"retired:{key_id}"


def check_seals(connection: Connection, sealed: Iterable[bytes]) -> None:
    """Refuse what is sealed under a key that rotation replaces and will destroy. Raises ``StaleSeal``.

    A key that was never heard of is taken: it is in the ring already, and the rotation that made it goes on.
    """
    names = {retired(key_id) for value in sealed if (key_id := key_id_of(value))}
    if names and connection.execute(_NAMED, {"names": sorted(names)}).first() is not None:
        raise StaleSeal(required_key(connection) or "")


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``, or update those whose primary key exists."""
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


class Chain:
    """Appends to one org's audit chain within a transaction; ``close`` writes what was added."""

    def __init__(self, connection: Connection, key: bytes, org: str) -> None:
        """Lock the org's row, the last of a transaction, and continue from its head."""
        self._connection, self._key, self._org = connection, key, org
        row = connection.execute(
            select(schema.orgs.c.head_seq, schema.orgs.c.head_mac)
            .where(schema.orgs.c.name == org)
            .with_for_update()
        ).one()
        self._head = Head(row.head_seq, row.head_mac)
        self._rows: list[dict[str, Any]] = []

    def add(self, record: Record) -> int:
        """Append ``record``; its number in the chain."""
        seq = self._head.seq + 1
        mac = link(self._key, self._head.mac, self._org, seq, record)
        self._rows.append({"org": self._org, "seq": seq, "mac": mac, **fields_of(record)})
        self._head = Head(seq, mac)
        return seq

    def close(self) -> None:
        """Write the records and the new head."""
        if self._rows:
            self._connection.execute(insert(schema.audit), self._rows)
            self._connection.execute(
                update(schema.orgs)
                .where(schema.orgs.c.name == self._org)
                .values(head_seq=self._head.seq, head_mac=self._head.mac)
            )


def add_orgs(connection: Connection, names: list[str]) -> None:
    """Give every configured org its row."""
    known = set(connection.execute(select(schema.orgs.c.name)).scalars())
    rows = [
        {"name": name, "epoch": 0, "blocked_until": 0.0, "head_seq": 0, "head_mac": GENESIS} for name in names
    ]
    new = [row for row in rows if row["name"] not in known]
    if new:
        connection.execute(insert(schema.orgs), new)
