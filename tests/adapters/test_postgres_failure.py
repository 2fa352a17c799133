"""What PostgreSQL's errors mean to a use case, and when a transaction is run again."""

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from passferry.adapters.postgres import PostgresDatabase, failure
from passferry.ports import StoreAway, StoreBusy, StoreFull
from postgres import server


def _end_session_of(c: Connection) -> None:
    pid = c.execute(text("SELECT pg_backend_pid()")).scalar_one()
    server().execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("53100", StoreFull),
        ("40001", StoreBusy),
        ("40P01", StoreBusy),
        ("55P03", StoreBusy),
        ("57014", StoreBusy),
        ("25006", StoreAway),
        ("08006", StoreAway),
        ("53300", StoreAway),
        ("57P01", StoreAway),
        ("57P03", StoreAway),
        ("25P03", StoreAway),
        ("23505", None),
        ("42P01", None),
        ("22021", None),
    ],
)
def test_each_sqlstate_means_one_thing(state: str, meaning: type[Exception] | None) -> None:
    """What passes by itself is told from a full disk and from a defect."""
    error = psycopg.errors.lookup(state)()
    found = failure(DBAPIError("SELECT 1", {}, error))
    assert type(found) is meaning if meaning is not None else found is None


def test_a_lost_connection_is_tried_again_before_the_commit() -> None:
    """A session that the server ended costs a second run, and the caller notices nothing."""
    with server().database() as url:
        database = PostgresDatabase(url, b"key")
        runs = []

        def work(c: Connection) -> int:
            runs.append(c)
            if len(runs) == 1:
                _end_session_of(c)
            return int(c.execute(text("SELECT 1")).scalar_one())

        try:
            assert database.transact(work) == 1
        finally:
            database.close()
        assert len(runs) == 2


def test_a_connection_lost_at_the_commit_is_not_tried_again() -> None:
    """Nobody knows whether it was committed: the caller is told, and the work is not done twice."""
    with server().database() as url:
        database = PostgresDatabase(url, b"key")
        runs = []

        def work(c: Connection) -> None:
            runs.append(c)
            _end_session_of(c)

        try:
            with pytest.raises(StoreAway):
                database.transact(work)
        finally:
            database.close()
        assert len(runs) == 1
