"""Delivery while sealing keys change under it, in virtual time."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.domain.change import Change, Reference, State
from passferry.ports import Binding, UnknownKey
from passferry.store_ports import StaleSeal

PASSWORD = "N3w-Passw0rd!1"
QUIET = Plan(21, changes=0, crashes=0)


class Between:
    """Stands before a port, and refuses the first ``times`` calls that ``refuse`` has something against."""

    def __init__(self, inner: Any, times: int, refuse: Any) -> None:
        self._inner, self._left, self._refuse = inner, times, refuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def of(self, org: str) -> "Between":
        """The port's, of one org: before it, too."""
        return self

    def _check(self, *arguments: Any) -> None:
        error = self._refuse(*arguments)
        if error is not None and self._left > 0:
            self._left -= 1
            raise error

    async def settle(self, change: Any, outcome: Any, nxt: Any, now: float, verifier: Any = None) -> Change:
        """The port's, unless the verifier is refused."""
        self._check(verifier)
        settled: Change = await self._inner.settle(change, outcome, nxt, now, verifier)
        return settled

    async def add_verifier(self, change: Any, verifier: Any) -> None:
        """The port's, unless the verifier is refused."""
        self._check(verifier)
        await self._inner.add_verifier(change, verifier)

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """The port's, unless its key is not known."""
        self._check(binding)
        opened: bytes = self._inner.open(sealed, binding)
        return opened


async def _one(it: World, **stores: Any) -> Change:
    it.stores = replace(it.stores, **stores)
    await it.crash()  # and a new gateway over these stores
    await it.push(it.users[0], PASSWORD)
    await asyncio.sleep(20.0)
    return (await it.stores.lookup.changes())[0]


async def _stale(times: int) -> tuple[State, bool, int]:
    async with world(QUIET) as it:
        before = Between(it.stores.delivery, times, lambda verifier: verifier and StaleSeal("ab" * 8))
        change = await _one(it, delivery=before)
        kept = await it.stores.lookup.delivered("default", Reference("id", it.users[0][0]))
        assert await it.broken_promises() == []
        return (
            change.state,
            kept is not None and kept.verifier is not None,
            len(it.simulator.writes(it.users[0][0])),
        )


@pytest.mark.parametrize(("times", "kept"), [(1, True), (2, False), (9, False)])
def test_an_outcome_is_stored_though_the_key_of_its_verifier_was_replaced(times: int, kept: bool) -> None:
    """Sealed anew it is stored with it; where the ring lacks the new key, without; written once."""
    assert run(_stale(times)) == (State.APPLIED, kept, 1)


async def _unknown_key() -> tuple[Change, Change]:
    async with world(QUIET) as it:
        refuse = Between(it.stores.sealer, 2, lambda binding: UnknownKey("ab" * 8))
        early = await _one(it, sealer=refuse)
        await asyncio.sleep(120.0)
        assert await it.broken_promises() == []
        return early, (await it.stores.lookup.changes())[0]


def test_a_change_whose_key_is_missing_waits_and_uses_no_attempt() -> None:
    """It stays pending, says why, is looked at every 30 seconds, and is applied once the key is there."""
    early, late = run(_unknown_key())
    assert early.error is not None
    assert (early.state, early.error.code, early.attempts) == (State.PENDING, "key.missing", 0)
    assert (late.state, late.attempts) == (State.APPLIED, 1)
