"""Whatever two references to one user are used for, and whenever it is found out that they are one."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from passferry.domain.accepting import CLOCK_TOLERANCE, Accepted, Stale
from passferry.domain.change import Change, State
from passferry.domain.outcome import Kind, Next, Outcome
from store_bench import APPLIED, BLOCK, CONFIRMED, NOW, UUID, Bench, open_bench, run

EMAIL = "ann@example.com"
MARRIED = "ann.smith@example.com"
STEPS = st.one_of(
    st.tuples(
        st.sampled_from([UUID, EMAIL, MARRIED]),
        st.sampled_from(["one", "two"]),
        st.sampled_from([None, 1, 15, 35]),
    ),
    st.sampled_from(["resolve", "begin", "settle"]).flatmap(
        lambda step: st.tuples(st.just(step), st.integers(0, 2))
    ),
)


@dataclass
class Life:
    """Changes of one user, and what reached the target, in order."""

    bench: Bench
    passwords: dict[str, str] = field(default_factory=dict)
    newest: tuple[float, str] | None = None  # when it was chosen, and the password
    written: list[str] = field(default_factory=list)
    sending: dict[str, Change] = field(default_factory=dict)

    async def accept(self, user: str, password: str, ago: int | None) -> None:
        """Ten seconds after the one before. ``ago``: how many seconds earlier it says to be chosen."""
        self.bench.now += 10.0
        at = self.bench.now - (ago or 0)
        item = self.bench.new(user, password, changed_at=None if ago is None else at)
        [verdict] = await self.bench.accept(item)
        if ago is None or self.newest is None or at >= self.newest[0]:
            self.newest = (at, password)
            assert verdict != Stale()
        if isinstance(verdict, Accepted):
            self.passwords[item.id] = password

    async def step(self, step: str, which: int) -> None:
        """One step of delivery, of one of the changes for which it is possible."""
        if step == "settle":
            for change in list(self.sending.values())[which : which + 1]:
                await self.bench.delivery.settle(change, APPLIED, CONFIRMED, NOW)
                del self.sending[change.id]
            return
        waiting = [one for one in await self.live() if one.state is State.PENDING]
        for change in waiting[which : which + 1]:
            await self.bench.delivery.resolve(change.id, UUID, NOW)
            begun = await self.bench.delivery.begin(change.id, "1", NOW, BLOCK) if step == "begin" else None
            if isinstance(begun, Change):
                self.sending[change.id] = begun
                self.written.append(self.passwords[change.id])

    async def live(self) -> list[Change]:
        """What is not over, the newest last."""
        found = await self.bench.lookup.changes(states=[State.PENDING, State.DELIVERING])
        return sorted(found, key=lambda change: change.seq)

    async def end(self) -> None:
        """Deliver all that is left."""
        while await self.live():
            await self.step("settle", 0)
            await self.step("begin", 0)


@settings(max_examples=100)
@given(steps=st.lists(STEPS, max_size=12))
def test_the_newest_password_is_the_one_that_is_delivered_last(steps: list[tuple[Any, ...]]) -> None:
    """That is the one accepted last, but for those that say to be older than the newest by then.

    Also when it is a repeat of one that waits, or is being sent, under the other reference.
    """

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        life = Life(bench)
        for what, *values in steps:
            await (life.accept(what, *values) if len(values) > 1 else life.step(what, *values))
        await life.end()
        assert life.written[-1:] == ([] if life.newest is None else [life.newest[1]])

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


def test_a_repeat_takes_its_place_in_the_order_and_in_the_trail() -> None:
    """The change is the same; what was accepted in between, by another reference, is older."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        by_mail = await bench.accepted(EMAIL, "one")
        by_id = await bench.accepted(UUID, "two")
        await bench.accept(bench.new(EMAIL, "one"))
        assert (await bench.get(by_mail.id)).seq > by_id.seq
        assert await bench.records() == ["accepted", "accepted", "repeated"]
        await bench.delivery.resolve(by_mail.id, UUID, NOW)
        await bench.delivery.resolve(by_id.id, UUID, NOW)
        assert (await bench.get(by_id.id)).superseded_by == by_mail.id

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


