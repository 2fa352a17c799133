"""Transactions on PostgreSQL, and what a database that goes away means.

Every transaction is one plain function over a connection, run in one of a few threads. Until its commit was
sent nothing of it is there, so it is run again when the server went away or chose it as a deadlock's victim.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from passferry.adapters.database import Database
from passferry.ports import StoreAway, StoreBusy, StoreFull

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
_SESSION = text(
    "SELECT set_config('synchronous_commit', 'on', false), set_config('lock_timeout', '8s', false),"
    " set_config('statement_timeout', '20s', false),"
    " set_config('idle_in_transaction_session_timeout', '15s', false), pg_backend_pid()"
)
"""A frozen process holds its locks for 15 s at most, and nobody waits longer than 8 s for one."""

_AGAIN = ("40001", "40P01")  # serialization failure, deadlock
_BUSY = ("55P03", "57014")  # lock timeout, statement timeout
_AWAY = ("08", "53", "57")  # connection, too few resources, operator's intervention
_READ_ONLY = "25006"
_FROZEN = "25P03"  # idle in transaction for too long: this very process was frozen
_DISK_FULL = "53100"


class PostgresDatabase(Database):
    """A PostgreSQL database and the threads that work on it."""

    shared = True

    def __init__(self, url: str, audit_key: bytes) -> None:
        """Connect when first needed. ``url`` is ``postgresql://…``; its password is shown nowhere."""
        self.audit_key = audit_key
        self._engine = _engine(url)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="store")
        self._closed = False

    @property
    def engine(self) -> Engine:
        """See the protocol."""
        return self._engine

    @property
    def reader(self) -> Engine:
        """See the protocol: readers hold up nobody."""
        return self._engine

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See the protocol."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.transact, work)

    async def look(self, work: Callable[[Connection], T]) -> T:
        """See the protocol: readers hold up nobody."""
        return await self.run(work)

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
                again = not committing and (isinstance(found, StoreAway) or _state(error) in _AGAIN)
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
            self._threads.shutdown(wait=True)
            self._engine.dispose()


class DatabaseClock:
    """The clock of the database, so that all machines have the same.

    Between two looks this machine's monotonic clock counts on, also while the database is away. Setting this
    machine's wall clock changes nothing.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Epoch seconds."""
        return time.monotonic() + self._offset

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def read(self, connection: Connection) -> None:
        """Set the clock by the database's; to half the time that asking took."""
        before = time.monotonic()
        stated = float(connection.execute(_CLOCK).scalar_one())
        self._offset = stated - (before + time.monotonic()) / 2


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


def _engine(url: str) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=CONNECTIONS,
        max_overflow=0,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args=SOCKET,
    )

    @event.listens_for(engine, "do_connect")
    def _open(dialect: Any, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        # Only libpq reads the address, here and for the wire: two readers would differ on odd characters.
        return dialect.connect(psycopg_url(url), **options)

    @event.listens_for(engine, "connect")
    def _connect(raw: psycopg.Connection[Any], _: Any) -> None:
        row = raw.execute(_SESSION.text).fetchone()
        raw.commit()
        if row is not None and is_pooled(raw, int(row[-1])):
            raw.prepare_threshold = None  # the next statement may reach another session

    return engine


def is_pooled(raw: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]", backend: int) -> bool:
    """Whether a pooler stands between: the session ``backend`` is not the one that was connected to."""
    return raw.info.backend_pid != backend
