"""The use case accept, over a real store and a clock that stands still."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog.testing

from campaign.virtual_time import EPOCH, VirtualClock, run
from passferry.accept import Accept, Intake, Request, SourceRates, Taken
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.keyring import generate
from passferry.adapters.sealing import RingSealer
from passferry.adapters.sqlite import SqliteDatabase
from passferry.domain.accepting import Judge, NewChange, Verdict
from passferry.domain.change import Change, Evidence, Reference, State
from passferry.domain.outcome import Kind, Next, Outcome
from passferry.domain.password import Password
from passferry.domain.source_rules import SourceRules
from passferry.notices import Notices
from passferry.ports import Binding, Unmetered
from passferry.refusals import FULL_SECONDS, NotAccepted
from passferry.state import Stores, audit_key
from passferry.store_ports import Caller, StoreAway, StoreBusy, StoreFull, StoreLost

PORTAL = Caller("k", "portal", "source", ())
GOOD = "Correct-Horse-9"


@dataclass
class Counting:
    """The accept store, with a count of its commits, and failures on demand."""

    inner: Any
    batches: list[int]
    failure: Exception | None = None
    look_failure: Exception | None = None
    poison: str | None = None
    apart: bool = False
    locked: str | None = None  # an org
    gate: asyncio.Event | None = None
    looked_at: list[int] = field(default_factory=list)

    async def accept(self, items: Sequence[NewChange], judge: Judge) -> list[Verdict]:
        self.batches.append(len(items))
        await asyncio.sleep(0.005)
        if self.gate is not None and self.locked in (None, items[0].org):
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if any(item.user.value == self.poison for item in items):
            raise ZeroDivisionError
        verdicts: list[Verdict] = await self.inner.accept(items, judge)
        return verdicts

    def lane(self, org: str) -> str:
        """See the port."""
        return org if self.apart else str(self.inner.lane(org))

    async def backlog(self, org: str, most: int) -> int:
        self.looked_at.append(most)
        if self.look_failure is not None:
            raise self.look_failure
        return int(await self.inner.backlog(org, most))


class Ends(Unmetered):
    """How each accept ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def accept_ended(self, org: str, result: str, seconds: float) -> None:
        """See the port."""
        self.ended.append(result)


class Desk:
    """An ``Accept`` and what stands around it."""

    def __init__(self, **intake: Any) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.sealer = RingSealer(generate(0.0))
        database = SqliteDatabase(None, audit_key(self.sealer), inline=True)
        prepare(database)
        with database.engine.begin() as connection:
            add_orgs(connection, ["default", "other"])
        self.stores = Stores.over(database, self.sealer, self.clock)
        self.counting = Counting(self.stores.accept, [])
        self.fatal: list[str] = []
        self.meter = Ends()
        self.notices = Notices()
        self.accept = Accept(
            self.counting,
            self.stores.lookup,
            self.sealer,
            self.clock,
            self.notices,
            {"default": Intake(**intake), "other": Intake(**intake)},
            self.fatal.append,
            self.meter,
        )

    async def take(
        self,
        user: str = "a@example.com",
        password: str = GOOD,
        *,
        org: str = "default",
        by: Caller = PORTAL,
        **fields: Any,
    ) -> Taken:
        """Accept one change."""
        request = Request(org, Reference("userName", user), Password(password), **fields)
        return await self.accept.accept(by, request)

    async def refusal(self, **fields: Any) -> NotAccepted:
        """Why a change is not accepted."""
        with pytest.raises(NotAccepted) as caught:
            await self.take(**fields)
        return caught.value

    async def apply(self, change_id: str) -> None:
        """The change is delivered, and announced."""
        change = await self.stores.lookup.change(change_id)
        assert change is not None
        done = Next(State.APPLIED, evidence=Evidence.CONFIRMED)
        self.notices.announce(await self.stores.delivery.settle(change, Outcome(Kind.APPLIED), done, EPOCH))