@pytest.mark.parametrize(
    ("outcome", "nxt"),
    [
        (APPLIED, CONFIRMED),
        (Outcome(Kind.REFUSED, "password.reused"), Next(State.REFUSED)),
    ],
)
def test_a_change_that_is_repeated_while_it_is_sent_is_newer_than_what_came_before(
    outcome: Outcome, nxt: Next
) -> None:
    """However it ends: the other one is not written after it."""

    async def body(bench: Bench) -> None:
        begun = await bench.begun(await bench.accepted(EMAIL, "one"))
        by_id = await bench.accepted(UUID, "two")
        await bench.accept(bench.new(EMAIL, "one"))
        await bench.delivery.settle(begun, outcome, nxt, NOW)
        assert (await bench.delivery.resolve(by_id.id, UUID, NOW)).change is None
        assert (await bench.get(by_id.id)).superseded_by == begun.id

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


HOUR = 3600.0


@pytest.mark.parametrize(
    "told",
    [{"changed_at": NOW - HOUR}, {"arrived_at": NOW - 5.0}],
    ids=["another source was held up", "the request itself was held up"],
)
@pytest.mark.parametrize("delivered", [True, False])
def test_a_password_chosen_earlier_is_stale_by_id_after_a_name(
    told: dict[str, float], *, delivered: bool
) -> None:
    """Once the name is known to be the id's, whatever became of the change."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        by_mail = await bench.accepted(EMAIL, "new")
        await bench.delivery.resolve(by_mail.id, UUID, NOW)
        if delivered:
            await bench.delivered(await bench.get(by_mail.id))
        assert await bench.accept(bench.new(UUID, "old", source="other", **told)) == [Stale()]

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


@pytest.mark.parametrize("delivered", [True, False])
def test_a_password_chosen_earlier_is_superseded_when_its_name_is_known(
    bench: Bench, *, delivered: bool
) -> None:
    """By the change of the id that was accepted before it, which is delivered, or was."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        by_id = await bench.accepted(UUID, "new")
        if delivered:
            await bench.delivered(by_id)
        late = await bench.accepted(EMAIL, "old", source="other", changed_at=NOW - HOUR)
        assert (await bench.delivery.resolve(late.id, UUID, NOW)).change is None
        ended = await bench.get(late.id)
        assert (ended.state, ended.superseded_by, ended.sealed) == (State.SUPERSEDED, by_id.id, None)
        assert (await bench.records())[-1] == "superseded"
        assert (await bench.get(by_id.id)).state is (State.APPLIED if delivered else State.PENDING)
        [verdict] = await bench.accept(bench.new(EMAIL, "between", changed_at=NOW - HOUR / 2))
        assert verdict == Stale()

    run(lambda: body(bench))


@pytest.mark.parametrize(
    "late",
    [
        {},
        {"source": "other"},
        {"changed_at": NOW},
        {"source": "other", "changed_at": NOW - CLOCK_TOLERANCE + 1.0},
    ],
)
def test_a_name_that_turns_out_to_be_the_id_is_the_newest_unless_it_was_chosen_earlier(
    late: dict[str, object],
) -> None:
    """Who tells no time is never too old, and two clocks differ."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        await bench.delivered(await bench.accepted(UUID, "new"))
        change = await bench.accepted(EMAIL, "newer", **late)
        standing = await bench.delivery.resolve(change.id, UUID, NOW)
        assert standing.change is not None
        assert standing.change.id == change.id

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


def test_a_change_that_its_source_was_not_allowed_makes_no_other_stale() -> None:
    """Its time is that of a password which nobody got."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        await bench.accepted(UUID, "barred", source="wrong")
        change = await bench.accepted(EMAIL, "allowed", source="other", changed_at=NOW - HOUR)

        def barred(source: str, names: object) -> bool:
            return source == "wrong"

        standing = await bench.delivery.resolve(change.id, UUID, NOW, barred)
        assert standing.change is not None

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


