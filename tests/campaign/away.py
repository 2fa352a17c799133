"""A target that is away for a day, then drained at quota: ``PYTHONPATH=tests python -m campaign.away``.

Prints a line for every seed, and exits with 1 when something was lost, refused with 429 or too slow.
"""

import argparse
import asyncio
import logging
import sys
from typing import NamedTuple

import structlog

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.domain.change import State

RATE = 300
"""Requests a minute, as the target allows."""
AWAY = {"bad_gateway": 0.5, "reset_before": 1.0}
"""Every request fails, token requests too: half with 502, half with a connection that is reset."""
FIRST = 60.0
"""Seconds after the target's return within which some change is tried."""


class Day(NamedTuple):
    """What became of it."""

    changes: int
    lost: int
    throttled: int  # 429
    seconds: float  # from the target's return until the last change is applied
    requests: int  # in that time
    broken: list[str]

    @property
    def quota(self) -> float:
        """Seconds for which the target's limit makes so many requests last."""
        return self.requests * 60.0 / RATE

    @property
    def good(self) -> bool:
        """Whether it went as promised; a tenth more than the quota's own minimum is allowed."""
        in_time = self.seconds <= 1.1 * self.quota + FIRST
        return not (self.lost or self.throttled or self.broken) and in_time


async def day(seed: int, users: int, hours: float = 24.0) -> Day:
    """One change of each of ``users``, spread over the ``hours`` for which the target is away."""
    async with world(Plan(seed, changes=0, users=users, crashes=0, verifier=False)) as it:
        it.simulator.set(faults=AWAY)
        for number, user in enumerate(it.users):
            await it.push(user, f"N3w-Passw0rd!{number}")
            await asyncio.sleep(hours * 3600 / len(it.users))
        it.simulator.set(faults=dict.fromkeys(AWAY, 0.0))
        before, returned = it.simulator.stats()["requests"], it.clock.monotonic()
        await _drained(it)
        seconds = it.clock.monotonic() - returned
        broken = await it.broken_promises()
        changes = await it.stores.lookup.changes(limit=1_000_000)
        lost = len(it.sent) - sum(change.state is State.APPLIED for change in changes)
        stats = it.simulator.stats()
        return Day(len(it.sent), lost, stats["rateLimited"], seconds, stats["requests"] - before, broken)


async def _drained(it: World) -> None:
    for _ in range(6 * 3600):
        if it.simulator.stats()["usersWritten"] == len(it.users):
            return
        await asyncio.sleep(1.0)


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m campaign.away")
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--days", type=int, default=1, help="how many seeds")
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=24.0)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    bad = False
    for seed in range(chosen.seed, chosen.seed + chosen.days):
        it = run(day(seed, chosen.changes, chosen.hours))
        bad |= not it.good
        print(
            f"seed {seed}: {it.changes} changes, {it.lost} lost, {it.throttled} times 429, "
            f"drained in {it.seconds:.0f} s, of which the quota takes {it.quota:.0f} s",
            *it.broken,
            sep="\n  ",
            flush=True,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
