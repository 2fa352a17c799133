"""Which process delivers for which org, in virtual time: shares, take-over, and what idle orgs cost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest

from campaign.virtual_time import VirtualClock, run
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_lease import SqlLeaseStore
from passferry.deliver import Delivery
from passferry.leases import LEASE, OUT_OF_TOUCH, Leases, OthersAlive
from passferry.notices import Notices
from passferry.store_ports import StoreAway, Worker
from statements import heard

ORGS = tuple(f"org{number}" for number in range(10))
REPLACED_WITHIN = 20.0


class Idle:
    """A ``Delivery`` that does nothing until it is stopped."""

    def __init__(self, running: set[str], org: str) -> None:
        self._running, self._org = running, org

    async def run(self, stop: asyncio.Event) -> None:
        """See the class."""
        self._running.add(self._org)
        try:
            await stop.wait()
            await asyncio.sleep(0.5)  # what is being sent is finished
        finally:
            self._running.discard(self._org)

    def held_up(self) -> float:
        """Nothing holds it up."""
        return 0.0


class Unsteady(SqlLeaseStore):
    """A lease store whose database is away now and then."""

    away = False

    async def beat(self, *arguments: Any) -> Any:
        """See the port."""
        if self.away:
            raise StoreAway
        return await super().beat(*arguments)

    async def news(self, now: float) -> Any:
        """See the port."""
        if self.away:
            raise StoreAway
        return await super().news(now)


@dataclass
class Process:
    """One worker: its leases, and the orgs whose owner loop runs."""

    leases: Leases
    store: Unsteady
    notices: Notices
    stop: asyncio.Event
    task: "asyncio.Task[None]"
    running: set[str]

    def kill(self) -> None:
        """It gives nothing back."""
        self.task.cancel()
        self.running.clear()


@dataclass
class Crew:
    """Workers on one database."""

    database: SqliteDatabase
    clock: VirtualClock
    processes: list[Process] = field(default_factory=list)

    def start(self, orgs: Sequence[str] = ORGS, *, alone: bool = False) -> Process:
        """One worker more."""
        running: set[str] = set()
        worker = None if alone else Worker(f"w{len(self.processes)}", "test")
        store, notices, stop = Unsteady(self.database), Notices(), asyncio.Event()
        begin = cast("Callable[[str], Delivery]", lambda org: Idle(running, org))
        leases = Leases(store, worker, orgs, begin, self.clock, notices, _fatal)
        process = Process(leases, store, notices, stop, asyncio.create_task(leases.run(stop)), running)
        self.processes.append(process)
        return process

    def owned(self) -> list[str]:
        """The orgs that somebody delivers for, each as often as somebody does."""
        return sorted(org for process in self.processes for org in process.running)


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


@asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    """Nobody yet; whoever was started ends with the block."""
    database = SqliteDatabase(None, b"key", inline=True)
    prepare(database)
    with database.engine.begin() as connection:
        add_orgs(connection, list(ORGS))
    made = Crew(database, VirtualClock(asyncio.get_running_loop()))
    try:
        yield made
    finally:
        for process in made.processes:
            process.task.cancel()
        database.close()


def test_orgs_are_shared_evenly_and_each_has_one_owner() -> None:
    """Whoever comes later gets its share, too, once what is being sent is done."""

    async def body() -> None:
        async with crew() as it:
            it.start()
            await asyncio.sleep(5.0)
            assert it.owned() == sorted(ORGS)
            it.start()
            await asyncio.sleep(15.0)
            assert [len(each.running) for each in it.processes] == [5, 5]
            assert it.owned() == sorted(ORGS)
            it.start()
            await asyncio.sleep(15.0)
            assert sorted(len(each.running) for each in it.processes) == [2, 4, 4]
            assert it.owned() == sorted(ORGS)

    run(body())


def test_the_orgs_of_a_dead_worker_are_taken_within_20_seconds() -> None:
    """And not before its lease has ended, while it may only be slow."""

    async def body() -> None:
        async with crew() as it:
            first, second = it.start(), it.start()
            await asyncio.sleep(15.0)
            first.kill()
            await asyncio.sleep(LEASE - 4.0)
            assert len(second.running) == 5
            await asyncio.sleep(REPLACED_WITHIN - LEASE + 4.0)
            assert second.running == set(ORGS)

    run(body())


def test_a_worker_that_stops_gives_its_orgs_back_at_once() -> None:
    """After what was being sent is done."""

    async def body() -> None:
        async with crew() as it:
            first, second = it.start(), it.start()
            await asyncio.sleep(15.0)
            first.stop.set()
            await asyncio.sleep(5.0)
            assert first.task.done()
            assert second.running == set(ORGS)

    run(body())


def test_a_worker_that_was_taken_for_dead_stops_delivering() -> None:
    """As soon as it reaches the database again."""

    async def body() -> None:
        async with crew() as it:
            first, second = it.start(), it.start()
            await asyncio.sleep(15.0)
            lost = set(first.running)
            first.store.away = True
            await asyncio.sleep(REPLACED_WITHIN)
            assert second.running == set(ORGS)
            assert first.running == lost  # it cannot know; its epochs have passed
            first.store.away = False
            await asyncio.sleep(15.0)
            assert it.owned() == sorted(ORGS)

    run(body())


def test_an_org_that_only_one_worker_knows_is_delivered_for() -> None:
    """However full its share is: the others' shares count orgs that they cannot take."""

    async def body() -> None:
        async with crew() as it:
            it.start(ORGS[:2])
            full = it.start(ORGS)
            await asyncio.sleep(30.0)
            assert it.owned() == sorted(ORGS)
            assert full.running >= set(ORGS[2:])

    run(body())


