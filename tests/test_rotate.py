"""Rotation of the sealing key: cut short anywhere, and beside accepts and deliveries."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from passferry.accept import Accept, Intake, Request
from passferry.adapters import keyring
from passferry.adapters.clock import SystemClock
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.key_file import FileSealer, KeyFile
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_keep import SqlKeepStore
from passferry.domain.accepting import Judge, NewChange, Verdict
from passferry.domain.change import Evidence, Reference, State
from passferry.domain.outcome import Kind, Next, Outcome
from passferry.domain.password import Password
from passferry.notices import Notices
from passferry.ports import Binding, SealBroken, UnknownKey
from passferry.refusals import NotAccepted
from passferry.rotate import Rotated, rotate
from passferry.state import Stores, audit_key
from passferry.store_ports import Caller, StaleSeal

GOOD = "Correct-Horse-9"
PORTAL = Caller("1", "portal", "source", (), None, 0.0)
STEPS = ["added", "retired", "batch", "noted", "destroyed"]


class Killed(BaseException):
    """The process ended here."""


class RotatedBefore:
    """An ``AcceptStore`` before whose first commit a whole rotation passes, or what else is to happen."""

    def __init__(self, place: "Place", happens: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.place, self.happens = place, happens
        self.calls = 0

    async def accept(self, items: list[NewChange], judge: Judge) -> list[Verdict]:
        """See the port."""
        self.calls += 1
        if self.calls == 1:
            await self.happens()
        return await self.place.stores.accept.accept(items, judge)

    def lane(self, org: str) -> str:
        """See the port."""
        return org

    async def backlog(self, org: str, most: int) -> int:
        """See the port."""
        return 0


class AskedBefore(SqlKeepStore):
    """A store whose newest key was asked for before another machine rotated."""

    async def sealing_key(self) -> str | None:
        """See the port."""
        return None


class Place:
    """A ring and a database on disk, with a pending change `live` and a delivered one with its verifier."""

    def __init__(self, folder: Path) -> None:
        self.ring = folder / "keys" / "ring"
        keyring.create(self.ring, keyring.generate(0.0))
        self.sealer = FileSealer(self.ring)
        self.database = SqliteDatabase(folder / "test.db", audit_key(self.sealer), inline=True)
        prepare(self.database)
        with self.database.engine.begin() as connection:
            add_orgs(connection, ["default"])
        self.stores = Stores.over(self.database, self.sealer, SystemClock())
        self.old = keyring.load(self.ring).active

    def accept(self, store: Any = None) -> Accept:
        """The use case, over ``store`` or the real one."""
        return Accept(
            store or self.stores.accept,
            self.stores.lookup,
            self.sealer,
            SystemClock(),
            Notices(),
            {"default": Intake()},
            lambda reason: None,
        )

    async def push(self, user: str = "live@example.com", store: Any = None) -> str:
        """Accept a change; its id."""
        request = Request("default", Reference("userName", user), Password(GOOD))
        return (await self.accept(store).accept(PORTAL, request)).change.id

    async def deliver(self, user: str) -> None:
        """Accept a change and apply it, with a verifier that says ``verifier of USER``."""
        change_id = await self.push(user)
        await self.stores.delivery.take("default")
        await self.stores.delivery.resolve(change_id, f"id-{user}", 1.0)
        begun = await self.stores.delivery.begin(change_id, "1", 1.0, 20.0)
        assert begun is not None
        assert not isinstance(begun, float)
        sealed = self.sealer.seal(
            f"verifier of {user}".encode(), Binding("verifier", "default", f"id-{user}", change_id)
        )
        done = Next(State.APPLIED, evidence=Evidence.CONFIRMED)
        await self.stores.delivery.settle(begun, Outcome(Kind.APPLIED, version="2"), done, 2.0, sealed)

    async def rotate(self, die_after: str = "") -> Rotated:
        """Rotate as a command beside the gateway does, with a sealer of its own; die after a step."""

        def step(name: str) -> None:
            if name == die_after:
                raise Killed

        clock = SystemClock()
        holder = KeyFile(self.ring, clock.now)
        return await rotate(holder, self.stores.keep, FileSealer(self.ring), clock, "operator:test", step)

    async def rotated(self, times: int) -> None:
        """Rotate that often; what ``old`` names afterwards is the key that is active now."""
        for _ in range(times):
            await self.rotate()
        self.old = keyring.load(self.ring).active

    async def opens(self, change_id: str) -> bytes:
        """The password of a live change, opened with the ring as it is on disk now."""
        change = await self.stores.lookup.change(change_id)
        assert change is not None
        binding = Binding("password", "default", change.user.value, change_id)
        return FileSealer(self.ring).open(change.sealed or b"", binding)

    async def verifier(self, user: str) -> bytes:
        """The verifier of a user, opened with the ring as it is on disk now."""
        kept = await self.stores.lookup.delivered("default", Reference("userName", user))
        assert kept is not None
        binding = Binding("verifier", "default", kept.resolved_id, kept.change_id)
        return FileSealer(self.ring).open(kept.verifier or b"", binding)

    async def kinds(self) -> list[str]:
        """The kinds of all audit records."""
        return [link.record.kind for link in await self.stores.audit.links("default", 0, 1000)]


@contextmanager
def opened(folder: Path) -> Iterator[Place]:
    """A place that is closed afterwards."""
    place = Place(folder)
    try:
        yield place
    finally:
        place.database.close()


def test_afterwards_only_the_new_key_is_there_and_opens_everything(tmp_path: Path) -> None:
    """Password and verifier are sealed anew, the ring has one key, the MAC key stays, the trail says it."""

    async def body(place: Place) -> None:
        change_id = await place.push()
        await place.deliver("done@example.com")
        before = keyring.load(place.ring)
        done = await place.rotate()
        after = keyring.load(place.ring)
        assert list(after.keys) == [done.key]
        assert (done.destroyed, done.resealed, done.resumed) == ((place.old,), 2, False)
        assert after.mac_key == before.mac_key
        assert await place.stores.lookup.key_ids() == {done.key}
        assert await place.opens(change_id) == GOOD.encode()
        assert await place.verifier("done@example.com") == b"verifier of done@example.com"
        assert (await place.kinds())[-2:] == ["key.rotated", "key.destroyed"]

    with opened(tmp_path) as place:
        asyncio.run(body(place))


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_that_was_cut_short_loses_nothing_and_is_finished_by_the_next(
    tmp_path: Path, step: str, before: int
) -> None:
    """After a death at any step of any rotation all opens; changes are accepted; once more ends it."""

    async def body(place: Place) -> None:
        await place.rotated(before)
        first = await place.push()
        await place.deliver("done@example.com")
        with pytest.raises(Killed):
            await place.rotate(die_after=step)
        second = await place.push("second@example.com")
        assert [await place.opens(each) for each in (first, second)] == [GOOD.encode()] * 2
        assert await place.verifier("done@example.com") == b"verifier of done@example.com"
        interrupted = keyring.load(place.ring)
        done = await place.rotate()
        assert done.resumed == (step != "destroyed")
        assert (done.key == interrupted.active) == done.resumed
        assert list(keyring.load(place.ring).keys) == [done.key]
        assert place.old not in await place.stores.lookup.key_ids()
        assert [await place.opens(each) for each in (first, second)] == [GOOD.encode()] * 2
        assert await place.verifier("done@example.com") == b"verifier of done@example.com"

    with opened(tmp_path) as place:
        asyncio.run(body(place))


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("step", ["added", "retired", "batch", "noted", ""])
def test_what_was_sealed_before_a_rotation_and_is_committed_after_it_is_sealed_anew(
    tmp_path: Path, step: str, before: int
) -> None:
    """Whatever a rotation gets to between an accept's seal and its commit: what is stored opens."""

    async def body(place: Place) -> None:
        async def happens() -> None:
            if step:
                with pytest.raises(Killed):
                    await place.rotate(die_after=step)
            else:
                await place.rotate()

        await place.rotated(before)
        await place.push()
        store = RotatedBefore(place, happens)
        change_id = await place.push("racing@example.com", store)
        assert store.calls == (1 if step == "added" else 2)
        await place.rotate()
        assert await place.opens(change_id) == GOOD.encode()

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_a_machine_that_has_the_key_prepared_refuses_nothing_while_another_rotates(tmp_path: Path) -> None:
    """Its copy of the ring keeps the old key active, and yet it seals as the store wants; then it follows."""

    async def body(place: Place) -> None:
        KeyFile(place.ring, lambda: 0.0).prepare()
        other = place.ring.with_name("copy")
        keyring.create(other, keyring.load(place.ring))
        before = await place.push("before@example.com")
        first = await place.rotate()
        assert (first.resumed, first.destroyed) == (False, (place.old,))
        place.sealer, place.ring = FileSealer(other), other
        during = await place.push("during@example.com")
        assert keyring.load(other).active == place.old
        second = await place.rotate()
        assert (second.key, second.resumed, second.destroyed) == (first.key, True, (place.old,))
        assert list(keyring.load(other).keys) == [first.key]
        assert [await place.opens(each) for each in (before, during)] == [GOOD.encode()] * 2

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_two_machines_that_rotate_at_once_destroy_nothing(tmp_path: Path) -> None:
    """The second is refused, which names the first one's key, and keeps every key of its ring."""

    async def body(place: Place) -> None:
        other = place.ring.with_name("copy")
        keyring.create(other, keyring.load(place.ring))
        await place.push()
        with pytest.raises(Killed):
            await place.rotate(die_after="retired")
        first = keyring.load(place.ring).active
        store, holder, clock = AskedBefore(place.database), KeyFile(other, lambda: 0.0), SystemClock()
        with pytest.raises(StaleSeal, match=first):
            await rotate(holder, store, place.sealer, clock, "operator:test")
        assert set(keyring.load(other).keys) == {place.old, keyring.load(other).active}

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_without_the_new_key_nothing_is_accepted_and_it_is_said(tmp_path: Path) -> None:
    """A gateway whose ring is put back to the old one refuses, names the key that it lacks, and recovers."""

    async def body(place: Place) -> None:
        backup = keyring.load(place.ring)
        await place.push()
        done = await place.rotate()
        rotated = keyring.load(place.ring)
        keyring.replace(place.ring, backup)
        with pytest.raises(NotAccepted) as refused:
            await place.push("other@example.com")
        assert refused.value.code == "key.missing"
        assert place.sealer.missing() == {done.key}
        keyring.replace(place.ring, rotated)
        assert place.sealer.missing() == frozenset()
        assert await place.push("other@example.com")

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_an_outcome_with_a_verifier_under_the_old_key_is_not_stored(tmp_path: Path) -> None:
    """The store refuses the whole settlement, so that it can be made anew: nothing of it is lost."""

    async def body(place: Place) -> None:
        change_id = await place.push()
        await place.stores.delivery.take("default")
        await place.stores.delivery.resolve(change_id, "id-1", 1.0)
        begun = await place.stores.delivery.begin(change_id, "1", 1.0, 20.0)
        assert begun is not None
        assert not isinstance(begun, float)
        sealed = place.sealer.seal(b"verifier", Binding("verifier", "default", "id-1", change_id))
        done = await place.rotate()
        applied = Next(State.APPLIED, evidence=Evidence.CONFIRMED)
        with pytest.raises(StaleSeal, match=done.key):
            await place.stores.delivery.settle(begun, Outcome(Kind.APPLIED), applied, 2.0, sealed)
        change = await place.stores.lookup.change(change_id)
        assert change is not None
        assert change.state is State.DELIVERING

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_the_old_key_is_kept_while_something_does_not_open(tmp_path: Path) -> None:
    """A damaged value is named and the old key stays; once it is cancelled, the rotation can be finished."""

    async def body(place: Place) -> None:
        change_id = await place.push()
        with place.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "update changes set sealed = cast(substr(sealed, 1, 60) || zeroblob(50) as blob)"
            )
        done = await place.rotate()
        assert (done.unreadable, done.destroyed) == ((f"password default {change_id}",), ())
        assert place.old in keyring.load(place.ring).keys
        await place.stores.lookup.operate(change_id, "cancel", "operator:test", 3.0)
        assert (await place.rotate()).destroyed == (place.old,)

    with opened(tmp_path) as place:
        asyncio.run(body(place))


def test_old_copies_do_not_open_after_it(tmp_path: Path) -> None:
    """A sealed value from an old copy of the database opens nowhere, not in a running gateway either."""

    async def body(place: Place) -> None:
        change_id = await place.push()
        change = await place.stores.lookup.change(change_id)
        assert change is not None
        await place.rotate()
        binding = Binding("password", "default", change.user.value, change_id)
        place.sealer.seal(b"", binding)  # whereupon the running gateway follows the file
        for sealer in (place.sealer, FileSealer(place.ring)):
            with pytest.raises((UnknownKey, SealBroken)):
                sealer.open(change.sealed or b"", binding)

    with opened(tmp_path) as place:
        asyncio.run(body(place))
