"""On PostgreSQL: what one org's lock, or a network that swallows everything, must not do to others."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from passferry.adapters.database import lock_org
from passferry.adapters.postgres import CONNECTIONS, SETTINGS, SOCKET, DatabaseClock, PostgresDatabase
from passferry.adapters.store_lease import SqlLeaseStore
from passferry.store_ports import StoreAway, Worker
from store_bench import NOW, Bench, open_bench, postgres_url, run

ME = Worker("me", "test")
PAUSE = 3.0
"""Seconds for which a database is taken to be away; more than a busy machine makes of a moment."""


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Stores on PostgreSQL."""
    with open_bench("postgres") as found:
        yield found


@contextlib.contextmanager
def locked(bench: Bench, org: str) -> Iterator[None]:
    """Somebody holds the lock of ``org``, as a process does that was frozen in a transaction."""
    other = PostgresDatabase(postgres_url(), b"key")
    try:
        with other.engine.begin() as connection:
            lock_org(connection, org)
            yield
    finally:
        other.close()


def test_an_org_whose_lock_is_held_holds_up_no_other(bench: Bench) -> None:
    """However many of its transactions wait; nor the signs of life, without which all orgs are lost."""

    async def body() -> None:
        stuck, free = bench.delivery.of("default"), bench.delivery.of("other")
        leases = SqlLeaseStore(bench.database)
        with locked(bench, "default"):
            waiting = [asyncio.create_task(stuck.wake("default", ["x"], NOW)) for _ in range(64)]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(5.0):  # less than anybody waits for a lock
                await asyncio.gather(*(free.wake("other", ["x"], NOW) for _ in range(20)))
                await bench.accept(bench.new(org="other"))
                assert list((await leases.beat(ME, NOW, 12.0)).alive) == [ME.id]
                assert set(await leases.news(NOW)) == {"other"}
            assert not any(each.done() for each in waiting)
        assert await asyncio.gather(*waiting) == [0] * 64

    run(body)


def test_a_sign_of_life_waits_behind_no_transaction(bench: Bench) -> None:
    """Nor behind as many as there are threads."""

    async def body() -> None:
        leases = SqlLeaseStore(bench.database)
        with locked(bench, "default"):
            waiting = [
                asyncio.create_task(bench.delivery.wake("default", ["x"], NOW))
                for _ in range(2 * CONNECTIONS)
            ]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(5.0):
                await leases.beat(ME, NOW, 12.0)
                assert await leases.claim(ME, ["default", "other"], NOW, 12.0) == ["other"]
        await asyncio.gather(*waiting)

    run(body)


def test_through_a_pooler_each_transaction_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in a session that was never set; and what is set stays in none, which serves others."""
    monkeypatch.setattr("passferry.adapters.postgres.promised_session", lambda raw: 1)
    database = PostgresDatabase(postgres_url(), b"key")
    try:
        assert database.transact(_shown) == SETTINGS
        with database.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            stays = {name: raw.execute(f"SHOW {name}").fetchone()[0] for name in SETTINGS}
        assert not any(stays[name] == SETTINGS[name] for name in SETTINGS if name != "synchronous_commit")
    finally:
        database.close()


def _shown(connection: Connection) -> dict[str, str]:
    return {name: str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in SETTINGS}


@contextlib.contextmanager
def black_hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresDatabase]:
    """A database whose address takes connections and never says a word."""
    monkeypatch.setitem(SOCKET, "connect_timeout", 2)  # the least that libpq knows
    monkeypatch.setattr("passferry.adapters.postgres.AWAY", PAUSE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        database = PostgresDatabase(f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/x", b"key")
        try:
            yield database
        finally:
            database.close()


def test_a_database_that_never_answers_is_asked_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else comes is told at once that it is away, and in a moment it is asked again."""

    async def ask(database: PostgresDatabase) -> float:
        before = time.monotonic()
        with pytest.raises(StoreAway):
            await database.run(lambda c: None)
        return time.monotonic() - before

    async def body() -> None:
        with black_hole(monkeypatch) as database:
            assert 1.5 < await ask(database) < 5.0
            assert max(await asyncio.gather(*(ask(database) for _ in range(100)))) < 1.5
            await asyncio.sleep(PAUSE)
            asked = await asyncio.gather(*(ask(database) for _ in range(100)))
            assert len([seconds for seconds in asked if seconds > 1.5]) == 1

    run(body)


def test_a_reading_of_the_clock_that_took_long_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless there is none: half of ten seconds is what it may be wrong by."""
    database = PostgresDatabase(postgres_url(), b"key")
    try:
        clock = DatabaseClock()
        database.transact(clock.read)
        right = clock._offset
        slow = text("SELECT extract(epoch FROM clock_timestamp()) + 100 FROM pg_sleep(1.2)")
        monkeypatch.setattr("passferry.adapters.postgres._CLOCK", slow)
        database.transact(clock.read)
        assert clock._offset == right
        first = DatabaseClock()
        database.transact(first.read)
        assert 95 < first._offset - right < 105
    finally:
        database.close()
