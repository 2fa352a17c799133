"""What holds of sources until the very write, against the simulator, in virtual time."""

import asyncio

import pytest

from campaign.virtual_time import run
from campaign.world import CALLER, Plan, World, world
from passferry.accept import Request
from passferry.domain.change import Reference, State
from passferry.domain.password import Password

GOOD = "Correct-Horse-7"


async def sent(it: World, number: int, *, by_id: bool, bulk: bool = False, password: str = GOOD) -> str:
    """A change is accepted; its id."""
    user_id, name = it.users[number]
    reference = Reference("id", user_id) if by_id else Reference("userName", name)
    request = Request("default", reference, Password(password), bulk=bulk)
    return (await it.gateway.accept.accept(CALLER, request)).change.id


@pytest.mark.parametrize("listed", ["id", "userName"])
def test_a_user_that_is_not_to_be_touched_is_found_out_before_the_write(listed: str) -> None:
    """Listed by name and sent by id, or the other way round: refused, erased, and nothing was written."""

    async def body() -> None:
        async with world(Plan(seed=1)) as plain:
            user_id, name = plain.users[0]
        never = frozenset({(user_id if listed == "id" else name).upper().casefold()})
        async with world(Plan(seed=1, never=never)) as it:
            refused = await sent(it, 0, by_id=listed != "id")
            allowed = await sent(it, 1, by_id=True)
            await asyncio.sleep(20)
            change = await it.stores.lookup.change(refused)
            other = await it.stores.lookup.change(allowed)
            assert change is not None
            assert other is not None
            assert change.error is not None
            assert (change.state, change.error.code, change.sealed) == (State.REFUSED, "user.protected", None)
            assert other.state is State.APPLIED
            assert list(it.simulator.writes(name)) == []

    run(body())


def test_pages_do_not_get_round_it_either() -> None:
    """Where a page of all users serves the due ones, those that are not to be touched are refused as well."""

    async def body() -> None:
        async with world(Plan(seed=2, users=90, directory=100)) as plain:
            never = frozenset(name.casefold() for _, name in plain.users[::9])
        async with world(Plan(seed=2, users=90, directory=100, never=never)) as it:
            for number in range(90):
                await sent(it, number, by_id=True, bulk=True)
            await asyncio.sleep(300)
            states = [change.state for change in await it.stores.lookup.changes(limit=1000)]
            assert (states.count(State.REFUSED), states.count(State.APPLIED)) == (10, 80)
            assert all(
                not list(it.simulator.writes(name)) for _, name in it.users if name.casefold() in never
            )

    run(body())


def test_bulk_gives_way_to_people() -> None:
    """A person's change, accepted behind bulk for minutes, is applied within seconds."""

    async def body() -> None:
        async with world(Plan(seed=3, users=400, directory=4000)) as it:
            for number in range(1, 400):
                await sent(it, number, by_id=True, bulk=True)
            await asyncio.sleep(30)
            person = await sent(it, 0, by_id=True)
            await asyncio.sleep(3)
            change = await it.stores.lookup.change(person)
            waiting = await it.stores.lookup.changes(states=[State.PENDING], limit=1000)
            assert change is not None
            assert change.state is State.APPLIED
            assert len(waiting) > 200

    run(body())