@pytest.mark.parametrize("state", ["pending", "applied"])
def test_the_newer_password_comes_last_even_if_the_late_one_was_resolved_first(
    bench: Bench, state: str
) -> None:
    """Its name was not known yet when the older one, accepted after it by id, was on its way."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        new = await bench.accepted(EMAIL, "new")
        old = await bench.accepted(UUID, "old", source="other", changed_at=NOW - HOUR)
        if state == "applied":
            await bench.delivered(old)
        else:
            await bench.delivery.resolve(old.id, UUID, NOW)
        standing = await bench.delivery.resolve(new.id, UUID, NOW)
        assert standing.change is not None
        begun = await bench.delivery.begin(new.id, None, NOW, BLOCK)
        assert isinstance(begun, Change)
        ended = await bench.get(old.id)
        assert ended.state is (State.APPLIED if state == "applied" else State.SUPERSEDED)
        await bench.delivery.settle(begun, APPLIED, CONFIRMED, NOW)
        delivered = await bench.lookup.delivered("default", new.user)
        assert delivered is not None
        assert delivered.change_id == new.id

    run(lambda: body(bench))


@pytest.mark.parametrize("between", ["before the late one", "after the late one"])
def test_what_outranks_a_late_one_outranks_no_change_that_is_newer_than_itself(
    bench: Bench, between: str
) -> None:
    """Nor once it is applied: the third was accepted after it, under a name that nobody had looked up yet."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        first = await bench.accepted(EMAIL, "first")
        bench.now += HOUR
        last = await bench.accepted(MARRIED, "last") if between == "before the late one" else None
        late = await bench.accepted(UUID, "late", source="other", changed_at=NOW - HOUR)
        last = last or await bench.accepted(MARRIED, "last")
        await bench.delivered(late)
        await bench.delivered(first)
        standing = await bench.delivery.resolve(last.id, UUID, bench.now)
        assert standing.change is not None
        await bench.delivered(last)
        assert (await bench.get(last.id)).state is State.APPLIED

    run(lambda: body(bench))


def test_what_was_sent_makes_nothing_old_that_was_chosen_later(bench: Bench) -> None:
    """Also when its name has a newer change by now, which waits to be looked up, and that comes after it."""

    async def body() -> None:
        await bench.delivery.take("default")
        bench.now += HOUR
        married = await bench.accepted(MARRIED, "newest", changed_at=bench.now - 1.0)
        bench.now += 10.0
        await bench.begun(await bench.accepted(EMAIL, "older", changed_at=bench.now - 600.0))
        bench.now += 10.0
        between = await bench.accepted(EMAIL, "between", changed_at=bench.now - 300.0)
        standing = await bench.delivery.resolve(married.id, UUID, bench.now)
        assert standing.change is not None
        assert (await bench.delivery.resolve(between.id, UUID, bench.now)).change is None
        assert (await bench.get(between.id)).superseded_by == married.id

    run(body)


def test_a_change_that_outranked_what_was_sent_does_so_at_its_next_try(bench: Bench) -> None:
    """Whatever was accepted meanwhile under the other's name."""

    async def body() -> None:
        await bench.delivery.take("default")
        newest = await bench.accepted(EMAIL, "newest")
        bench.now += HOUR
        late = await bench.accepted(MARRIED, "late", source="other", changed_at=NOW - HOUR)
        await bench.delivered(late)
        begun = await bench.begun(newest)
        conflict = Outcome(Kind.CONFLICT, "version.conflict")
        await bench.delivery.settle(begun, conflict, Next(State.PENDING, bench.now), bench.now)
        await bench.accepted(MARRIED, "somebody else's")
        standing = await bench.delivery.resolve(newest.id, UUID, bench.now)
        assert standing.change is not None

    run(body)


