"""Transactions on SQLite that wait for the thread share a commit, and nothing else."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select

from passferry.adapters import schema
from passferry.adapters.database import prepare
from passferry.adapters.sqlite import SqliteDatabase
from passferry.store_ports import StoreFull
from store_bench import KEY, run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """A database with empty tables."""
    found = SqliteDatabase(tmp_path / "test.db", KEY)
    prepare(found)
    yield found
    found.close()


async def _while_the_thread_is_busy(database: SqliteDatabase, *works: Any) -> list[Any]:
    """What became of ``works``, all of which waited when the thread was free again."""
    go, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def first(_: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10.0)

    holding = asyncio.create_task(database.run(first))
    await begun.wait()
    waiting = [asyncio.create_task(database.run(work)) for work in works]
    await asyncio.sleep(0)
    go.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


def _add(name: str) -> Any:
    def work(c: Connection) -> str:
        c.execute(insert(schema.meta).values(name=name, value="1"))
        return name

    return work


def _fails(c: Connection) -> None:
    c.execute(insert(schema.meta).values(name="half done", value="1"))
    raise LookupError


def _names(c: Connection) -> set[str]:
    return {name for name in c.execute(select(schema.meta.c.name)).scalars() if name != "version"}


def test_what_waits_is_committed_together(database: SqliteDatabase) -> None:
    """Twenty transactions, one commit, and each gets its own answer."""
    commits: list[int] = []

    async def body() -> None:
        names = [f"n{number}" for number in range(20)]
        event.listen(database.engine, "commit", lambda _: commits.append(1))
        done = await _while_the_thread_is_busy(database, *(_add(name) for name in names))
        assert done == names
        assert len(commits) == 2  # of whoever kept the thread busy, too
        assert await database.run(_names) == set(names)

    run(body)


def test_one_that_fails_does_not_fail_its_neighbours(database: SqliteDatabase) -> None:
    """And leaves nothing behind."""

    async def body() -> None:
        done = await _while_the_thread_is_busy(database, _add("before"), _fails, _add("after"))
        assert [type(each) for each in done] == [str, LookupError, str]
        assert await database.run(_names) == {"before", "after"}

    run(body)


def test_a_full_disk_is_everybodys(database: SqliteDatabase) -> None:
    """None of those that wait is stored, and all are told."""

    def full(c: Connection) -> None:
        raise StoreFull("the disk is full")

    async def body() -> None:
        done = await _while_the_thread_is_busy(database, _add("before"), full, _add("after"))
        assert [type(each) for each in done] == [StoreFull] * 3
        assert await database.run(_names) == set()

    run(body)


def test_a_caller_who_goes_away_takes_nobody_along(database: SqliteDatabase) -> None:
    """What it asked for is done, as is what others asked for."""

    async def body() -> None:
        gone = asyncio.create_task(database.run(_add("gone")))
        stays = asyncio.create_task(database.run(_add("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == "stays"
        assert await database.run(_names) == {"gone", "stays"}

    run(body)