def test_an_accepted_change_is_committed_sealed_and_announced() -> None:
    """What is answered is what is stored; the password opens again, and the owner was woken."""

    async def body() -> None:
        desk = Desk(time_to_live=100.0)
        taken = await desk.take()
        stored = await desk.stores.lookup.change(taken.change.id)
        assert stored is not None
        assert not taken.replayed
        assert (taken.change.state, stored.state) == (State.PENDING, State.PENDING)
        assert stored.expires_at == stored.accepted_at + 100
        binding = Binding("password", "default", "a@example.com", stored.id)
        assert desk.sealer.open(stored.sealed or b"", binding).decode() == GOOD
        assert desk.notices.owner("default").is_set()

    run(body())


def test_an_org_that_cannot_be_committed_now_holds_up_no_other() -> None:
    """Where orgs do not share commits: somebody else may hold one org's lock."""

    async def body() -> None:
        desk = Desk()
        desk.counting.apart, desk.counting.locked, desk.counting.gate = True, "default", asyncio.Event()
        held = asyncio.create_task(desk.take())
        await asyncio.sleep(1.0)
        assert not (await desk.take(org="other")).replayed
        assert not held.done()
        desk.counting.gate.set()
        assert not (await held).replayed

    run(body())


def test_a_hundred_concurrent_changes_share_a_few_commits() -> None:
    """Whoever comes while a commit is under way goes into the next one."""

    async def body() -> None:
        desk = Desk()
        taken = await asyncio.gather(*(desk.take(f"u{n}@example.com") for n in range(100)))
        assert len({one.change.id for one in taken}) == 100
        assert len(desk.counting.batches) <= 3
        assert sum(desk.counting.batches) == 100

    run(body())


def test_one_items_failure_does_not_fail_its_neighbours() -> None:
    """The batch is taken apart: nine are accepted, only the tenth fails."""

    async def body() -> None:
        desk = Desk()
        desk.counting.poison = "u3@example.com"
        asked = (desk.take(f"u{n}@example.com") for n in range(10))
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [n for n, one in enumerate(done) if isinstance(one, ZeroDivisionError)] == [3]
        assert sum(isinstance(one, Taken) for one in done) == 9
        assert await desk.stores.accept.backlog("default", 1000) == 9
        assert desk.fatal == []

    run(body())


def test_a_caller_that_goes_away_takes_nothing_with_it() -> None:
    """Its change and those of the same batch are committed all the same."""

    async def body() -> None:
        desk = Desk()
        tasks = [asyncio.create_task(desk.take(f"u{n}@example.com")) for n in range(5)]
        await asyncio.sleep(0.001)
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert all(isinstance(one, Taken) for one in done[1:])
        assert await desk.stores.accept.backlog("default", 1000) == 5

    run(body())


def test_a_full_disk_is_said_and_a_lost_commit_ends_the_process() -> None:
    """Both are 'send again'; only the second is fatal, and each waiting caller is answered."""

    async def body() -> None:
        desk = Desk()
        desk.counting.failure = StoreFull("full")
        refusals = [await desk.refusal() for _ in range(2)]
        assert [(one.code, one.retry_after) for one in refusals] == [("disk.full", 30)] * 2
        assert desk.fatal == []
        desk.counting.failure = None
        assert isinstance(await desk.take(), Taken)
        desk.counting.failure = StoreLost("a commit failed")
        lost = await asyncio.gather(*(desk.refusal(user=f"u{n}@example.com") for n in range(3)))
        assert [one.code for one in lost] == ["store.lost"] * 3
        assert desk.fatal == ["a commit failed"]

    run(body())


def test_a_disk_is_full_until_a_commit_succeeds_or_time_has_passed() -> None:
    """Time too: whoever is known to be full may never be asked again. Busy and away are not full."""

    async def body() -> None:
        desk = Desk()
        for failure, full in ((StoreAway(), False), (StoreBusy(), False), (StoreFull("full"), True)):
            desk.counting.failure = failure
            await desk.refusal()
            assert desk.accept.full() is full
        desk.counting.failure = None
        await desk.take()
        assert not desk.accept.full()
        desk.counting.failure = StoreFull("full")
        await desk.refusal()
        await asyncio.sleep(FULL_SECONDS - 1.0)
        assert desk.accept.full()
        await asyncio.sleep(2.0)
        assert not desk.accept.full()

    run(body())


