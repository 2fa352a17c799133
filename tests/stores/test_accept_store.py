"""The contract of ``AcceptStore``."""

from collections import Counter
from dataclasses import replace

import pytest

from passferry.domain.accepting import Accepted, KeyReused, NewChange, Replayed, Stale, judge
from passferry.domain.change import State
from passferry.domain.outcome import Next
from statements import heard
from store_bench import APPLIED, CONFIRMED, DAY, LOST, NOW, UUID, Bench, run


def test_an_accepted_change_is_there_whole_and_in_the_audit_trail(bench: Bench) -> None:
    """What was accepted can be read back as it was given, pending and due at once, with its audit record."""

    async def body() -> None:
        item = bench.new(bulk=True, expires_at=NOW + 5)
        assert await bench.accept(item) == [Accepted(None)]
        change = await bench.get(item.id)
        assert (change.state, change.user, change.source) == (State.PENDING, item.user, item.source)
        assert (change.sealed, change.bulk, change.expires_at) == (item.sealed, True, NOW + 5)
        assert (change.accepted_at, change.next_attempt_at, change.waiting_since) == (NOW, NOW, NOW)
        assert (change.attempts, change.evidence, change.error, change.doubt) == (0, None, None, None)
        assert await bench.records() == ["accepted"]
        assert await bench.accepts.backlog("default", 1000) == 1
        assert await bench.accepts.backlog("other", 1000) == 0

    run(body)


def test_in_one_batch_the_last_change_of_a_user_wins(bench: Bench) -> None:
    """Several changes of one user in a batch: in order, each supersedes the one before, one stays live."""

    async def body() -> None:
        items = [bench.new(password=text) for text in ("one", "two", "three")]
        others = [bench.new(f"user{n}@example.com") for n in range(3)]
        verdicts = await bench.accept(items[0], others[0], items[1], others[1], items[2], others[2])
        assert all(isinstance(verdict, Accepted) for verdict in verdicts)
        changes = [await bench.get(item.id) for item in items]
        assert [change.state for change in changes] == [State.SUPERSEDED, State.SUPERSEDED, State.PENDING]
        assert [change.superseded_by for change in changes] == [items[1].id, items[2].id, None]
        assert [change.sealed for change in changes] == [None, None, items[2].sealed]
        assert changes[0].seq < changes[1].seq < changes[2].seq
        assert await bench.accepts.backlog("default", 1000) == 4
        assert await bench.accepts.backlog("default", 3) == 3
        assert Counter(await bench.records()) == {"accepted": 6, "superseded": 2}

    run(body)


def test_orgs_in_one_batch_do_not_mix(bench: Bench) -> None:
    """The same reference in two orgs is two users; each org has its own chain and order."""

    async def body() -> None:
        one, two = bench.new(), bench.new(org="other")
        assert await bench.accept(one, two) == [Accepted(None), Accepted(None)]
        assert (await bench.get(one.id)).seq == (await bench.get(two.id)).seq == 1
        assert await bench.records("default") == await bench.records("other") == ["accepted"]

    run(body)


def test_a_newer_change_ends_a_waiting_one(bench: Bench) -> None:
    """Pending or parked, the older one is superseded, erased, and the newer inherits how long it waited."""

    async def body() -> None:
        old = await bench.accepted("jane@example.com")
        parked = await bench.parked(await bench.accepted(UUID))
        bench.now += 100
        for before, name in ((old, "JANE@example.com"), (parked, UUID)):
            new = await bench.accepted(name, "two")
            after = await bench.get(before.id)
            assert (after.state, after.sealed, after.superseded_by) == (State.SUPERSEDED, None, new.id)
            assert (after.next_attempt_at, after.error and after.error.code) == (None, "superseded")
            assert (new.waiting_since, new.accepted_at) == (NOW, NOW + 100)

    run(body)


