"""In virtual time: a machine that delivers faster than it hashes."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry import pages
from passferry.attempt import HASH_WAIT
from passferry.domain.change import Reference, State
from passferry.domain.password import Password
from passferry.ports import Binding, Hasher

SLOW = 60.0
DEFAULT = "default"


@dataclass
class SlowHasher:
    """Takes a minute for each verifier."""

    inner: Hasher
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def hash(self, password: Password) -> bytes:
        """See the port."""
        self.begun.release()
        await asyncio.sleep(SLOW)
        return await self.inner.hash(password)

    async def verify(self, verifier: bytes, password: Password) -> bool:
        """See the port; this is quick."""
        return await self.inner.verify(verifier, password)


def slow(it: World) -> SlowHasher:
    """From now on, ``it`` hashes slowly."""
    verifiers = it.gateway.deliveries[DEFAULT]._verifiers
    verifiers._hasher = found = SlowHasher(it.hasher)
    return found


async def states(it: World) -> list[State]:
    """Of all changes, the newest first."""
    return [change.state for change in await it.stores.lookup.changes()]


async def known(it: World, user: str, password: str) -> bool | None:
    """What `passferry verify` says."""
    delivered = await it.stores.lookup.delivered(DEFAULT, Reference("id", user))
    if delivered is None or delivered.verifier is None:
        return None
    binding = Binding("verifier", DEFAULT, delivered.resolved_id, delivered.change_id)
    return await it.hasher.verify(it.stores.sealer.open(delivered.verifier, binding), Password(password))


def test_an_outcome_that_is_known_does_not_wait_for_its_verifier() -> None:
    """It is committed after two seconds, and the verifier, when it is there; no older one stands in."""

    async def body() -> None:
        async with world(Plan(31, changes=0, crashes=0)) as it:
            user = it.users[0]
            await it.push(user, "N3w-Passw0rd!A", by_id=True)
            await asyncio.sleep(10.0)
            assert await known(it, user[0], "N3w-Passw0rd!A") is True
            slow(it)
            await it.push(user, "N3w-Passw0rd!B", by_id=True)
            await asyncio.sleep(HASH_WAIT + 2.0)
            assert await states(it) == [State.APPLIED] * 2
            assert await known(it, user[0], "N3w-Passw0rd!B") is None
            await asyncio.sleep(SLOW)
            assert await known(it, user[0], "N3w-Passw0rd!B") is True
            assert await known(it, user[0], "N3w-Passw0rd!A") is False

    run(body())


def test_an_org_is_given_back_before_all_its_verifiers_are_made() -> None:
    """With every outcome committed, so that whoever takes over finds nothing in doubt."""

    async def body() -> None:
        async with world(Plan(32, changes=0, crashes=0)) as it:
            hasher = slow(it)
            for user in it.users:
                await it.push(user, "N3w-Passw0rd!A")
            for _ in it.users:
                await hasher.begun.acquire()
            running, before = it.gateway.leases._running[DEFAULT], it.clock.monotonic()
            running.stop.set()
            await asyncio.wait([running.task])
            assert it.clock.monotonic() - before < HASH_WAIT + 1.0
            assert await states(it) == [State.APPLIED] * len(it.users)
            assert {await known(it, user, "N3w-Passw0rd!A") for user, _ in it.users} == {None}
            assert await it.stores.delivery.recover(DEFAULT, it.clock.now(), 20.0) == 0

    run(body())


def test_an_org_is_given_back_though_looks_wait_for_an_overloaded_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has not come to a write is begun anew by whoever takes over."""

    async def body() -> None:
        async with world(Plan(34, changes=0, crashes=0)) as it:
            running = it.gateway.leases._running[DEFAULT]
            looks = asyncio.Semaphore(0)

            async def waits(*_: object) -> None:
                looks.release()
                await asyncio.sleep(3600.0)

            monkeypatch.setattr(running.delivery._t.store, "resolve", waits)
            for user in it.users:
                await it.push(user, "N3w-Passw0rd!A")
            for _ in it.users:
                await looks.acquire()
            before = it.clock.monotonic()
            running.stop.set()
            await asyncio.wait([running.task])
            assert it.clock.monotonic() - before < 1.0
            assert await states(it) == [State.PENDING] * len(it.users)

    run(body())


@pytest.mark.parametrize("look", ["due", "due_count"])
def test_an_org_is_given_back_though_the_look_for_more_waits_behind_everybody(
    monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """The loop itself: what it looks for would be begun by whoever takes over."""

    async def body() -> None:
        async with world(Plan(36, changes=0, crashes=0)) as it:
            running = it.gateway.leases._running[DEFAULT]
            looks = asyncio.Semaphore(0)

            async def waits(*_: object, **__: object) -> None:
                looks.release()
                await asyncio.sleep(3600.0)

            monkeypatch.setattr(running.delivery._t.store, look, waits)
            monkeypatch.setattr(pages, "FEWEST", 1)
            await it.push(it.users[0], "N3w-Passw0rd!A")
            await looks.acquire()
            before = it.clock.monotonic()
            running.stop.set()
            await asyncio.wait([running.task])
            assert it.clock.monotonic() - before < 1.0
            assert await states(it) == [State.PENDING]
            assert await it.stores.delivery.recover(DEFAULT, it.clock.now(), 20.0) == 0

    run(body())


def test_what_the_target_answered_is_written_down_before_an_org_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of a try that came to no write."""

    async def body() -> None:
        async with world(Plan(35, changes=0, crashes=0)) as it:
            running = it.gateway.leases._running[DEFAULT]
            store, begins = running.delivery._t.store, asyncio.Event()
            settle = store.settle

            async def late(*values: Any) -> Any:
                begins.set()
                await asyncio.sleep(2.0)
                return await settle(*values)

            monkeypatch.setattr(store, "settle", late)
            await it.push(("nobody", "nobody@example.com"), "N3w-Passw0rd!A")
            await begins.wait()
            running.stop.set()
            await asyncio.wait([running.task])
            assert await states(it) == [State.PARKED]

    run(body())


def test_a_late_verifier_is_not_that_of_a_newer_password() -> None:
    """Another owner delivered one while it was made."""

    async def body() -> None:
        async with world(Plan(33, changes=0, crashes=0)) as it:
            user = it.users[0]
            slow(it)
            await it.push(user, "N3w-Passw0rd!A", by_id=True)
            await asyncio.sleep(HASH_WAIT + 2.0)
            it.gateway = it._start()  # in its place; the one before does not know
            await it.push(user, "N3w-Passw0rd!B", by_id=True)
            await asyncio.sleep(2 * SLOW)
            assert await known(it, user[0], "N3w-Passw0rd!B") is True

    run(body())


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_verifier_that_cannot_be_made_costs_nothing_else(error: type[Exception]) -> None:
    """The change is applied, and no older verifier is left."""

    async def body() -> None:
        async with world(Plan(34, changes=0, crashes=0)) as it:
            user = it.users[0]
            await it.push(user, "N3w-Passw0rd!A", by_id=True)
            await asyncio.sleep(10.0)

            async def fails(password: Password) -> bytes:
                raise error

            slow(it).hash = fails  # type: ignore[method-assign]
            await it.push(user, "N3w-Passw0rd!B", by_id=True)
            await asyncio.sleep(10.0)
            assert await states(it) == [State.APPLIED] * 2
            assert await known(it, user[0], "N3w-Passw0rd!B") is None

    run(body())
