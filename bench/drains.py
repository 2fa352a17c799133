"""Delivering a backlog as fast as the machine can: the time and the gateway's processor time it takes."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import callers
import programs

UNHURRIED = {"GENESYS_RATE": "1000000", "PASSFERRY_SOURCE_RATE": "1000000"}
"""Settings under which neither the target's limit nor a source's bounds the rate."""

CALLERS = 32


class Drained(NamedTuple):
    """One backlog, accepted while the org was paused, then delivered."""

    accepts: callers.Answers
    seconds: float
    cpu: float  # seconds of the gateway, delivery only
    began: float  # at which performance counter the delivery began


def drain(
    gateway: programs.Gateway,
    target: programs.Running,
    users: Sequence[str],
    word: str,
    *,
    deliver: bool = True,
) -> Drained:
    """Accept one change for each of ``users``, then deliver them all. ``word`` makes the passwords new."""
    gateway.pause()
    bodies = [callers.change(user, f"N3w-{word}-Passw0rd!{n}") for n, user in enumerate(users)]
    before = programs.count(target, "passwordWrites")
    accepts = asyncio.run(
        callers.as_fast_as_possible(gateway.host, gateway.headers, "/sync/password", bodies, CALLERS)
    )
    assert accepts.statuses == {202: len(users)}, accepts.statuses
    if not deliver:
        return Drained(accepts, 0.0, 0.0, 0.0)
    started, cpu = time.perf_counter(), gateway.cpu_seconds()
    gateway.resume()
    while programs.count(target, "passwordWrites") < before + len(users):
        if time.perf_counter() - started > 300:
            raise TimeoutError("the backlog was not delivered within five minutes")
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    time.sleep(0.5)  # the last outcomes are committed
    return Drained(accepts, seconds, gateway.cpu_seconds() - cpu, started)