@pytest.mark.parametrize("applied", [True, False])
def test_a_newer_change_erases_one_that_is_being_sent(bench: Bench, applied: bool) -> None:
    """It stays delivering without its sealed copy, and ends by its outcome: applied, else superseded."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        new = await bench.accepted(password="two")
        sending = await bench.get(old.id)
        assert (sending.state, sending.sealed, sending.superseded_by) == (State.DELIVERING, None, new.id)
        outcome, nxt = (
            (APPLIED, CONFIRMED) if applied else (LOST, Next(State.PENDING, NOW + 20, keep_doubt=True))
        )
        ended = await bench.delivery.settle(old, outcome, nxt, NOW)
        assert ended.state is (State.APPLIED if applied else State.SUPERSEDED)
        assert (ended.superseded_by, ended.sealed, ended.next_attempt_at) == (new.id, None, None)
        assert (await bench.get(new.id)).state is State.PENDING
        assert [change.id for change in (await bench.delivery.due("default", NOW, 10, [])).changes] == [
            new.id
        ]

    run(body)


def test_the_same_password_again_is_the_live_change(bench: Bench) -> None:
    """A replay while it is pending, parked or being sent makes no second change; an ended one does."""

    async def body() -> None:
        change = await bench.accepted()
        assert await bench.accept(bench.new()) == [Replayed(change.id)]
        begun = await bench.begun(change)
        assert await bench.accept(bench.new()) == [Replayed(change.id)]
        await bench.delivery.settle(begun, APPLIED, CONFIRMED, NOW)
        assert await bench.accept(bench.new()) == [Accepted(None)]
        assert (await bench.records()).count("accepted") == 2

    run(body)


def test_a_replay_within_a_batch_is_the_change_before_it(bench: Bench) -> None:
    """The second of two equal items of one batch stands for the first, also under one Idempotency-Key."""

    async def body() -> None:
        first, again = bench.new(), bench.new()
        keyed = [bench.new("a@example.com", idempotency_key="k", body_mac=b"m") for _ in range(2)]
        verdicts = await bench.accept(first, again, *keyed)
        assert verdicts == [Accepted(None), Replayed(first.id), Accepted(None), Replayed(keyed[0].id)]

    run(body)


def keyed(bench: Bench, mac: bytes = b"mac", **fields: object) -> NewChange:
    """An item under the Idempotency-Key ``k``, its password as unlike others as its id."""
    item = bench.new(**fields)  # type: ignore[arg-type]
    return replace(item, idempotency_key="k", body_mac=mac, same=lambda live: False)


def test_an_idempotency_key_stands_for_its_change(bench: Bench) -> None:
    """Per source and org: the same body is the same change, whatever became of it; another is refused."""

    async def body() -> None:
        first = keyed(bench)
        assert await bench.accept(first) == [Accepted(None)]
        assert await bench.accept(keyed(bench)) == [Replayed(first.id)]
        assert await bench.accept(keyed(bench, b"other")) == [KeyReused()]
        assert isinstance((await bench.accept(keyed(bench, b"x", source="hr")))[0], Accepted)
        assert isinstance((await bench.accept(keyed(bench, b"x", org="other")))[0], Accepted)
        assert (await bench.get(first.id)).state is State.SUPERSEDED
        assert await bench.accept(keyed(bench)) == [Replayed(first.id)]

    run(body)


def test_an_idempotency_key_is_kept_a_day_and_while_its_change_is_live(bench: Bench) -> None:
    """24 hours on, the key is free again, unless its change still waits."""

    async def body() -> None:
        first = keyed(bench)
        await bench.accept(first)
        bench.now += DAY + 1
        assert await bench.accept(keyed(bench, b"other")) == [KeyReused()]
        await bench.delivered(await bench.get(first.id))
        again = keyed(bench, b"other")
        assert await bench.accept(again) == [Accepted(None)]
        await bench.delivered(await bench.get(again.id))
        bench.now += DAY - 2
        assert await bench.accept(keyed(bench, b"other")) == [Replayed(again.id)]
        bench.now += 3
        assert isinstance((await bench.accept(keyed(bench, b"third")))[0], Accepted)

    run(body)


def test_refused_requests_leave_nothing_and_are_not_remembered(bench: Bench) -> None:
    """A stale change stores no row, no audit record and no Idempotency-Key."""

    async def body() -> None:
        await bench.accepted(changed_at=NOW)
        late = keyed(bench, changed_at=NOW - 1)
        assert await bench.accept(late) == [Stale()]
        assert await bench.lookup.change(late.id) is None
        assert await bench.accept(keyed(bench, b"other", changed_at=NOW + 1)) != [KeyReused()]
        assert await bench.records() == ["accepted", "accepted", "superseded"]

    run(body)


def test_age_is_judged_across_the_references_of_one_user(bench: Bench) -> None:
    """Once an email and a UUID are known to be one user, the newest of both decides."""

    async def body() -> None:
        for name in ("jane@example.com", UUID):
            await bench.delivered(await bench.accepted(name, name, changed_at=NOW - 600))
        await bench.accepted("jane@example.com", "two", changed_at=NOW)
        assert await bench.accept(bench.new(UUID, "three", changed_at=NOW - 1)) == [Stale()]
        assert isinstance((await bench.accept(bench.new(UUID, "four", changed_at=NOW + 1)))[0], Accepted)

    run(body)


def test_of_changes_that_were_held_up_the_one_that_arrived_last_wins(bench: Bench) -> None:
    """Whichever was accepted first: each counts from its arrival, and so does its replay."""

    async def body() -> None:
        bench.now += 10
        await bench.accepted("a@example.com", "two", arrived_at=NOW + 1)
        assert await bench.accept(bench.new("a@example.com", "one", arrived_at=NOW)) == [Stale()]
        await bench.accepted("b@example.com", "one", arrived_at=NOW)
        await bench.accepted("b@example.com", "two", arrived_at=NOW + 1)
        await bench.accepted("c@example.com", "one", arrived_at=NOW)
        (replayed,) = await bench.accept(bench.new("c@example.com", "one", arrived_at=NOW + 2))
        assert isinstance(replayed, Replayed)
        assert await bench.accept(bench.new("c@example.com", "two", arrived_at=NOW + 1)) == [Stale()]

    run(body)


def test_a_replay_with_a_later_time_makes_older_changes_stale(bench: Bench) -> None:
    """The replayed password is the user's at that time: what is older comes too late."""

    async def body() -> None:
        await bench.accepted(changed_at=NOW)
        assert (await bench.accept(bench.new(changed_at=NOW + 60)))[0] == Replayed("c1")
        assert await bench.accept(bench.new(password="two", changed_at=NOW + 30)) == [Stale()]

    run(body)


