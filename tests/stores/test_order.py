"""Whatever two references to one user are used for, and whenever it is found out that they are one."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passferry.domain.accepting import CLOCK_TOLERANCE, Accepted, Stale
from passferry.domain.change import Change, State
from passferry.domain.outcome import Kind, Next, Outcome
from store_bench import APPLIED, BLOCK, CONFIRMED, NOW, UUID, Bench, open_bench, run

EMAIL = "ann@example.com"
STEPS = st.one_of(
    st.tuples(st.sampled_from([UUID, EMAIL]), st.sampled_from(["one", "two"])),
    st.sampled_from(["resolve", "begin", "settle"]).flatmap(
        lambda step: st.tuples(st.just(step), st.integers(0, 1))
    ),
)


@dataclass
class Life:
    """Changes of one user, and what reached the target, in order."""

    bench: Bench
    passwords: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    sending: dict[str, Change] = field(default_factory=dict)

    async def accept(self, user: str, password: str) -> None:
        """By an id or a userName, in either case the user's newest."""
        item = self.bench.new(user, password)
        [verdict] = await self.bench.accept(item)
        self.asked.append(password)
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


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=12))
def test_the_password_that_was_accepted_last_is_the_one_that_is_delivered_last(
    steps: list[tuple[str, str | int]],
) -> None:
    """Also when it is a repeat of one that waits, or is being sent, under the other reference."""

    async def body(bench: Bench) -> None:
        await bench.delivery.take("default")
        life = Life(bench)
        for what, value in steps:
            if isinstance(value, int):
                await life.step(what, value)
            else:
                await life.accept(what, value)
        await life.end()
        assert life.written[-1:] == life.asked[-1:]

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
