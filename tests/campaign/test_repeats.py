"""In virtual time: a source that repeats the password that was last delivered."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from campaign.plans import MODES
from campaign.virtual_time import run
from campaign.world import Plan, World, world
from passferry.domain.change import Change, Evidence, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.ports import Hasher, Unmetered, VerifierBroken

WRITES = {"scim-put": "PUT", "scim-patch": "PATCH", "native": "POST"}
A, B = "N3w-Passw0rd!A", "N3w-Passw0rd!B"


@dataclass
class Rushed:
    """Hashes at once, and takes a minute to compare."""

    inner: Hasher

    async def hash(self, password: Password) -> bytes:
        """See the port."""
        return await self.inner.hash(password)

    async def verify(self, verifier: bytes, password: Password) -> bool:
        """See the port."""
        await asyncio.sleep(60.0)
        return await self.inner.verify(verifier, password)


@dataclass
class Broken:
    """Hashes, and cannot compare."""

    inner: Hasher
    error: Exception

    async def hash(self, password: Password) -> bytes:
        """See the port."""
        return await self.inner.hash(password)

    async def verify(self, verifier: bytes, password: Password) -> bool:
        """See the port."""
        raise self.error


class Counting(Unmetered):
    """Counts what tries came to."""

    def __init__(self) -> None:
        self.kinds = Counter[Kind]()

    def tried(self, org: str, kind: Kind) -> None:
        """See the port."""
        self.kinds[kind] += 1


async def _one_after_the_other(
    *passwords: str, mode: str = MODES[0], **switches: Any
) -> tuple[World, list[Change]]:
    """What became of changes of one user, ten seconds apart, the newest last."""
    async with world(Plan(11, changes=0, crashes=0, write=mode, switches=switches)) as it:
        for password in passwords:
            await it.push(it.users[0], password)
            await asyncio.sleep(10.0)
        return it, list(reversed(await it.stores.lookup.changes()))


def _came_to(change: Change) -> tuple[State, Evidence | None, str | None]:
    return change.state, change.evidence, change.error.code if change.error else None


INFERRED = (State.APPLIED, Evidence.INFERRED, None)
CONFIRMED = (State.APPLIED, Evidence.CONFIRMED, None)


@pytest.mark.parametrize("mode", MODES)
def test_a_repeat_that_the_target_refuses_is_applied(mode: str) -> None:
    """It is the password in place that a history refuses; the source gets the same outcome twice."""
    it, changes = run(_one_after_the_other(A, A, mode=mode))
    assert [_came_to(change) for change in changes] == [CONFIRMED, INFERRED]
    assert changes[1].attempts == 1
    assert len(it.simulator.writes(it.users[0][0])) == 1


@pytest.mark.parametrize("text", ["with-time", "plain"])
def test_a_repeat_that_is_too_young_does_not_wait_to_be_old_enough(text: str) -> None:
    """A day of waiting would end in the same."""
    _, changes = run(_one_after_the_other(A, A, minimum_age_seconds=86_400, too_young_text=text))
    assert [_came_to(change) for change in changes] == [CONFIRMED, INFERRED]


def test_another_password_that_is_too_young_waits() -> None:
    """Until the target takes it."""
    _, changes = run(_one_after_the_other(A, B, minimum_age_seconds=86_400))
    assert changes[1].state is State.PENDING
    assert changes[1].next_attempt_at is not None
    assert changes[1].next_attempt_at > changes[1].accepted_at + 86_000


@pytest.mark.parametrize("mode", MODES)
def test_a_repeat_that_the_target_takes_is_written(mode: str) -> None:
    """Without a history it is harmless, and it ends what somebody else set where no version shows it."""
    it, changes = run(_one_after_the_other(A, A, mode=mode, password_history=0))
    assert [_came_to(change) for change in changes] == [CONFIRMED, CONFIRMED]
    assert len(it.simulator.writes(it.users[0][0])) == 2


@pytest.mark.parametrize("mode", MODES)
def test_an_earlier_password_than_the_last_is_refused(mode: str) -> None:
    """It is in the history, but not in place."""
    it, changes = run(_one_after_the_other(A, B, A, mode=mode))
    assert _came_to(changes[2]) == (State.REFUSED, None, "password.reused")
    assert changes[2].attempts == 1
    assert it.simulator.verify(it.users[0][1], B)


async def _moved_since() -> tuple[State, Evidence | None, str | None]:
    async with world(Plan(11, changes=0, crashes=0)) as it:
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        it.simulator.touch(it.users[0][0])
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        return _came_to((await it.stores.lookup.changes())[0])


def test_a_repeat_at_a_user_who_was_changed_since_is_refused() -> None:
    """Somebody may have set another password."""
    assert run(_moved_since()) == (State.REFUSED, None, "password.reused")


async def _moved_on_the_way(mode: str) -> tuple[State, Evidence | None, str | None]:
    switches = {"if_match": "ignored"}
    async with world(Plan(11, changes=0, crashes=0, write=mode, switches=switches)) as it:
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        target = it.gateway.deliveries["default"]._t.target
        write = target.write

        async def moved(user: Any, password: Password) -> Outcome:
            it.simulator.touch(user.id)
            return await write(user, password)

        target.write = moved  # type: ignore[method-assign]
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        return _came_to((await it.stores.lookup.changes())[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_repeat_at_a_user_who_is_changed_before_the_write_is_refused(mode: str) -> None:
    """The write may have waited for minutes, for its slot."""
    assert run(_moved_on_the_way(mode)) == (State.REFUSED, None, "password.reused")


async def _lost(mode: str, *, dies: bool) -> tuple[State, Evidence | None, str | None]:
    async with world(Plan(17, changes=0, crashes=0, write=mode)) as it:
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        target, sends = it.gateway.deliveries["default"]._t.target, asyncio.Event()

        async def endless(*_: object) -> Outcome:
            sends.set()
            await asyncio.sleep(3600.0)
            raise AssertionError

        if dies:
            target.write = endless  # type: ignore[assignment]
        else:
            it.simulator.next("lost_answer", method=WRITES[mode])
        await it.push(it.users[0], A)
        if dies:
            await sends.wait()
            await it.crash()
        await it.settle(1.0)
        change = (await it.stores.lookup.changes())[0]
        assert change.attempts > 1
        return _came_to(change)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_repeat_whose_answer_is_lost_needs_nobody(mode: str, dies: bool) -> None:
    """Whether that send was executed or not: the password in place is the one that was there before.

    Not so where no write states a version: then nobody knows what was there.
    """
    unknown = (State.PARKED, None, "outcome.unknown")
    assert run(_lost(mode, dies=dies)) == (unknown if mode == "native" else INFERRED)


async def _paused_meanwhile() -> str | None:
    async with world(Plan(18, changes=0, crashes=0)) as it:
        delivery = it.gateway.deliveries["default"]
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        delivery._verifiers._hasher = Rushed(it.hasher)
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        delivery.health.told("invalid_client", it.clock.monotonic())
        await it.stores.delivery.note_health("default", None, "invalid_client", 0.0, it.clock.now())
        await asyncio.sleep(55.0)
        assert _came_to((await it.stores.lookup.changes())[0]) == INFERRED
        return delivery.health.paused


def test_a_comparison_does_not_resume_an_org() -> None:
    """Nobody asked the target."""
    assert run(_paused_meanwhile()) == "invalid_client"


async def _trail() -> list[tuple[str, int | None]]:
    async with world(Plan(19, changes=0, crashes=0)) as it:
        for password in (A, A):
            await it.push(it.users[0], password)
            await asyncio.sleep(10.0)
        newest = (await it.stores.lookup.changes())[0].id
        links = await it.stores.audit.links("default", 0, 1000)
        return [(each.record.kind, each.record.attempt) for each in links if each.record.change_id == newest]


def test_the_trail_shows_one_attempt_and_what_was_made_of_its_answer() -> None:
    """Two outcomes of the same number."""
    expected = [("accepted", None), ("attempt", 1), ("outcome", 1), ("outcome", 1)]
    assert run(_trail()) == expected


async def _compared_slowly(*, dies: bool) -> tuple[list[Change], Change]:
    """What the change shows while it is compared, and what comes of it."""
    async with world(Plan(12, changes=0, crashes=0)) as it:
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        verifiers = it.gateway.deliveries["default"]._verifiers
        verifiers._hasher = Rushed(it.hasher)
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        shown = await it.stores.lookup.changes()
        if dies:
            await it.die()
            it.start()
            await asyncio.sleep(10.0)
        else:
            await asyncio.sleep(60.0)
        return shown, (await it.stores.lookup.changes())[0]


@pytest.mark.parametrize("dies", [False, True])
def test_what_the_target_answered_is_known_before_it_is_compared(dies: bool) -> None:
    """A death meanwhile leaves no doubt that would need a person."""
    shown, change = run(_compared_slowly(dies=dies))
    assert _came_to(shown[0]) == (State.PENDING, None, "password.reused")
    assert shown[0].doubt is None
    assert _came_to(change) == INFERRED


async def _given_back() -> tuple[float, list[Change], Change]:
    """How long that took while a repeat was compared, what was left then, what the next owner makes of it."""
    async with world(Plan(14, changes=0, crashes=0)) as it:
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        it.gateway.deliveries["default"]._verifiers._hasher = Rushed(it.hasher)
        await it.push(it.users[0], A)
        await asyncio.sleep(10.0)
        running, before = it.gateway.leases._running["default"], it.clock.monotonic()
        running.stop.set()
        await asyncio.wait([running.task])
        took = it.clock.monotonic() - before
        left = await it.stores.lookup.changes()
        await it.die()
        it.start()
        await asyncio.sleep(10.0)
        return took, left, (await it.stores.lookup.changes())[0]


def test_an_org_is_given_back_though_a_repeat_is_compared() -> None:
    """Whoever takes over begins it anew; nobody says meanwhile that it was refused."""
    took, left, change = run(_given_back())
    assert took < 1.0
    assert _came_to(left[0]) == (State.PENDING, None, "password.reused")
    assert _came_to(change) == INFERRED


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_nothing_is_compared_any_more_once_verifiers_are_given_up(moment: str) -> None:
    """No answer, rather than a wrong one."""

    async def body() -> bool | None:
        async with world(Plan(15, changes=0, crashes=0)) as it:
            await it.push(it.users[0], A)
            await asyncio.sleep(10.0)
            verifiers = it.gateway.deliveries["default"]._verifiers
            verifiers._hasher = Rushed(it.hasher)
            delivered = await it.stores.lookup.delivered("default", Reference("id", it.users[0][0]))
            assert delivered is not None
            if moment == "before":
                verifiers.give_up()
            else:
                asyncio.get_running_loop().call_later(1.0, verifiers.give_up)
            return await verifiers.is_of(delivered, Password(A))

    assert run(body()) is None


@pytest.mark.parametrize("error", [VerifierBroken("made up"), MemoryError(), RuntimeError()])
def test_what_cannot_be_compared_is_as_the_target_says(error: Exception) -> None:
    """No try is repeated for it."""

    async def body() -> Change:
        async with world(Plan(16, changes=0, crashes=0)) as it:
            await it.push(it.users[0], A)
            await asyncio.sleep(10.0)
            it.gateway.deliveries["default"]._verifiers._hasher = Broken(it.hasher, error)
            await it.push(it.users[0], A)
            await asyncio.sleep(10.0)
            return (await it.stores.lookup.changes())[0]

    change = run(body())
    assert _came_to(change) == (State.REFUSED, None, "password.reused")
    assert change.attempts == 1


async def _counted() -> Counter[Kind]:
    async with world(Plan(13, changes=0, crashes=0)) as it:
        outcomes = it.gateway.deliveries["default"]._outcomes
        meter = Counting()
        outcomes._t = replace(outcomes._t, meter=meter)
        for password in (A, A, B, A):
            await it.push(it.users[0], password)
            await asyncio.sleep(10.0)
        return meter.kinds


def test_each_try_is_counted_once() -> None:
    """Not again for what was found out without the target."""
    assert run(_counted()) == {Kind.APPLIED: 2, Kind.REFUSED: 2}


async def _lagging(mode: str, if_match: str) -> tuple[list[State], set[int]]:
    """What became of sixty repeats, half of them at users who were changed, and how often each was set."""
    switches = {"if_match": if_match}
    plan = Plan(31, users=60, directory=80, changes=0, crashes=0, write=mode, switches=switches)
    async with world(plan) as it:
        for user in it.users[:60]:
            await it.push(user, A, by_id=True)
        await it.settle(1.0)
        target = it.gateway.deliveries["default"]._t.target
        pages = {start: await target.page(start, 1) for start in (1, 26, 51, 76)}

        async def lagging(start: int, priority: int) -> Any:
            return pages[start]

        target.page = lagging  # type: ignore[method-assign]
        attempts = it.gateway.deliveries["default"]._attempts
        write_listed, by_page = attempts._write_listed, list[str]()

        async def noted(change: Change, *rest: Any) -> None:
            by_page.append(change.id)
            await write_listed(change, *rest)

        attempts._write_listed = noted  # type: ignore[assignment]
        for user_id, _ in it.users[:60:2]:
            it.simulator.touch(user_id)  # somebody set another password, say
        for user in it.users[:60]:
            await it.push(user, A, by_id=True)
        newest = {change.user.value: change for change in reversed(await it.settle(1.0))}
        assert len(by_page) > 10
        states = [newest[user_id].state for user_id, _ in it.users[:60]]
        return states, {len(it.simulator.writes(user_id)) for user_id, _ in it.users[:60]}


@pytest.mark.parametrize("if_match", ["honoured", "ignored"])
@pytest.mark.parametrize("mode", MODES)
def test_a_list_that_lags_behind_does_not_settle_a_repeat(mode: str, if_match: str) -> None:
    """Only a single read shows that the user is as the delivery left it."""
    assert run(_lagging(mode, if_match)) == ([State.REFUSED, State.APPLIED] * 30, {1})
