"""Word between processes on one database: heard within a second, and again after the connection was cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import text

from passferry.adapters import postgres_wire
from passferry.adapters.postgres import PostgresDatabase
from passferry.adapters.postgres_wire import Wire, _payloads
from passferry.domain.change import Change
from passferry.notices import Notices
from store_bench import emptied_postgres, postgres_url

LISTENERS = text(
    "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN passferry' AND datname = current_database()"
)
END_LISTENERS = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE query = 'LISTEN passferry' AND datname = current_database()"
)


def change(name: str, age: float = 0.0) -> Change:
    """As much of a change as is announced."""
    return cast("Change", SimpleNamespace(id=name, accepted_at=0.0, updated_at=age))


class Pair:
    """Two processes' wires on one database; the first owns no org."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.notices = Notices(), Notices()
        self.wires = [
            Wire(postgres_url(), "w0", database, self.notices[0], lambda org: False),
            Wire(postgres_url(), "w1", database, self.notices[1], lambda org: True),
        ]

    async def listeners(self) -> int:
        """How many sessions listen."""
        return len(await self.database.run(lambda c: c.execute(LISTENERS).all()))


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Both listen."""
    database = emptied_postgres()
    it = Pair(database)
    tasks = [asyncio.create_task(each.run()) for each in it.wires]
    try:
        await _both_listen(it)
        yield it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        database.close()


async def _both_listen(it: Pair) -> None:
    async with asyncio.timeout(10):
        while await it.listeners() < 2:  # noqa: ASYNC110  # the server knows, and calls nobody
            await asyncio.sleep(0.02)


async def heard(event: asyncio.Event, say: Callable[[], Any]) -> float:
    """Seconds from what ``say`` says to ``event``. Raises TimeoutError after one."""
    began = time.monotonic()
    say()
    await asyncio.wait_for(event.wait(), 1.0)
    return time.monotonic() - began


def test_the_owner_elsewhere_hears_of_an_accept_within_a_second() -> None:
    """And is not told of orgs that are delivered for where they were accepted."""

    async def body() -> None:
        async with pair() as it:
            await heard(it.notices[1].owner("default"), lambda: it.wires[0].accepted("default"))
            it.wires[1].accepted("other")
            await heard(it.notices[0].owner("fence"), lambda: it.wires[1]._say("org fence"))
            assert not it.notices[0].owner("other").is_set()

    asyncio.run(body())


def test_who_waits_elsewhere_for_a_change_hears_of_its_end() -> None:
    """Unless it is so old that nobody waits any more."""

    async def body() -> None:
        async with pair() as it, it.notices[0].of("c1") as ended, it.notices[0].of("c2") as old:
            it.wires[1].announce(change("c2", age=postgres_wire.WAITED_FOR))
            await heard(ended, lambda: it.wires[1].announce(change("c1")))
            assert not old.is_set()

    asyncio.run(body())


def test_nobody_hears_its_own_words() -> None:
    """They were heard when they were said."""

    async def body() -> None:
        async with pair() as it, it.notices[1].of("c1") as own, it.notices[0].of("c1") as others:
            await heard(others, lambda: it.wires[1].announce(change("c1")))
            await asyncio.sleep(0.1)
            assert not own.is_set()

    asyncio.run(body())


def test_a_wire_that_was_cut_comes_back() -> None:
    """Nothing else has to be done."""

    async def body() -> None:
        async with pair() as it:
            assert await it.database.run(lambda c: c.execute(END_LISTENERS).scalar()) == 2
            await _both_listen(it)
            await heard(it.notices[1].owner("default"), lambda: it.wires[0].accepted("default"))

    asyncio.run(body())


def test_words_are_split_so_that_the_server_takes_each_part() -> None:
    """None is lost, and each part names its sender."""
    words = [f"change {number:032d}" for number in range(1000)]
    parts = list(_payloads("me", words))
    assert max(map(len, parts)) < 8000
    assert {part.split("\n")[0] for part in parts} == {"me"}
    assert [word for part in parts for word in part.split("\n")[1:]] == words
    assert list(_payloads("me", [])) == []