def test_what_was_repeated_while_it_was_sent_is_newer_also_if_its_name_has_a_newer_change(
    bench: Bench,
) -> None:
    """One that waits to be looked up, and may be somebody else's."""

    async def body() -> None:
        await bench.delivery.take("default")
        begun = await bench.begun(await bench.accepted(EMAIL, "one"))
        by_id = await bench.accepted(UUID, "two")
        await bench.accept(bench.new(EMAIL, "one"))
        await bench.accepted(EMAIL, "somebody else's")
        await bench.delivery.settle(begun, APPLIED, CONFIRMED, NOW)
        assert (await bench.delivery.resolve(by_id.id, UUID, NOW)).change is None
        assert (await bench.get(by_id.id)).superseded_by == begun.id

    run(body)


def test_a_sender_that_is_slower_than_its_successor_is_not_what_was_delivered_last(bench: Bench) -> None:
    """Even if it was accepted after its successor, as the older one by the time that it told."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        new = await bench.accepted(EMAIL, "new")
        late = await bench.begun(await bench.accepted(UUID, "old", source="other", changed_at=NOW - HOUR))
        bench.now += BLOCK + 1.0
        await bench.delivered(new)
        await bench.delivery.settle(late, APPLIED, CONFIRMED, bench.now)
        delivered = await bench.lookup.delivered("default", new.user)
        assert delivered is not None
        assert delivered.change_id == new.id

    run(lambda: body(bench))


def test_a_clock_that_was_put_back_locks_nobody_out() -> None:
    """Times from before it and after it cannot be compared: the order of accepts decides."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        bench.now = NOW + HOUR
        await bench.delivered(await bench.accepted(EMAIL, "new", source="okta", arrived_at=NOW + HOUR - 0.2))
        for number in range(3):
            bench.now = NOW + 60.0 * number
            change = await bench.accepted(UUID, f"{number}", source="okta", arrived_at=bench.now - 0.2)
            await bench.delivered(change)
            assert (await bench.get(change.id)).state is State.APPLIED

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


def test_a_name_that_waits_to_be_looked_up_outranks_nobody(bench: Bench) -> None:
    """It was the user's once; who has it now, only a look-up tells."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        await bench.delivered(await bench.accepted(EMAIL, "before"))
        by_id = await bench.accepted(UUID, "one")
        await bench.accepted(EMAIL, "two")
        standing = await bench.delivery.resolve(by_id.id, UUID, NOW)
        assert standing.change is not None
        assert standing.change.id == by_id.id

    run(lambda: body(bench))


def test_an_id_that_waits_for_its_turn_is_its_users() -> None:
    """Nobody has to look it up: what was accepted by it later is newer, and stays."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        await bench.delivered(await bench.accepted(UUID, "before"))
        by_mail = await bench.accepted(EMAIL, "one")
        by_id = await bench.accepted(UUID, "two")
        assert (await bench.delivery.resolve(by_mail.id, UUID, NOW)).change is None
        assert (await bench.get(by_id.id)).state is State.PENDING

    with open_bench("sqlite-memory") as bench:
        run(lambda: body(bench))


def test_what_a_process_of_an_older_version_accepts_is_as_new_as_it_is(bench: Bench) -> None:
    """It leaves the time of the accept before where it was."""
    older = (
        "UPDATE users SET newest_seq = newest_seq + 1, newest_at = newest_at + 100, newest_source = 'portal'"
    )

    async def body() -> None:
        await bench.accepted(UUID, "before")
        await bench.database.run(lambda c: c.execute(text(older)))
        bench.now = NOW + 101.0
        assert await bench.accept(bench.new(UUID, "held up", arrived_at=NOW + 50.0)) == [Stale()]

    run(body)