def test_every_end_of_an_accept_is_counted_by_the_code_that_its_caller_is_told() -> None:
    """Whether the store failed at the commit or at a look before it, and defects too."""

    async def body() -> None:
        desk = Desk()
        failures = (StoreAway(), StoreFull("full"), StoreLost("lost"), ZeroDivisionError())
        expected = ["store.away", "disk.full", "store.lost", "internal.error"]
        for failure in failures:
            desk.counting.failure = failure
            with pytest.raises((NotAccepted, ZeroDivisionError)):
                await desk.take()
        desk.counting.failure = None
        for failure in failures:
            desk.counting.look_failure = failure
            await asyncio.sleep(100.0)  # until the backlog is counted again
            with pytest.raises(type(failure)):
                await desk.take()
        desk.counting.look_failure = None
        await desk.take()
        assert desk.meter.ended == [*expected, *expected, "accepted"]

    run(body())


def test_a_source_that_sends_too_fast_is_told_how_long_to_wait() -> None:
    """Two seconds' worth at once, then the rate; other sources are not held up."""

    async def body() -> None:
        desk = Desk(source_rate=10.0)
        asked = (desk.take(f"u{n}@example.com") for n in range(25))
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, Taken) for one in done) in (20, 21)
        refusal = done[-1]
        assert isinstance(refusal, NotAccepted)
        assert refusal.code == "source.too.fast"
        assert 0 < (refusal.retry_after or 0) <= 0.1
        request = Request("default", Reference("userName", "b@example.com"), Password(GOOD))
        await desk.accept.accept(replace(PORTAL, name="hr"), request)
        await asyncio.sleep(refusal.retry_after or 0)
        assert not (await desk.take()).replayed

    run(body())


def test_a_full_queue_accepts_nothing_until_there_is_room() -> None:
    """The limit of live changes is looked at every second."""

    async def body() -> None:
        desk = Desk(queue_limit=2)
        first = await desk.take("a@example.com")
        await desk.take("b@example.com")
        await asyncio.sleep(1.1)
        refusal = await desk.refusal(user="c@example.com")
        assert (refusal.code, refusal.retry_after) == ("queue.full", 30)
        await desk.apply(first.change.id)
        await asyncio.sleep(1.1)
        assert not (await desk.take("c@example.com")).replayed

    run(body())


def test_a_change_that_was_admitted_before_is_held_to_its_rate_and_to_the_queue_once() -> None:
    """What goes before it at the target is done only for one that can be taken; each refusal is counted."""

    async def story() -> None:
        desk, slow = Desk(queue_limit=4), ruled(rate=1.0)
        request = Request("default", Reference("userName", "a@example.com"), Password(GOOD), admitted=True)
        for number in range(3):
            await desk.accept.admit_change(slow, "default")
            user = Reference("userName", f"{number}@example.com")
            await desk.accept.accept(slow, replace(request, user=user))
        for caller, code in (
            (slow, "source.too.fast"),
            (replace(PORTAL, stopped_at=EPOCH), "source.stopped"),
        ):
            with pytest.raises(NotAccepted) as caught:
                await desk.accept.admit_change(caller, "default")
            assert caught.value.code == code
        await desk.take("b@example.com")
        await asyncio.sleep(2)
        with pytest.raises(NotAccepted) as caught:
            await desk.accept.admit_change(PORTAL, "default")
        assert caught.value.code == "queue.full"
        refused = ["source.too.fast", "source.stopped", "queue.full"]
        assert [end for end in desk.meter.ended if end != "accepted"] == refused
        await desk.accept.close()
        with pytest.raises(NotAccepted) as caught:
            await desk.accept.admit_change(PORTAL, "default")
        assert caught.value.code == "shutting.down"

    run(story())


