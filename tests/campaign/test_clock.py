"""In virtual time: the wall clock is set, forth and back."""

import asyncio

import pytest

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.domain.change import Change, State

PLAN = Plan(41, changes=0, crashes=0, verifier=False)
HOUR = 3600.0


async def _changes(it: World) -> list[Change]:
    return sorted(await it.stores.lookup.changes(), key=lambda change: change.accepted_at)


async def _set_by(by: float) -> tuple[float, float, set[State]]:
    """How long a change in doubt, one that waits and one accepted then take after the clock is set."""
    async with world(PLAN) as it:
        it.simulator.next("lost_answer", method="PUT")
        await it.push(it.users[0], "N3w-Passw0rd!0")
        await asyncio.sleep(12.0)
        it.simulator.set(faults={"bad_gateway": 1.0})
        await it.push(it.users[1], "N3w-Passw0rd!1")
        await asyncio.sleep(1.0)
        it.simulator.set(faults={"bad_gateway": 0.0})
        it.clock.wrong_by = by
        started = it.clock.monotonic()
        await it.push(it.users[2], "N3w-Passw0rd!2")
        while {change.state for change in await _changes(it)} != {State.APPLIED}:
            await asyncio.sleep(0.5)
            if it.clock.monotonic() > started + 600.0:
                break
        writes = [
            entry.time
            for entry in it.simulator.journal()
            if entry.method == "PUT" and it.users[0][0] in entry.path
        ]
        states = {change.state for change in await _changes(it)}
        return it.clock.monotonic() - started, writes[-1] - writes[0], states


@pytest.mark.parametrize("by", [-30 * 86400.0, -HOUR, -7.0, 7.0, HOUR, 30 * 86400.0])
def test_a_clock_that_is_set_lengthens_and_shortens_no_wait_by_what_it_was_wrong(by: float) -> None:
    """Everything arrives within its own waits, and nobody in doubt is written to earlier than 20 s after."""
    took, between, states = run(_set_by(by))
    assert states == {State.APPLIED}
    assert took <= 45.0
    assert between >= 20.0


async def _forth_and_back() -> tuple[set[State], set[State]]:
    async with world(PLAN) as it:
        it.simulator.set(faults={"bad_gateway": 1.0})
        await it.push(it.users[0], "N3w-Passw0rd!0")
        await asyncio.sleep(300.0)
        it.clock.wrong_by = 5 * 86400.0
        await asyncio.sleep(2 * HOUR)
        forth = {change.state for change in await _changes(it)}
        it.clock.wrong_by = 0.0
        await asyncio.sleep(HOUR)
        it.simulator.set(faults={"bad_gateway": 0.0})
        await asyncio.sleep(1000.0)
        return forth, {change.state for change in await _changes(it)}


def test_a_clock_that_is_wrong_for_a_while_ends_nothing_early() -> None:
    """Five days ahead nothing expires, since no answer agrees; put right, what waits is tried as before."""
    assert run(_forth_and_back()) == ({State.PENDING}, {State.APPLIED})