def test_a_database_that_is_away_for_a_while_ends_nothing() -> None:
    """A lone worker goes on where it was."""

    async def body() -> None:
        async with crew() as it:
            only = it.start()
            await asyncio.sleep(5.0)
            only.store.away = True
            await asyncio.sleep(60.0)
            only.store.away = False
            await asyncio.sleep(5.0)
            assert not only.task.done()
            assert only.running == set(ORGS)

    run(body())


def test_a_worker_is_out_of_touch_while_its_database_is_away_for_more_than_a_moment() -> None:
    """Alone or among others; a moment's trouble is none, and one good answer ends it."""

    async def body() -> None:
        async with crew() as it:
            for only in (it.start(), it.start(alone=True)):
                for seconds, expected in (
                    (OUT_OF_TOUCH - 2.0, False),
                    (OUT_OF_TOUCH + 2.0, True),
                    (3600.0, True),
                ):
                    await asyncio.sleep(5.0)
                    only.store.away = True
                    await asyncio.sleep(seconds)
                    assert only.leases.out_of_touch() is expected
                    only.store.away = False
                    await asyncio.sleep(1.5)
                    assert not only.leases.out_of_touch()

    run(body())


def test_idle_orgs_cost_one_statement_for_all_of_them_and_write_nothing() -> None:
    """Where nobody else can deliver there are no leases to renew."""

    async def body() -> None:
        async with crew() as it:
            with heard(it.database.engine) as found:
                it.start(alone=True)
                await asyncio.sleep(100.5)
            statements = [said for said, _ in found]
            assert it.owned() == sorted(ORGS)
            assert len([said for said in statements if said.startswith("SELECT")]) == 101
            assert {said.split()[0] for said in statements} == {"SELECT", "BEGIN"}

    run(body())


class Queue:
    """A ``DeliveryStore`` with so many batches to park in each org; the orgs that were fenced off."""

    def __init__(self, batches: int, between: Callable[[], Any]) -> None:
        self._left = dict.fromkeys(ORGS, batches)
        self._between = between
        self.taken: list[str] = []

    async def take(self, org: str) -> None:
        """See the port."""
        self.taken.append(org)

    async def hold(self, org: str, now: float) -> int:
        """See the port."""
        assert org in self.taken
        await self._between()
        self._left[org] -= 1
        return 500 if self._left[org] >= 0 else 0

    def held(self) -> bool:
        """Whether nothing is left."""
        return set(self._left.values()) == {-1}


def test_hold_is_refused_while_others_are_alive_and_leaves_no_trace() -> None:
    """They are named; nothing is parked, and they keep what is theirs."""

    async def body() -> None:
        async with crew() as it:
            other = it.start()
            await asyncio.sleep(5.0)
            queue = Queue(1, partial(asyncio.sleep, 0))
            mine = Leases(
                other.store, Worker("me", "m:1"), ORGS, cast("Any", None), it.clock, Notices(), _fatal
            )
            with pytest.raises(OthersAlive, match="test"):
                await mine.hold(cast("Any", queue))
            assert queue.taken == []
            roll = await other.store.beat(Worker("w0", "test"), it.clock.now(), LEASE)
            assert (roll.alive, set(roll.owners.values())) == ({"w0": "test"}, {"w0"})

    run(body())


def test_who_starts_while_pending_changes_are_parked_delivers_nothing() -> None:
    """However long it takes: all orgs stay with who parks, and are shared only when it delivers."""

    async def body() -> None:
        async with crew() as it:
            dead = it.start()
            await asyncio.sleep(5.0)
            dead.kill()
            await asyncio.sleep(LEASE)
            queue = Queue(3, partial(asyncio.sleep, LEASE - 1.0))
            notices, worker = Notices(), Worker("me", "m:1")
            mine = Leases(dead.store, worker, ORGS, cast("Any", None), it.clock, notices, _fatal)
            holding = asyncio.create_task(mine.hold(cast("Any", queue)))
            await asyncio.sleep(1.0)
            it.start()
            while not holding.done():
                await asyncio.sleep(1.0)
                assert it.owned() == []
            await holding
            assert queue.held()

    run(body())