def test_a_queue_far_from_full_is_seldom_counted() -> None:
    """Not before it can have become full, and once a minute at least; near its limit every second."""

    async def body() -> None:
        for limit, looks in ((1_000_000, 2), (50_000, 20), (2_000, 61)):
            desk = Desk(queue_limit=limit)
            asked = list[int]()
            desk.counting.looked_at = asked
            for second in range(61):
                await desk.take(f"u{second}@example.com")
                await asyncio.sleep(1.0)
            assert looks * 0.6 <= len(asked) <= looks, (limit, len(asked))
            assert set(asked) == {limit}

    run(body())


def test_sources_that_came_by_once_are_forgotten() -> None:
    """What is remembered is bounded by who sends now, not by who ever did."""
    rates = SourceRates()
    for n in range(1000):
        assert rates.admit(f"source{n}", 10.0, float(n)) == 0.0
    assert len(rates._next) == 1
    for _ in range(25):
        rates.admit("fast", 10.0, 1000.0)
    assert rates.admit("other", 10.0, 1000.0) == 0.0
    assert rates.admit("fast", 10.0, 1000.0) > 0.0


@pytest.mark.parametrize(("ahead", "refused"), [(299.0, False), (300.0, False), (300.5, True), (9e9, True)])
def test_a_change_from_the_future_is_refused(ahead: float, refused: bool) -> None:
    """More than 5 minutes ahead of our clock is a mistake, not a newer change."""

    async def body() -> None:
        desk = Desk()
        if refused:
            assert (await desk.refusal(changed_at=EPOCH + ahead)).code == "changed.at.future"
        else:
            assert not (await desk.take(changed_at=EPOCH + ahead)).replayed

    run(body())


def test_all_broken_rules_are_told_and_nothing_is_stored() -> None:
    """The policy's violations come with the refusal, which does not quote the password."""

    async def body() -> None:
        desk = Desk()
        refusal = await desk.refusal(password="abc")
        assert refusal.code == "policy"
        assert {"password.too.short", "password.not.enough.digits"} <= {
            one.code for one in refusal.violations
        }
        assert "abc" not in str(refusal)
        assert desk.counting.batches == []

    run(body())


def test_the_same_password_again_is_the_same_change() -> None:
    """A replay is answered with the live change; another password supersedes it and wakes who waits."""

    async def body() -> None:
        desk = Desk()
        first = await desk.take()
        again = await desk.take("A@EXAMPLE.COM")
        assert (again.change.id, again.replayed) == (first.change.id, True)
        waiting = asyncio.create_task(desk.accept.wait(first.change.id, 10.0))
        await asyncio.sleep(0)
        newer = await desk.take(password=GOOD + "x")
        ended = await waiting
        assert (ended.state, ended.superseded_by) == (State.SUPERSEDED, newer.change.id)
        assert asyncio.get_running_loop().time() < 1.0

    run(body())


def test_an_idempotency_key_compares_whole_requests() -> None:
    """User, password and time must be the same; a repeat is its change, anything else is refused."""

    async def body() -> None:
        desk = Desk()
        first = await desk.take(idempotency_key="k", changed_at=EPOCH)
        again = await desk.take(idempotency_key="k", changed_at=EPOCH)
        assert (again.change.id, again.replayed) == (first.change.id, True)
        others: list[dict[str, Any]] = [
            {"password": GOOD + "x", "changed_at": EPOCH},
            {"user": "b@example.com", "changed_at": EPOCH},
            {"changed_at": EPOCH + 1},
            {},
        ]
        for fields in others:
            assert (await desk.refusal(idempotency_key="k", **fields)).code == "idempotency.key.reused"
        assert (await desk.refusal(changed_at=EPOCH - 1, password=GOOD + "y")).code == "change.stale"

    run(body())


