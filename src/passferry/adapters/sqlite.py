"""Transactions on SQLite, and what a failing disk means.

Every transaction is one plain function over a connection, run in the one thread that owns the connection:
one hop a transaction, whatever the number of its statements. Those that wait for the thread are committed
together: a commit is a sync of the disk, and costs more than what it commits.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from passferry.adapters.database import Database
from passferry.store_ports import StoreBusy, StoreFull, StoreLost

T = TypeVar("T")

BUSY_SECONDS = 10.0
TOGETHER = 64
"""Transactions that share a commit at most."""
CHECKPOINT_BUSY_MS = 250


class SqliteDatabase(Database):
    """One SQLite database and its thread. ``inline``, for virtual time: transactions run on the caller's."""

    shared = False

    def __init__(self, path: Path | None, audit_key: bytes, *, inline: bool = False) -> None:
        """Open (not create) the database file; None keeps everything in memory, for tests."""
        self.audit_key = audit_key
        self._path = path
        self._engine = _engine(path)
        self._reader = _reader(path) if path is not None else None
        self._thread = None if inline else ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[_Piece] = deque()
        self._patient: deque[_Piece] = deque()
        self._closed = False

    @property
    def engine(self) -> Engine:
        """For set-up and tests; everything else goes through ``run``."""
        return self._engine

    @property
    def reader(self) -> Engine:
        """See the protocol."""
        return self._reader or self._engine  # in memory there is one connection

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See the protocol."""
        if self._thread is None:
            return self._transact(work)
        piece = _Piece(work, asyncio.get_running_loop())
        (self._patient if patient else self._waiting).append(piece)
        self._thread.submit(self._take_all)
        # Who goes away does not take the others' commit with it.
        result: T = await asyncio.shield(piece.future)
        return result

    def _take_all(self) -> None:
        """Commit together whatever waits; the turns that others asked for find nothing left to do."""
        pieces = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
        room = TOGETHER - len(pieces)
        pieces += [self._patient.popleft() for _ in range(min(room, len(self._patient)))]
        if len(pieces) > 1 and self._together(pieces):
            return
        for piece in pieces:
            try:
                piece.give(self._transact(piece.work))
            except BaseException as error:  # noqa: BLE001  # its caller gets it
                piece.fail(error)

    def _together(self, pieces: "list[_Piece]") -> bool:
        """Whether all were done in one transaction; else nothing of it is there, and each is done alone."""
        try:
            results = self._transact(lambda connection: [piece.work(connection) for piece in pieces])
        except (StoreFull, StoreLost) as error:
            for piece in pieces:
                piece.fail(error)
        except BaseException:  # noqa: BLE001  # it is found out alone whose error it is
            return False
        else:
            for piece, result in zip(pieces, results, strict=True):
                piece.give(result)
        return True

    async def look(self, work: Callable[[Connection], T]) -> T:
        """See the protocol."""
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
            found = failure(error, committing=False)
            if found is None:
                raise
        raise found

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            try:
                connection.begin()
                result = work(connection)
            except OperationalError as error:
                connection.rollback()
                found = failure(error, committing=False)
                if found is None:
                    raise
            except BaseException:
                connection.rollback()
                raise
            else:
                try:
                    connection.commit()
                except DBAPIError as error:
                    found = failure(error, committing=True) or StoreLost("a commit failed")
                else:
                    return result
        raise found

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


class _Piece:
    """A transaction that waits for its turn, and its caller."""

    __slots__ = ("_loop", "future", "work")

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work, self._loop = work, loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def give(self, result: Any) -> None:
        self._loop.call_soon_threadsafe(self._settle, self.future.set_result, result)

    def fail(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._settle, self.future.set_exception, error)

    def _settle(self, settle: Callable[[Any], None], value: Any) -> None:
        if not self.future.done():
            settle(value)
            self.future.exception()  # seen, even if its caller has gone


def failure(error: DBAPIError, *, committing: bool) -> Exception | None:
    """What ``error`` means to a use case; None when it is a defect, or no database."""
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
