"""Whole days in virtual time, under every setting of every switch, with all faults and crashes.

More of the same by hand: ``PYTHONPATH=tests python -m campaign.one_org --seeds 100``.
"""

import asyncio
from typing import Any

import pytest

from campaign.one_org import campaign
from campaign.plans import BAD_DAY, MODES, SWITCHES, leaves_no_proof, name_of, plan
from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.domain.change import Change, Evidence, State


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("switches", SWITCHES, ids=name_of)
def test_a_bad_day_breaks_no_promise(switches: dict[str, Any], mode: str) -> None:
    """Nothing lost, stale, falsely applied or changed besides, whatever the target does."""
    made = plan(MODES.index(mode), switches, mode, changes=40)
    broken, it = run(campaign(made, no_proof=leaves_no_proof(switches)))
    assert broken == []
    assert len(it.sent) == 40


@pytest.mark.parametrize("fault", sorted(BAD_DAY))
def test_each_fault_alone_breaks_no_promise(fault: str) -> None:
    """Every fault, often, by itself."""
    often = {fault: 0.2}
    broken, it = run(campaign(plan(3, {}, "scim-put", changes=30, faults=often), no_proof=False))
    assert broken == []
    happened = it.simulator.stats()["faults"].get(fault, 0)
    assert happened > 0


async def _rate_limited(rate: int, headers: str, changes: int) -> tuple[World, list[str], float]:
    made = Plan(
        5, changes=changes, users=30, hours=0.001, crashes=0, switches={"rate": rate, "rate_headers": headers}
    )
    async with world(made) as it:
        await it.load()
        return it, await it.broken_promises(), it.clock.monotonic()


def test_a_stated_limit_is_never_hit() -> None:
    """A backlog far beyond the quota is drained without one 429."""
    it, broken, _ = run(_rate_limited(300, "not-on-429", 400))
    assert broken == []
    assert it.simulator.stats()["rateLimited"] == 0


def test_an_unstated_lower_limit_is_learnt() -> None:
    """Headers absent and a third of the configured rate: a few 429 teach it, nothing is lost."""
    it, broken, _ = run(_rate_limited(100, "never", 400))
    assert broken == []
    assert it.simulator.stats()["rateLimited"] <= 12


async def _two_days_away() -> list[Change]:
    async with world(Plan(6, changes=0, crashes=0)) as it:
        it.simulator.set(faults={"bad_gateway": 1.0})
        for number, user in enumerate(it.users):
            await it.push(user, f"N3w-Passw0rd!{number}")
        await asyncio.sleep(48 * 3600.0)
        it.simulator.set(faults={"bad_gateway": 0.0})
        return await it.settle(2.0)


def test_a_target_away_for_two_days_gets_everything_afterwards() -> None:
    """Within the time to live an outage costs nothing."""
    changes = run(_two_days_away())
    assert {change.state for change in changes} == {State.APPLIED}


async def _inactive() -> tuple[Change, Change, bool]:
    async with world(Plan(7, changes=0, crashes=0)) as it:
        user = next(each for each in it.simulator.directory() if not each.active)
        await it.push((user.id, user.user_name), "N3w-Passw0rd!1")
        await asyncio.sleep(120.0)
        parked = (await it.stores.lookup.changes())[0]
        it.simulator.edit(user.id, {"active": True})
        await asyncio.sleep(2 * 3600.0)
        return parked, (await it.stores.lookup.changes())[0], it.simulator.user(user.id).active


def test_an_inactive_user_is_parked_and_looked_up_again() -> None:
    """A leaver is not re-activated; who comes back gets the password within the hour."""
    parked, later, _ = run(_inactive())
    assert parked.state is State.PARKED
    assert parked.error is not None
    assert parked.error.code == "user.inactive"
    assert later.state is State.APPLIED


async def _lost_answer(moves: bool) -> Change:
    async with world(Plan(8, changes=0, crashes=0, switches={"password_moves_version": moves})) as it:
        it.simulator.next("lost_answer", method="PUT")
        await it.push(it.users[0], "N3w-Passw0rd!1")
        return (await it.settle())[0]


def test_a_lost_answer_is_inferred_from_a_moved_version() -> None:
    """`password.reused` and a moved version prove the first write."""
    change = run(_lost_answer(moves=True))
    assert change.state is State.APPLIED
    assert change.evidence is Evidence.INFERRED


def test_a_lost_answer_without_proof_waits_for_a_person() -> None:
    """Where the version does not move, nothing is claimed."""
    change = run(_lost_answer(moves=False))
    assert change.state is State.PARKED
    assert change.error is not None
    assert change.error.code == "outcome.unknown"


async def _forbidden() -> tuple[set[str | None], set[State]]:
    async with world(Plan(9, changes=0, crashes=0)) as it:
        it.simulator.set(missing_permissions=["directory:user:setPassword"])
        for number, user in enumerate(it.users):
            await it.push(user, f"N3w-Passw0rd!{number}")
        await asyncio.sleep(600.0)
        requests = it.simulator.stats()["requests"]
        paused = (await it.stores.delivery.org_state("default")).paused
        await asyncio.sleep(3600.0)
        assert it.simulator.stats()["requests"] - requests < 30
        it.simulator.set(missing_permissions=[])
        return {paused}, {change.state for change in await it.settle(3.0)}


def test_a_missing_permission_pauses_the_org_until_it_is_granted() -> None:
    """Two users meet it: the org pauses, probes now and then, and goes on by itself."""
    paused, states = run(_forbidden())
    assert paused == {"missing.permissions"}
    assert states == {State.APPLIED}


async def _expiry() -> Change:
    async with world(Plan(10, changes=0, crashes=0)) as it:
        await it.push(("00000000-0000-4000-8000-000000000000", "nobody@example.com"), "N3w-Passw0rd!1")
        await asyncio.sleep(73 * 3600.0)
        return (await it.stores.lookup.changes())[0]


def test_an_unknown_user_expires_after_its_time_to_live() -> None:
    """Parked, looked up hourly, and ended with its password erased."""
    change = run(_expiry())
    assert change.state is State.EXPIRED
    assert change.sealed is None


async def _back_after(hours: float) -> tuple[list[State], int]:
    """States of three changes that waited while no worker ran, and writes at the target."""
    async with world(Plan(12, changes=0, crashes=0)) as it:
        it.simulator.set(faults={"bad_gateway": 1.0})
        for number, user in enumerate(it.users[:3]):
            await it.push(user, f"N3w-Passw0rd!{number}")
        await asyncio.sleep(60.0)
        await it.die()
        await asyncio.sleep(hours * 3600.0)
        it.simulator.set(faults={"bad_gateway": 0.0})
        it.start()
        await asyncio.sleep(1000.0)
        states = [change.state for change in await it.stores.lookup.changes()]
        return states, sum(len(it.simulator.writes(user_id)) for user_id, _ in it.users)


def test_what_is_too_old_at_the_next_start_is_never_written() -> None:
    """Three days on, somebody may have set another one; an hour before that it is still delivered."""
    assert run(_back_after(96.0)) == ([State.EXPIRED] * 3, 0)
    assert run(_back_after(71.0)) == ([State.APPLIED] * 3, 3)
