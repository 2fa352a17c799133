"""A backlog, drained in virtual time: requests a change, and how much of the quota was used.

``PYTHONPATH=tests python -m campaign.drain`` prints the figures of docs/decisions/0013.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from campaign.plans import MODES
from campaign.virtual_time import EPOCH, run
from campaign.world import Plan, World, world
from passferry.domain.change import State


@dataclass(frozen=True)
class Drain:
    """How a backlog was drained."""

    changes: int
    applied: int
    requests: int
    listed: int
    throttled: int
    used: float  # share of the quota, over the whole windows in which there was work
    seconds: float
    waited: float  # the longest of a change

    @property
    def each(self) -> float:
        """Requests a change."""
        return self.requests / max(1, self.applied)


@dataclass(frozen=True)
class Backlog:
    """What is to be drained."""

    users: int = 4000
    due: int = 3000
    mode: str = "scim-put"
    rate: int = 300
    by_id: bool | None = True
    bulk: bool = False
    within: float = 0.0  # seconds in which they come
    switches: Mapping[str, Any] = field(default_factory=dict)


async def drain(backlog: Backlog, seed: int = 1) -> Drain:
    """Accept everything, and watch it being delivered."""
    switches = {"rate": backlog.rate, "latency": 0.06, **backlog.switches}
    # Some are inactive, and cannot be due.
    plan = Plan(
        seed,
        users=backlog.due,
        directory=backlog.users,
        write=backlog.mode,
        crashes=0,
        verifier=False,
        switches=switches,
    )
    async with world(plan) as it:
        active = [user for user in it.simulator.directory() if user.active]
        chosen = it.random.sample(active, backlog.due)
        for number, user in enumerate(chosen):
            name = (user.id, user.user_name)
            await it.push(name, f"N3w-Passw0rd!{number}", by_id=backlog.by_id, bulk=backlog.bulk)
            if backlog.within:
                await asyncio.sleep(backlog.within / backlog.due)
        return await _watched(it, backlog)


async def _watched(it: World, backlog: Backlog) -> Drain:
    started = it.clock.monotonic()
    changes = await it.settle(48.0)
    applied = [change for change in changes if change.state is State.APPLIED]
    sent = [entry for entry in it.simulator.journal() if "/oauth/" not in entry.path]
    last = max(change.updated_at for change in changes)
    return Drain(
        changes=len(changes),
        applied=len(applied),
        requests=len(sent),
        listed=sum(entry.path.endswith("/users") for entry in sent),
        throttled=it.simulator.stats()["rateLimited"],
        used=_used([entry.time for entry in sent], EPOCH + started, last, backlog.rate),
        seconds=last - EPOCH - started,
        waited=max(change.updated_at - change.accepted_at for change in changes),
    )


def _used(times: list[float], started: float, ended: float, rate: int) -> float:
    """The share of ``rate`` a minute that was used, but for the first and the last minute."""
    first, last = started + 60.0, ended - 60.0
    within = sum(first <= at < last for at in times)
    return within / (rate * (last - first) / 60.0) if last > first else 0.0


def plans() -> Iterator[tuple[str, Backlog]]:
    """What the decision's table has."""
    for mode in MODES:
        yield f"3,000 of 4,000, {mode}", Backlog(mode=mode)
    yield "3,000 of 4,000, within 10 s", Backlog(within=10.0)
    yield "two thirds of 4,000", Backlog(due=2667)
    yield "3,000 of 4,000, by userName", Backlog(by_id=False)
    yield "3,000 of 4,000, bulk", Backlog(bulk=True)
    yield "170 of 4,000", Backlog(due=170)
    yield "40 of 4,000", Backlog(due=40)
    yield "3,000 of 4,000, 60 a minute", Backlog(rate=60)
    yield "3,000 of 4,000, 3,000 a minute, 0.5 s", Backlog(rate=3000, switches={"latency": 0.5})
    yield "3,000 of 4,000, reduced lists", Backlog(switches={"list_users": "reduced"})
    yield "3,000 of 4,000, no headers", Backlog(switches={"rate_headers": "never"})


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m campaign.drain")
    parser.add_argument("--only", default="", help="plans whose name contains this")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print("| backlog | requests a change | pages | 429 | quota used | minutes |\n|---|---|---|---|---|---|")
    for name, backlog in plans():
        if chosen.only not in name:
            continue
        it = run(drain(backlog))
        used = f"{it.used:.2%}" if it.used else ""  # too short for a whole minute
        row = f"| {name} | {it.each:.4f} | {it.listed} | {it.throttled} | {used} |"
        print(f"{row} {it.seconds / 60:.1f} |" + ("" if it.applied == it.changes else " NOT ALL APPLIED"))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
