"""A target that is away for a day, then drained: in virtual time, on the real use cases and stores."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import structlog

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from figures import Asked, Row, exactly, spread
from passferry.domain.change import State

USERS, HOURS, RATE = 300, 24, 300
AWAY = {"bad_gateway": 0.5, "reset_before": 1.0}
"""Every request fails, token requests too: half with 502, half with a connection that is reset."""


class Day(NamedTuple):
    """What became of it."""

    lost: int
    throttled: int
    seconds: float  # from the target's return until the last change is applied
    requests: int  # in that time


def rows(asked: Asked) -> list[Row]:
    """One seed a round."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    days = [run(_day(seed, asked.scaled(USERS))) for seed in range(asked.rounds)]
    what = f"target away {HOURS} virtual hours, then drained"
    quota = [day.requests * 60 / RATE / 60 for day in days]
    took = spread([day.seconds / 60 for day in days], " min")
    return [
        exactly(f"{what}: lost, of {asked.scaled(USERS)}", [day.lost for day in days], 0),
        exactly(f"{what}: 429 caused", [day.throttled for day in days], 0),
        Row(f"{what}: from its return to the last change", took, f"quota: {spread(quota, ' min')}", "-"),
    ]


async def _day(seed: int, users: int) -> Day:
    async with world(Plan(seed, changes=0, users=users, crashes=0, verifier=False)) as it:
        it.simulator.set(faults=AWAY)
        for number, user in enumerate(it.users):
            await it.push(user, f"N3w-Passw0rd!{number}")
            await asyncio.sleep(HOURS * 3600 / len(it.users))
        it.simulator.set(faults=dict.fromkeys(AWAY, 0.0))
        before, returned = it.simulator.stats()["requests"], it.clock.monotonic()
        await _drained(it)
        seconds = it.clock.monotonic() - returned
        changes = await it.stores.lookup.changes(limit=100_000)
        lost = sum(change.state is not State.APPLIED for change in changes) + len(it.sent) - len(changes)
        stats = it.simulator.stats()
        return Day(lost, stats["rateLimited"], seconds, stats["requests"] - before)


async def _drained(it: World) -> None:
    for _ in range(6 * 3600):
        if it.simulator.stats()["usersWritten"] == len(it.users):
            break
        await asyncio.sleep(1.0)
    await asyncio.sleep(5.0)  # the last outcomes are committed
