"""Who is next where more wait for the database than it can serve."""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from passferry.adapters.postgres import CONNECTIONS
from passferry.adapters.postgres_turns import NO_ORG, Turns
from passferry.domain.change import Change
from store_bench import APPLIED, BLOCK, CONFIRMED, NOW, UUID, Bench, open_bench, run

OTHER = "22222222-2222-3333-4444-555555555555"


class Desk:
    """Callers of ``Turns``, and the order in which they had theirs."""

    def __init__(self, many: int = 1) -> None:
        self.turns = Turns(many)
        self.had: list[str] = []
        self.now = self.most = 0
        self.held = asyncio.Event()

    async def _have(self, name: str, org: str, *, patient: bool) -> None:
        async with self.turns.turn(org, patient=patient):
            self.had.append(name)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.held.wait()
            finally:
                self.now -= 1

    async def come(self, name: str, org: str = NO_ORG, *, patient: bool = False) -> "asyncio.Task[None]":
        """One more, who comes after the others."""
        task = asyncio.create_task(self._have(name, org, patient=patient))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task


async def _ended(*tasks: "asyncio.Task[None]") -> None:
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


def test_what_was_begun_goes_before_what_is_new() -> None:
    """However long the patient have waited."""

    async def body() -> None:
        desk = Desk()
        tasks = [await desk.come("first"), await desk.come("new", patient=True), await desk.come("begun")]
        desk.held.set()
        await _ended(*tasks)
        assert desk.had == ["first", "begun", "new"]

    run(body)


def test_an_org_has_one_at_a_time_and_keeps_nobody_else_waiting() -> None:
    """Those behind it in line go past."""

    async def body() -> None:
        desk = Desk(many=3)
        tasks = [await desk.come(f"a{n}", "a") for n in range(3)] + [await desk.come("b", "b")]
        assert desk.had == ["a0", "b"]
        desk.held.set()
        await _ended(*tasks)
        assert desk.had == ["a0", "b", "a1", "a2"]

    run(body)


def test_orgs_take_turns_with_what_is_new() -> None:
    """Whoever asks for much at once is not served first with all of it."""

    async def body() -> None:
        desk = Desk()
        tasks = [await desk.come(f"a{n}", "a", patient=True) for n in range(3)]
        tasks.append(await desk.come("b0", "b", patient=True))
        desk.held.set()
        await _ended(*tasks)
        assert desk.had == ["a0", "a1", "b0", "a2"]

    run(body)


def test_what_is_not_patient_is_served_as_it_comes() -> None:
    """However many of an org come before it, and it is alone with its kind."""

    async def body() -> None:
        desk = Desk()
        tasks = [
            await desk.come(name, org)
            for name, org in (("a0", "a"), ("x0", NO_ORG), ("x1", NO_ORG), ("b0", "b"))
        ]
        desk.held.set()
        await _ended(*tasks)
        assert desk.had == ["a0", "x0", "x1", "b0"]

    run(body)


@pytest.mark.parametrize("patient", [True, False])
def test_all_of_an_org_may_go_away_at_once(*, patient: bool) -> None:
    """Whoever has a turn and whoever waits: the org, and every connection, is free for the next."""

    async def body() -> None:
        desk = Desk(many=2)
        tasks = [await desk.come(f"{n}", "a", patient=patient) for n in range(4)]
        for task in tasks:
            task.cancel()
        gone = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in gone} == {asyncio.CancelledError}
        again = [await desk.come("again", "a", patient=patient), await desk.come("other")]
        assert desk.had == ["0", "again", "other"]
        desk.held.set()
        await _ended(*again)

    run(body)


def test_what_waits_for_no_org_waits_for_none_of_its_kind() -> None:
    """It may run as often as there are connections, and no more."""

    async def body() -> None:
        desk = Desk(many=2)
        tasks = [await desk.come(f"{n}") for n in range(5)]
        assert desk.had == ["0", "1"]
        desk.held.set()
        await _ended(*tasks)
        assert (desk.had, desk.most) == (["0", "1", "2", "3", "4"], 2)

    run(body)


@pytest.mark.parametrize("gone", [0, 1], ids=["has a turn", "waits"])
def test_who_goes_away_leaves_a_turn_to_the_next(gone: int) -> None:
    """Nothing is lost with it, and its org is free."""

    async def body() -> None:
        desk = Desk()
        tasks = [await desk.come(f"{n}", "a") for n in range(3)]
        tasks[gone].cancel()
        with suppress(asyncio.CancelledError):
            await tasks.pop(gone)
        desk.held.set()
        await _ended(*tasks)
        assert desk.had[-1] == "2"
        assert desk.had == (["0", "1", "2"] if gone == 0 else ["0", "2"])
        await _ended(await desk.come("last", "a"))

    run(body)


@pytest.mark.parametrize(("adapter", "at_once"), [("sqlite-file", 1), ("postgres", CONNECTIONS)])
def test_a_write_that_was_begun_waits_for_no_look_at_what_else_is_due(
    adapter: str, at_once: int, tmp_path: Path
) -> None:
    """Else a process with more to do than its database can serve begins everything and sends nothing."""

    async def body(bench: Bench) -> None:
        loop = asyncio.get_running_loop()

        def stays(begins: asyncio.Event, go: threading.Event, _: Connection) -> None:
            loop.call_soon_threadsafe(begins.set)
            go.wait(5)

        begun = await bench.begun(await bench.accepted(UUID, "one"))
        ready = await bench.accepted(OTHER, "two")
        await bench.delivery.resolve(ready.id, OTHER, NOW)
        waiting = [await bench.accepted(f"u{n}@example.com") for n in range(80)]
        go, order = threading.Event(), []
        held = []
        for _ in range(at_once):
            begins = asyncio.Event()
            held.append(asyncio.create_task(bench.database.run(partial(stays, begins, go))))
            await begins.wait()

        async def note(name: str, work: Awaitable[Any]) -> Any:
            result = await work
            order.append(name)
            return result

        mine = bench.delivery.of("default")
        looks = [note("look", mine.resolve(each.id, f"id-{each.id}", NOW)) for each in waiting]
        looks += [note("look", mine.due("default", NOW, 1, []))]
        tasks = [asyncio.create_task(each) for each in looks]
        await asyncio.sleep(0)
        tasks += [
            asyncio.create_task(note("settle", mine.settle(begun, APPLIED, CONFIRMED, NOW))),
            asyncio.create_task(note("begin", mine.begin(ready.id, None, NOW, BLOCK))),
        ]
        await asyncio.sleep(0)
        go.set()
        results = await asyncio.gather(*tasks, *held)
        assert isinstance(results[len(tasks) - 1], Change)
        assert order.index("settle") < 10
        assert order.index("begin") < 10

    with open_bench(adapter, tmp_path) as bench:
        run(lambda: body(bench))