def test_order_outlives_the_changes(bench: Bench) -> None:
    """A year later a change older than the last delivered one is still refused."""

    async def body() -> None:
        await bench.delivered(await bench.accepted(changed_at=NOW))
        bench.now += 365 * DAY
        assert await bench.accept(bench.new(password="old", changed_at=NOW - 1)) == [Stale()]

    run(body)


def test_a_batch_costs_a_fixed_number_of_statements(bench: Bench) -> None:
    """Two hundred changes of two hundred users, half of them superseding, cost what two cost."""

    async def body() -> None:
        async def cost(users: int) -> int:
            names = [f"u{users}-{n}@example.com" for n in range(users)]
            await bench.accept(*(bench.new(name) for name in names))
            items = [bench.new(name, "two", idempotency_key=name, body_mac=b"m") for name in names]
            with heard(bench.database.engine) as statements:
                await bench.accept(*items)
            return len(statements)

        assert await cost(2) == await cost(200) <= 12

    run(body)


def test_a_failing_judge_leaves_nothing_of_the_batch(bench: Bench) -> None:
    """Whatever is raised while a batch is judged, nothing of it was stored, and the store goes on."""

    async def body() -> None:
        items = [bench.new(), bench.new("a@example.com")]

        def broken(item: NewChange, *rest: object) -> Accepted:
            if item is items[1]:
                raise ZeroDivisionError
            return Accepted(None)

        with pytest.raises(ZeroDivisionError):
            await bench.accepts.accept(items, broken)
        assert [await bench.lookup.change(item.id) for item in items] == [None, None]
        assert await bench.records() == []
        assert await bench.accepts.accept(items, judge) == [Accepted(None), Accepted(None)]

    run(body)