def test_waiting_ends_with_the_change() -> None:
    """Whoever waits is answered as soon as the change was delivered."""

    async def body() -> None:
        desk, loop = Desk(), asyncio.get_running_loop()
        change = (await desk.take()).change
        waiting = asyncio.create_task(desk.accept.wait(change.id, 15.0))
        await asyncio.sleep(0.3)
        await desk.apply(change.id)
        assert (await waiting).state is State.APPLIED
        assert loop.time() < 0.4

    run(body())


def test_waiting_sees_what_nobody_announces() -> None:
    """A command beside the gateway cancels the change: the waiting caller learns of it within a second."""

    async def body() -> None:
        desk, loop = Desk(), asyncio.get_running_loop()
        change = (await desk.take()).change
        waiting = asyncio.create_task(desk.accept.wait(change.id, 15.0))
        await asyncio.sleep(0.3)
        await desk.stores.lookup.operate(change.id, "cancel", "operator:ann", EPOCH)
        assert (await waiting).state is State.CANCELLED
        assert loop.time() <= 1.4

    run(body())


def test_many_who_wait_leave_the_store_time_to_accept() -> None:
    """Six hundred callers look less often than one would: some 200 times a second together."""

    async def body() -> None:
        desk, looks = Desk(), list[str]()
        look = desk.accept._lookup.change

        async def counted(change_id: str) -> Change | None:
            looks.append(change_id)
            return await look(change_id)

        taken = await asyncio.gather(*(desk.take(f"u{n}@example.com") for n in range(600)))
        desk.accept._lookup.change = counted  # type: ignore[method-assign]
        await asyncio.gather(*(desk.accept.wait(one.change.id, 15.0) for one in taken))
        assert len(looks) <= 600 * 2 + 15 * 200

    run(body())


@pytest.mark.parametrize("seconds", [0.0, 3.0, 15.0])
def test_waiting_is_bounded(seconds: float) -> None:
    """When nothing happens the caller is answered after the time it asked for."""

    async def body() -> None:
        desk, loop = Desk(), asyncio.get_running_loop()
        change = (await desk.take()).change
        before = loop.time()
        assert (await desk.accept.wait(change.id, seconds)).state is State.PENDING
        assert loop.time() - before == pytest.approx(seconds, abs=0.01)

    run(body())


@pytest.mark.parametrize("reason", ["org", "change"])
def test_nobody_waits_for_what_cannot_happen_in_time(reason: str) -> None:
    """The org is paused or throttled, or the next try lies beyond the wait: the answer comes at once."""

    async def body() -> None:
        desk, loop = Desk(), asyncio.get_running_loop()
        change = (await desk.take()).change
        before = loop.time()
        if reason == "org":
            desk.accept.ask_before_waiting(lambda org: 42.0)
        else:
            later = Next(State.PENDING, EPOCH + 60, counts=False)
            await desk.stores.delivery.settle(change, Outcome(Kind.UNAVAILABLE), later, EPOCH)
        assert (await desk.accept.wait(change.id, 15.0)).state is State.PENDING
        assert loop.time() == before
        if reason == "org":
            assert (await desk.accept.wait(change.id, 50.0)).state is State.PENDING
            assert loop.time() > before + 7

    run(body())


def test_a_pause_that_becomes_known_ends_the_waiting() -> None:
    """When the whole org is held up meanwhile, all who wait are answered."""

    async def body() -> None:
        desk, loop = Desk(), asyncio.get_running_loop()
        change = (await desk.take()).change
        waiting = asyncio.create_task(desk.accept.wait(change.id, 15.0))
        await asyncio.sleep(0.5)
        desk.accept.ask_before_waiting(lambda org: float("inf"))
        desk.notices.wake_all()
        assert (await waiting).state is State.PENDING
        assert loop.time() < 0.6

    run(body())


def ruled(**rules: Any) -> Caller:
    """A source with rules of its own."""
    return replace(PORTAL, name="pam", rules=SourceRules(**rules))


