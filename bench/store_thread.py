"""Accepts a second: one thread that owns the connection, against aiosqlite, with the very same statements.

Both sides run `SqlAcceptStore` on one SQLite file each, one change a commit. The left side is
`SqliteDatabase`: a transaction is one hop to the thread. The right side is SQLAlchemy over
aiosqlite: every statement is a hop.
Rounds alternate, since a machine that is used for other things too drifts. Processor time (of all threads of
this process) suffers less from that than the time on the wall.

    python bench/store_thread.py [--changes 300] [--rounds 9] [--dir FOLDER]

aiosqlite and greenlet are no dependencies of Passferry: install them in an environment of their own, with
`src` on PYTHONPATH. A `--dir` in memory (/dev/shm) leaves the disk's sync out.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_accept import SqlAcceptStore
from passferry.domain.accepting import NewChange, judge
from passferry.domain.change import Reference

T = TypeVar("T")
KEY = bytes(32)
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON")


class OverAiosqlite:
    """What `SqlAcceptStore` uses of `SqliteDatabase`, over aiosqlite."""

    audit_key = KEY

    def __init__(self, path: Path) -> None:
        self.engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", poolclass=StaticPool, connect_args={"isolation_level": None}
        )

        @event.listens_for(self.engine.sync_engine, "connect")
        def _connect(raw: Any, _: Any) -> None:
            cursor = raw.cursor()
            for pragma in PRAGMAS:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(self.engine.sync_engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def run(self, work: Callable[[Connection], T]) -> T:
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)


def change() -> NewChange:
    """A change of a user of its own."""
    name = uuid.uuid4().hex
    now = time.time()
    user = Reference("userName", f"{name}@example.com")
    return NewChange(name, "default", user, "bench", bytes(101), now, now + 3600)


def fresh(folder: Path) -> tuple[Path, SqliteDatabase]:
    path = folder / f"{uuid.uuid4().hex}.db"
    database = SqliteDatabase(path, KEY)
    prepare(database)
    with database.engine.begin() as connection:
        add_orgs(connection, ["default"])
    return path, database


class Side(NamedTuple):
    """One side of a round: accepts a second, and microseconds of processor time an accept."""

    rate: float
    cpu: float


async def measured(store: SqlAcceptStore, changes: int) -> Side:
    items = [change() for _ in range(changes)]
    await store.accept([change()], judge)  # statements are compiled once
    started, cpu = time.perf_counter(), time.process_time()
    for item in items:
        await store.accept([item], judge)
    rate = changes / (time.perf_counter() - started)
    return Side(rate, (time.process_time() - cpu) / changes * 1e6)


async def one_round(folder: Path, changes: int, *, thread_first: bool) -> tuple[Side, Side]:
    async def by_thread() -> Side:
        _, database = fresh(folder)
        try:
            return await measured(SqlAcceptStore(database), changes)
        finally:
            database.close()

    async def by_aiosqlite() -> Side:
        path, database = fresh(folder)
        database.close()
        other = OverAiosqlite(path)
        try:
            return await measured(SqlAcceptStore(cast("SqliteDatabase", other)), changes)
        finally:
            await other.engine.dispose()

    if thread_first:
        thread = await by_thread()
        return thread, await by_aiosqlite()
    aio = await by_aiosqlite()
    return await by_thread(), aio


def described(name: str, figures: list[float], form: str) -> str:
    middle, low, high = statistics.median(figures), min(figures), max(figures)
    return f"{name:<28} median {middle:{form}}, from {low:{form}} to {high:{form}}"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--changes", type=int, default=300, help="accepted a round and side")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--dir", type=Path, default=None, help="where the databases are made")
    asked = options.parse_args()
    rounds: list[tuple[Side, Side]] = []
    for number in range(asked.rounds):
        with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
            first = number % 2 == 0
            rounds.append(asyncio.run(one_round(Path(folder), asked.changes, thread_first=first)))
    print(f"{asked.rounds} rounds of {asked.changes} changes a side, one change a commit")
    print(described("accepts/s, own thread", [thread.rate for thread, _ in rounds], ".0f"))
    print(described("accepts/s, aiosqlite", [aio.rate for _, aio in rounds], ".0f"))
    print(described("the same, ratio", [thread.rate / aio.rate for thread, aio in rounds], ".2f"))
    print(described("CPU µs/accept, own thread", [thread.cpu for thread, _ in rounds], ".0f"))
    print(described("CPU µs/accept, aiosqlite", [aio.cpu for _, aio in rounds], ".0f"))
    print(described("the same, ratio", [aio.cpu / thread.cpu for thread, aio in rounds], ".2f"))


if __name__ == "__main__":
    main()
