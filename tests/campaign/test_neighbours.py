"""In virtual time: what one user, one operator or one defect must not do to everybody else."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.accept import Request
from passferry.domain.change import Change, Evidence, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.org_health import OPERATOR
from passferry.store_ports import Caller


def _target(it: World) -> Any:
    return it.gateway.deliveries["default"]._t.target


async def _send(it: World, kind: str, value: str, password: str) -> str:
    request = Request("default", Reference(kind, value), Password(password))
    taken = await it.gateway.accept.accept(Caller("k", "s", "source", ()), request)
    return taken.change.id


async def _get(it: World, change_id: str) -> Change:
    change = await it.stores.lookup.change(change_id)
    assert change is not None
    return change


async def _one_forbidden(code: str) -> tuple[int, int, float]:
    async with world(Plan(21, changes=0, crashes=0, users=20)) as it:
        write, asked = _target(it).write, list[float]()

        async def forbidden(user: Any, password: Any) -> Outcome:
            if user.id == it.users[0][0]:
                asked.append(it.clock.monotonic())
                return Outcome(Kind.ORG_DOWN, code)
            return await write(user, password)  # type: ignore[no-any-return]

        _target(it).write = forbidden
        changes, slowest = [], 0.0
        await _send(it, "id", it.users[0][0], "N3w-Passw0rd!0")
        for number, (user, _) in enumerate(it.users[1:]):
            sent = await _send(it, "id", user, f"N3w-Passw0rd!{number}")
            await asyncio.sleep(60.0)
            changes.append(await _get(it, sent))
            slowest = max(slowest, changes[-1].updated_at - changes[-1].accepted_at)
        return sum(one.state is State.APPLIED for one in changes), len(asked), slowest


@pytest.mark.parametrize("code", ["missing.any.permissions", "authz.policy.denied"])
def test_one_user_whom_nobody_may_edit_costs_others_nothing(code: str) -> None:
    """Its write is asked for ever less often, and nobody else waits for it."""
    applied, asked, slowest = run(_one_forbidden(code))
    assert applied == 19
    assert asked < 15
    assert slowest < 2.0


async def _pause_during_a_429() -> tuple[str | None, str | None]:
    async with world(Plan(22, changes=0, crashes=0)) as it:

        async def throttled(user: Any, password: Any) -> Outcome:
            await it.stores.delivery.set_org("default", wanted, None, "operator:ann", it.clock.now())
            return Outcome(Kind.THROTTLED, "too.many.requests", retry_after=30.0)

        wanted: str | None = OPERATOR
        write, _target(it).write = _target(it).write, throttled
        await it.push(it.users[0], "N3w-Passw0rd!1")
        await asyncio.sleep(120.0)
        paused = (await it.stores.delivery.org_state("default")).paused
        _target(it).write = write
        await it.gateway.set_paused("default", False, "operator:ann")
        await it.settle(1.0)
        return paused, (await it.stores.delivery.org_state("default")).paused


def test_an_operators_pause_outlives_a_429_of_the_same_moment() -> None:
    """What was under way when a person paused the org does not resume it."""
    assert run(_pause_during_a_429()) == (OPERATOR, None)


async def _after_a_lost_write(moves: bool) -> tuple[Change, bool]:
    switches = {"password_moves_version": moves, "password_history": 0}
    async with world(Plan(23, changes=0, crashes=0, switches=switches)) as it:
        user = it.users[0]
        await _send(it, "id", user[0], "N3w-Passw0rd!A")
        await asyncio.sleep(60.0)
        it.simulator.next("lost_answer", method="PUT")
        await _send(it, "id", user[0], "N3w-Passw0rd!B")
        await asyncio.sleep(12.0)  # it was executed, its answer is lost, its next try not yet due
        last = await _send(it, "id", user[0], "N3w-Passw0rd!A")
        await it.settle(1.0)
        return await _get(it, last), it.simulator.verify(user[1], "N3w-Passw0rd!A")


@pytest.mark.parametrize("moves", [True, False])
def test_a_repeat_of_the_last_known_password_is_written_after_a_lost_write(moves: bool) -> None:
    """Between the two, another password may have arrived; an unmoved version alone does not disprove it."""
    change, is_set = run(_after_a_lost_write(moves))
    assert (change.state, change.evidence) == (State.APPLIED, Evidence.CONFIRMED)
    assert is_set


async def _many_unknown() -> float:
    async with world(Plan(24, changes=0, crashes=0)) as it:

        async def endless() -> dict[str, str]:
            await asyncio.sleep(600.0)
            return {}

        _target(it).inactive = endless
        for number in range(100):
            await _send(it, "userName", f"nobody{number}@example.com", "N3w-Passw0rd!1")
        await asyncio.sleep(40.0)
        sent = await _send(it, "id", it.users[0][0], "N3w-Passw0rd!1")
        await asyncio.sleep(300.0)
        change = await _get(it, sent)
        assert change.state is State.APPLIED
        return change.updated_at - change.accepted_at


def test_many_unknown_users_do_not_hold_up_a_known_one() -> None:
    """However long the list of inactive users takes."""
    assert run(_many_unknown()) < 60.0


async def _defect() -> Change:
    async with world(Plan(25, changes=0, crashes=0)) as it:
        settle, broken = it.stores.delivery.settle, [True]

        async def once(*args: Any) -> Change:
            if broken:
                broken.clear()
                raise ValueError("a defect")
            return await settle(*args)

        delivery = it.gateway.deliveries["default"]
        store = _Settling(it.stores.delivery, once)
        delivery._outcomes._t = replace(delivery._outcomes._t, store=store)
        sent = await _send(it, "id", it.users[0][0], "N3w-Passw0rd!1")
        await it.settle(1.0)
        return await _get(it, sent)


class _Settling:
    """A delivery store of which one method is another."""

    def __init__(self, store: Any, settle: Any) -> None:
        self._store, self.settle = store, settle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_change_that_a_defect_left_half_done_is_taken_up_again() -> None:
    """It does not stay `delivering` until somebody restarts the gateway."""
    assert run(_defect()).state is State.APPLIED