def test_a_user_that_is_not_to_be_touched_is_refused_whoever_lists_it() -> None:
    """The org for every source, a source for itself; in any letter case; nothing is stored."""

    async def body() -> None:
        desk = Desk(never=frozenset({"root@example.com"}))
        pam = ruled(never=frozenset({"admin@example.com"}))
        for refused in (
            desk.refusal(user="ROOT@example.com"),
            desk.refusal(user="Admin@Example.com", by=pam),
            desk.refusal(user="root@example.com", by=pam),
        ):
            assert (await refused).code == "user.protected"
        assert desk.counting.batches == []
        assert not (await desk.take("admin@example.com")).replayed

    run(body())


def test_a_user_known_by_id_and_name_is_recognised_by_both() -> None:
    """Else a change that delivery refuses would first erase another source's accepted password."""

    async def body() -> None:
        desk = Desk()
        pam = ruled(never=frozenset({"admin@example.com"}))
        first = await desk.take("u-1", user_name="admin@example.com")
        assert (
            await desk.refusal(user="u-1", by=pam, user_name="Admin@Example.com")
        ).code == "user.protected"
        kept = await desk.stores.lookup.change(first.change.id)
        assert kept is not None
        assert kept.sealed is not None

    run(body())


def test_a_change_that_was_held_up_is_stale_even_where_no_clock_is_believed() -> None:
    """The time of arrival is the gateway's own."""

    async def body() -> None:
        desk = Desk()
        by = ruled(believe_clock=False)
        arrived = desk.clock.now()
        await asyncio.sleep(5)
        await desk.take(by=by, arrived_at=arrived + 1, password="Newer-Horse-10")
        assert (await desk.refusal(by=by, arrived_at=arrived)).code == "change.stale"

    run(body())


def test_one_change_too_many_stops_a_source_and_no_other() -> None:
    """It is told to come again after minutes, as is a key of a stopped source; the log names the way out."""

    async def body() -> None:
        desk, pam = Desk(), ruled(most_an_hour=1)
        await desk.take(by=pam)
        with structlog.testing.capture_logs() as logs:
            refusal = await desk.refusal(user="b@example.com", by=pam)
            again = await desk.refusal(user="c@example.com", by=pam)
        assert (refusal.code, refusal.retry_after, again.code) == ("source.stopped", 300, "source.stopped")
        assert [(log["event"], log["source"]) for log in logs] == [("source.stopped", "pam")]
        assert "passferry access resume pam" in logs[0]["hint"]
        await desk.take("b@example.com")
        stopped = replace(PORTAL, stopped_at=EPOCH)
        assert (await desk.refusal(user="d@example.com", by=stopped)).code == "source.stopped"

    run(body())


def test_how_far_ahead_a_clock_may_be_is_the_sources() -> None:
    """Five minutes unless it says otherwise; one that is not believed may say what it likes."""

    async def body() -> None:
        desk = Desk()
        ahead = desk.clock.now() + 400
        assert (await desk.refusal(changed_at=ahead)).code == "changed.at.future"
        assert (await desk.refusal(changed_at=ahead, by=ruled(clock_ahead=60.0))).code == "changed.at.future"
        await desk.take(changed_at=ahead, by=ruled(clock_ahead=600.0))
        wrong = ruled(believe_clock=False)
        await desk.take("w@example.com", changed_at=ahead * 2, by=wrong)
        await desk.take("w@example.com", "Another-Horse-8", changed_at=5.0, by=wrong)

    run(body())


def test_a_source_may_have_a_rate_of_its_own_and_be_bulk() -> None:
    """Two seconds' worth at once, then it waits; what it sends gives way to people."""

    async def body() -> None:
        desk, slow = Desk(), ruled(rate=1.0, bulk=True)
        taken = [await desk.take(f"u{n}@example.com", by=slow) for n in range(3)]
        assert (await desk.refusal(user="x@example.com", by=slow)).code == "source.too.fast"
        assert all(one.change.bulk for one in taken)
        assert not (await desk.take()).change.bulk

    run(body())


