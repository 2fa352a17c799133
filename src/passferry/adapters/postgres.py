"""Transactions on PostgreSQL, and what a database that goes away means.

Every transaction is one plain function over a connection, run in one of a few threads. Until its commit was
sent nothing of it is there, so it is run again when the server went away or chose it as a deadlock's victim.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from passferry.adapters.database import Database
from passferry.adapters.postgres_turns import NO_ORG, Turns
from passferry.store_ports import StoreAway, StoreBusy, StoreFull

T = TypeVar("T")

CONNECTIONS = 8
TRIES = 3
SOCKET: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "passferry",
}
"""A cut network is noticed within 10 s; the system's own keepalives take two hours."""
SETTINGS = {
    "synchronous_commit": "on",
    "lock_timeout": "8s",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "15s",
}
"""A frozen process holds its locks for 15 s at most, and nobody waits longer than 8 s for one."""
_SET = ", ".join(f"set_config('{name}', '{value}', {{local}})" for name, value in SETTINGS.items())
AWAY = 1.5
"""Seconds after a connection failed in which no other is tried, and while one is, by nobody else."""
PROMPT = 1.0
"""Seconds within which the database must answer for its clock to be believed."""

_AGAIN = ("40001", "40P01")  # serialization failure, deadlock
_BUSY = ("55P03", "57014")  # lock timeout, statement timeout
_AWAY = ("08", "53", "57")  # connection, too few resources, operator's intervention
_READ_ONLY = "25006"
_FROZEN = "25P03"  # idle in transaction for too long: this very process was frozen
_DISK_FULL = "53100"


class PostgresDatabase(Database):
    """A PostgreSQL database and the threads that work on it."""

    shared = True

    def __init__(self, url: str, audit_key: bytes, connections: int = CONNECTIONS) -> None:
        """Connect when first needed. ``url`` is ``postgresql://…``; its password is shown nowhere."""
        self.audit_key, self._url = audit_key, url
        self._engine = _engine(url, connections)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="store")
        self._turns = Turns(connections)
        self._apart: list[PostgresDatabase] = []
        self._closed = False

    @property
    def engine(self) -> Engine:
        """See the protocol."""
        return self._engine

    @property
    def reader(self) -> Engine:
        """See the protocol: readers hold up nobody."""
        return self._engine

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See the protocol."""
        return await self.run_of(NO_ORG, work, patient=patient)

    async def run_of(self, org: str, work: Callable[[Connection], T], *, patient: bool) -> T:
        """As ``run``, one at a time of those of ``org``."""
        async with self._turns.turn(org, patient=patient):
            return await asyncio.get_running_loop().run_in_executor(self._threads, self.transact, work)

    async def look(self, work: Callable[[Connection], T]) -> T:
        """See the protocol: readers hold up nobody."""
        return await self.run(work)

    def lane(self, org: str) -> Database:
        """See the protocol: one at a time, since they wait for each other in any case."""
        return _Lane(self, org)

    def apart(self) -> Database:
        """See the protocol: with a thread and a connection of its own."""
        self._apart.append(PostgresDatabase(self._url, self.audit_key, connections=1))
        return self._apart[-1]

    def transact(self, work: Callable[[Connection], T]) -> T:
        """As ``run``, in the caller's thread."""
        problem: Exception = StoreAway()
        for left in reversed(range(TRIES)):
            committing = False
            try:
                with self._engine.connect() as connection, connection.begin() as transaction:
                    result = work(connection)
                    committing = True
                    transaction.commit()
                    return result
            except DBAPIError as error:
                found = failure(error)
                if found is None:
                    raise
                problem = found
                again = not committing and (_broke(error) or _state(error) in _AGAIN)
            if not again or not left:
                break
            time.sleep(0.05)
        raise problem

    async def checkpoint(self) -> None:
        """See the protocol: the server's own affair."""

    def close(self) -> None:
        """See the protocol."""
        if not self._closed:
            self._closed = True
            for each in self._apart:
                each.close()
            self._threads.shutdown(wait=True)
            self._engine.dispose()


