"""What goes on around the processes: operators, administrators of the target, a target that is away or full.

Each is one coroutine over a ``Fleet``. What it changes it puts back, but for what was decided about changes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from campaign.shaky import Machine, ShakyDatabase
from passferry.adapters.key_file import FileSealer, KeyFile
from passferry.adapters.store_keep import SqlKeepStore
from passferry.bootstrap import Gateway
from passferry.domain.change import State
from passferry.rotate import rotate
from passferry.store_ports import NotNow, StoreFull

if TYPE_CHECKING:
    from campaign.fleet import Fleet, Org

ACTOR = "operator:campaign"
AWAY = {"bad_gateway": 0.5, "reset_before": 1.0}
STORM = {"throttled_1": 0.5, "token_throttled": 0.5}


async def _target_away(it: "Fleet") -> None:
    await _faults(it, AWAY, it.random.uniform(10.0, 300.0))


async def _storm(it: "Fleet") -> None:
    await _faults(it, STORM, it.random.uniform(5.0, 60.0))


async def _faults(it: "Fleet", faults: Mapping[str, float], seconds: float) -> None:
    org = it.an_org()
    usual = {name: org.plan.faults.get(name, 0.0) for name in faults}
    org.simulator.set(faults=faults)
    await asyncio.sleep(seconds)
    org.simulator.set(faults=usual)


async def _quota(it: "Fleet") -> None:
    """An administrator gives the org another limit, for a while."""
    org = it.an_org()
    usual = org.simulator.settings.rate
    org.quota_changed = True
    org.simulator.set(rate=it.random.choice((30, 60, 150, 600)))
    await asyncio.sleep(it.random.uniform(60.0, 240.0))
    org.simulator.set(rate=usual)


async def _pause(it: "Fleet") -> None:
    org = it.an_org()
    await _persist(it, lambda gateway: gateway.set_paused(org.plan.name, True, ACTOR))
    await asyncio.sleep(it.random.uniform(1.0, 60.0))
    await _persist(it, lambda gateway: gateway.set_paused(org.plan.name, False, ACTOR))


async def _decide(it: "Fleet", act: str) -> None:
    """A person cancels or retries one of the changes that live, whatever it waits for."""
    org = it.an_org()
    listed = await it.stores.lookup.changes(org=org.plan.name, limit=50)
    waiting = [one for one in listed if one.state in (State.PENDING, State.PARKED)]
    if not waiting:
        return
    change = it.random.choice(waiting)
    if act == "cancel":
        org.cancelled.add(change.id)

    async def operate(gateway: Gateway) -> None:
        with contextlib.suppress(NotNow):  # it ended, or is being sent
            await gateway.stores.lookup.operate(change.id, act, ACTOR, it.clock.now())

    await _persist(it, operate)


async def _cancel(it: "Fleet") -> None:
    await _decide(it, "cancel")


async def _retry(it: "Fleet") -> None:
    await _decide(it, "retry")


async def _rotate(it: "Fleet") -> None:
    """Another sealing key, by a command beside the processes that may die at any step; the next goes on."""
    machine = Machine("rotate", it.random)
    database = ShakyDatabase(it.database, machine, lambda work, result: None)
    act = machine.start(
        rotate(KeyFile(it.ring, it.clock.now), SqlKeepStore(database), FileSealer(it.ring), it.clock, ACTOR)
    )
    await asyncio.wait([act], timeout=it.random.choice((0.05, 0.2, 1.0, 60.0)))
    await machine.kill()
    if not act.cancelled() and act.result().unreadable:
        it.found.append(f"rotation found what does not open: {act.result().unreadable}")


async def _persist(it: "Fleet", what: Callable[[Gateway], Coroutine[Any, Any, None]]) -> None:
    """Do it, however often that takes, at any process: a person sees an error, and asks again."""
    while True:
        process = it.any_process()
        if process is not None:
            asking = process.machine.start(what(process.gateway))
            await asyncio.wait([asking], timeout=15.0)
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
            if not asking.cancelled() and not isinstance(asking.exception(), StoreFull):
                asking.result()
                return
        await asyncio.sleep(it.random.uniform(0.5, 3.0))


SURROUNDINGS: Mapping[str, Callable[["Fleet"], Awaitable[None]]] = {
    "target away": _target_away,
    "storm": _storm,
    "quota": _quota,
    "pause": _pause,
    "cancel": _cancel,
    "retry": _retry,
    "rotate": _rotate,
}


def may_be_throttled(org: "Org") -> bool:
    """Whether a 429 that no fault made is to be expected: a limit that is not stated, or not any more."""
    switches = org.plan.switches
    unstated = switches.get("rate_headers") == "never" and "rate" in switches
    return org.quota_changed or unstated or "scim_rate" in switches