def test_a_person_keeps_the_place_before_bulk() -> None:
    """Bulk that replaces what a person waits for waits as a person; a person never waits as bulk."""

    async def body() -> None:
        desk = Desk()
        await desk.take("a@example.com")
        later = await desk.take("a@example.com", "Another-Horse-8", bulk=True)
        first = await desk.take("b@example.com", bulk=True)
        same = await desk.take("b@example.com")
        changes = [await desk.stores.lookup.change(one.change.id) for one in (later, first, same)]
        assert [(one.bulk, one.state) for one in changes if one] == [
            (False, State.PENDING),
            (True, State.SUPERSEDED),
            (False, State.PENDING),
        ]

    run(body())


def test_the_policy_is_asked_as_often_as_changes_are_sent_and_apart_from_them() -> None:
    """All reasons; too many questions are refused, and take nothing from the changes."""

    async def body() -> None:
        desk, slow = Desk(), ruled(rate=1.0)
        name = Reference("userName", "horse@example.com")

        def ask() -> list[str]:
            found = desk.accept.check(slow, "default", name, Password("Horse"))
            return [each.code for each in found]

        assert ask() == [
            "password.too.short",
            "password.not.enough.digits",
            "password.not.enough.specials",
            "password.contains.username",
        ]
        assert desk.accept.check(slow, "default", None, Password(GOOD)) == ()
        ask()
        with pytest.raises(NotAccepted, match="too fast"):
            ask()
        await desk.take(by=slow)
        assert desk.counting.batches == [1]

    run(body())


def test_what_is_passed_on_is_admitted_at_the_sources_rate_and_never_of_a_stopped_one() -> None:
    """It takes nothing from the changes; whom the source may not touch is known by any of the names."""

    async def body() -> None:
        desk, slow = Desk(never=frozenset({"root@example.com"})), ruled(rate=1.0, never=frozenset({"u-1"}))
        for _ in range(3):
            desk.accept.admit(slow, "default")
        with pytest.raises(NotAccepted, match="too fast"):
            desk.accept.admit(slow, "default")
        await desk.take(by=slow)
        with pytest.raises(NotAccepted) as caught:
            desk.accept.admit(replace(PORTAL, stopped_at=1.0), "default")
        assert (caught.value.code, caught.value.retry_after) == ("source.stopped", 300.0)
        desk.accept.spare(slow, "default", "u-2", "jane@example.com")
        for names in (("u-2", "Root@example.com"), ("U-1", "jane@example.com")):
            with pytest.raises(NotAccepted, match="not by this source"):
                desk.accept.spare(slow, "default", *names)

    run(body())


def test_shutting_down_refuses_new_changes_and_finishes_the_commit_under_way() -> None:
    """Who was in the queue is answered truthfully; who comes later is told to come again."""

    async def body() -> None:
        desk = Desk()
        desk.counting.gate = asyncio.Event()
        under_way = asyncio.create_task(desk.take())
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(desk.accept.close())
        await asyncio.sleep(0.1)
        refusal = await desk.refusal(user="late@example.com")
        assert (refusal.code, refusal.retry_after) == ("shutting.down", 5)
        assert not closing.done()
        desk.counting.gate.set()
        assert isinstance(await under_way, Taken)
        await closing
        assert await desk.stores.accept.backlog("default", 1000) == 1

    run(body())


def test_nothing_is_queued_after_closing() -> None:
    """A change whose backlog was being looked up when the gateway closed is refused, not lost."""

    async def body() -> None:
        desk = Desk()
        looked = asyncio.Event()

        async def slow(org: str, most: int) -> int:
            await looked.wait()
            return 0

        desk.counting.backlog = slow  # type: ignore[method-assign]
        late = asyncio.create_task(desk.refusal())
        await asyncio.sleep(0.1)
        await desk.accept.close()
        looked.set()
        assert (await late).code == "shutting.down"
        assert desk.counting.batches == []

    run(body())