class _Lane(Database):
    """One transaction at a time: a lock that all would wait for takes one thread, not all."""

    shared = True

    def __init__(self, database: PostgresDatabase, org: str) -> None:
        self._database, self._org = database, org
        self.audit_key = database.audit_key

    @property
    def engine(self) -> Engine:
        """See the protocol."""
        return self._database.engine

    @property
    def reader(self) -> Engine:
        """See the protocol."""
        return self._database.reader

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See the protocol."""
        return await self._database.run_of(self._org, work, patient=patient)

    async def look(self, work: Callable[[Connection], T]) -> T:
        """See the protocol."""
        return await self._database.look(work)

    async def checkpoint(self) -> None:
        """See the protocol."""

    def close(self) -> None:
        """The database is not ours."""


class DatabaseClock:
    """The clock of the database, so that all machines have the same.

    Between two looks this machine's monotonic clock counts on, also while the database is away. Setting this
    machine's wall clock changes nothing.
    """

    def __init__(self) -> None:
        self._offset, self._was_read = time.time() - time.monotonic(), False

    def now(self) -> float:
        """Epoch seconds."""
        return time.monotonic() + self._offset

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def read(self, connection: Connection) -> None:
        """Set the clock by the database's, to half the time that asking took.

        An answer that took long says little of the time, and is only better than none.
        """
        before = time.monotonic()
        stated = float(connection.execute(_CLOCK).scalar_one())
        after = time.monotonic()
        if after - before <= PROMPT or not self._was_read:
            self._offset, self._was_read = stated - (before + after) / 2, True


_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())")


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def failure(error: DBAPIError) -> Exception | None:
    """What ``error`` means to a use case; None when it is a defect."""
    state = _state(error)
    if state == _DISK_FULL:
        return StoreFull("the database's disk is full")
    if state in _BUSY or state in _AGAIN:
        return StoreBusy("others hold the database's locks")
    if state == _READ_ONLY:
        return StoreAway("the database is read-only")
    gone = not state and isinstance(error.orig, psycopg.OperationalError)
    if gone or error.connection_invalidated or state[:2] in _AWAY or state == _FROZEN:
        return StoreAway("the database cannot be reached")
    return None


def _broke(error: DBAPIError) -> bool:
    """Whether a connection that had been made broke; one that cannot be made is not tried again at once."""
    return error.connection_invalidated or _state(error) == _FROZEN


def hint(said: str) -> str:
    """What to do, by what the server said; its words are not shown, since an address may hold a password."""
    if "authentication failed" in said or "no password supplied" in said:
        return "its user or password is wrong; in an address, special characters are percent-encoded"
    if "permission denied" in said:
        return "its user may not use passferry's tables: use the one that owns them"
    if "does not exist" in said:
        return "create the user and the database first"
    return "is it running, and may this machine connect to it?"


def psycopg_url(url: str) -> str:
    """``url`` as libpq takes it: without the name of a driver."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


class _Door:
    """Lets one at a time try to connect while the database is away; the others are told at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away = self._trying = False
        self._until = 0.0

    def open(self, connect: Callable[[], T]) -> T:
        """What ``connect`` returns. Raises ``psycopg.OperationalError``."""
        with self._lock:
            if self._away and (self._trying or time.monotonic() < self._until):
                raise psycopg.OperationalError("it was tried a moment ago")
            self._trying = True
        failed = True
        try:
            connection = connect()
            failed = False
        finally:
            with self._lock:
                self._away, self._trying, self._until = failed, False, time.monotonic() + AWAY
        return connection


def _engine(url: str, connections: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args=SOCKET,
    )
    door = _Door()

    @event.listens_for(engine, "do_connect")
    def _open(dialect: Any, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        # Only libpq reads the address, here and for the wire: two readers would differ on odd characters.
        return door.open(lambda: dialect.connect(psycopg_url(url), **options))

    @event.listens_for(engine, "connect")
    def _connect(raw: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
        # What is set through a pooler must not stay behind in a session that will serve others.
        here = f"pg_backend_pid() <> {promised_session(raw)}"
        row = raw.execute(f"SELECT pg_backend_pid(), {_SET.format(local=here)}".encode()).fetchone()
        raw.commit()
        if row is not None and is_pooled(raw, int(row[0])):
            record.info[_POOLED] = True
            raw.prepare_threshold = None  # the next statement may reach another session

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.info.get(_POOLED):
            connection.exec_driver_sql(f"SELECT {_SET.format(local='true')}")

    return engine


_POOLED = "pooled"


def promised_session(raw: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> int:
    """The server's session that ``raw`` was told to be."""
    return raw.info.backend_pid


def is_pooled(raw: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]", backend: int) -> bool:
    """Whether a pooler stands between: the session ``backend`` is not the one that was connected to."""
    return promised_session(raw) != backend
