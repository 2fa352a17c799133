"""Transactions on PostgreSQL: what each failure means, what is run again, and the clock of the database."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from passferry.adapters.postgres import TRIES, DatabaseClock, PostgresDatabase, failure
from passferry.store_ports import StoreAway, StoreBusy, StoreFull
from process.wire import Wire
from store_bench import emptied_postgres, postgres_url


@pytest.fixture
def database() -> Iterator[PostgresDatabase]:
    """With one table, of one column."""
    found = emptied_postgres()
    found.transact(lambda c: c.execute(text("CREATE TABLE notes (note text)")))
    yield found
    found.close()


@contextmanager
def over_a_wire() -> Iterator[tuple[PostgresDatabase, Wire]]:
    """The same database, by way of a wire that can be reset."""
    parts = urlsplit(postgres_url())
    with Wire(parts.hostname or "127.0.0.1", parts.port or 5432) as wire:
        found = PostgresDatabase(wire.url(postgres_url()), b"key")
        try:
            yield found, wire
        finally:
            found.close()


def write(connection: Connection, note: str) -> None:
    """One row."""
    connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


def notes(database: PostgresDatabase) -> list[str]:
    """All rows."""
    return database.transact(
        lambda c: list(c.execute(text("SELECT note FROM notes ORDER BY note")).scalars())
    )


def wrapped(error: Exception, *, invalidated: bool = False) -> DBAPIError:
    """As SQLAlchemy raises it."""
    return DBAPIError("SELECT 1", None, error, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreFull),
        ("40001", StoreBusy),
        ("40P01", StoreBusy),
        ("55P03", StoreBusy),
        ("57014", StoreBusy),
        ("25006", StoreAway),
        ("25P03", StoreAway),
        ("08006", StoreAway),
        ("53300", StoreAway),
        ("57P01", StoreAway),
        ("57P03", StoreAway),
        ("42P01", None),
        ("23505", None),
        ("42501", None),
    ],
)
def test_what_the_server_says_by_its_code(state: str, kind: type[Exception] | None) -> None:
    """Its words depend on its language; a defect is not taken for an outage."""
    found = failure(wrapped(errors.lookup(state)("secret words")))
    assert type(found) is (kind or type(None))
    assert "secret" not in str(found)


def test_a_connection_that_ended_without_a_code_means_that_the_database_is_away() -> None:
    """As does one that SQLAlchemy found unusable; a mistake in a statement does not."""
    assert type(failure(wrapped(psycopg.OperationalError("gone")))) is StoreAway
    assert type(failure(wrapped(psycopg.InterfaceError("closed"), invalidated=True))) is StoreAway
    assert failure(wrapped(psycopg.ProgrammingError("mistake"))) is None


def test_work_is_run_again_after_a_connection_was_lost_before_the_commit(database: PostgresDatabase) -> None:
    """Nothing of the first run is there."""
    runs: list[int] = []

    def work(connection: Connection) -> None:
        write(connection, f"run {len(runs)}")
        runs.append(_backend(connection))
        if len(runs) == 1:
            _end_session(database, runs[0])
            write(connection, "after the end")

    asyncio.run(database.run(work))
    assert len(runs) == 2
    assert notes(database) == ["run 1"]


def test_work_that_loses_its_connection_every_time_is_given_up(database: PostgresDatabase) -> None:
    """After a few runs: the caller decides what follows."""
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(_backend(connection))
        _end_session(database, runs[-1])
        write(connection, "never")

    with pytest.raises(StoreAway):
        database.transact(work)
    assert len(runs) == TRIES
    assert notes(database) == []


@pytest.mark.parametrize("back_only", [False, True])
def test_work_is_never_run_again_after_its_commit_was_sent(
    database: PostgresDatabase, *, back_only: bool
) -> None:
    """Whether the server got it, which nobody can know here, or not."""
    with over_a_wire() as (through, wire):
        runs: list[str] = []

        def lose() -> None:
            wire.reset()
            wire.mend()  # whoever tries again succeeds

        def work(connection: Connection) -> None:
            write(connection, "once")
            runs.append("run")
            wire.cut(there=not back_only)
            losing.start()  # while the commit is on its way

        losing = threading.Timer(0.3, lose)
        with pytest.raises(StoreAway):
            through.transact(work)
        losing.join(10)
        assert runs == ["run"]
        assert notes(database) == (["once"] if back_only else [])


def test_what_waits_too_long_for_a_lock_stores_nothing(database: PostgresDatabase) -> None:
    """``StoreBusy``, and the work is not run again: it would wait as long once more."""
    runs: list[str] = []

    def work(connection: Connection) -> None:
        runs.append("run")
        connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
        connection.execute(text("LOCK TABLE notes"))

    with database.engine.begin() as other:
        other.execute(text("LOCK TABLE notes"))
        with pytest.raises(StoreBusy):
            database.transact(work)
    assert runs == ["run"]


def test_no_session_waits_or_holds_without_end(database: PostgresDatabase) -> None:
    """A commit is on the disk when it returns, whatever the server's own settings are."""
    wanted = {
        "synchronous_commit": "on",
        "lock_timeout": "8s",
        "statement_timeout": "20s",
        "idle_in_transaction_session_timeout": "15s",
    }
    with database.engine.connect() as connection:
        assert {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in wanted} == wanted


def test_the_clock_is_the_databases_and_goes_on_without_it(database: PostgresDatabase) -> None:
    """Within what asking takes; setting this machine's clock changes nothing."""
    clock = DatabaseClock()
    clock._offset = 12345.0  # a machine whose clock is wrong by decades
    with database.engine.connect() as connection:
        clock.read(connection)
        stated = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    assert abs(clock.now() - stated) < 1.0
    before, ticks = clock.now(), time.monotonic()
    assert 0 <= clock.now() - before <= time.monotonic() - ticks + 0.001


def _backend(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def _end_session(database: PostgresDatabase, backend: int) -> None:
    with database.engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})
