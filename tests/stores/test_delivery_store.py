"""The contract of ``DeliveryStore``."""

from dataclasses import replace

import pytest

from passferry.adapters import store_deliver
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.domain.audit import PASSED_ON, PASSED_ON_OUTCOME, Record
from passferry.domain.change import Change, Doubt, Evidence, Failure, State
from passferry.domain.outcome import Kind, Next, Outcome
from passferry.store_ports import Delivered, OrgState
from store_bench import (
    APPLIED,
    BLOCK,
    CONFIRMED,
    DAY,
    LOST,
    NOW,
    THROTTLED,
    UUID,
    Bench,
    run,
    sealed,
)

EMAIL = "jane@example.com"
AGAIN = Next(State.PENDING, NOW + 20, keep_doubt=True)
LATER = Next(State.PENDING, NOW + 60, counts=False)
REFUSED = Next(State.REFUSED, error=Failure("password.reused", "The new password was used too recently."))


async def due(bench: Bench, busy: tuple[str, ...] = (), limit: int = 100) -> list[str]:
    """Ids of what is due now."""
    return [change.id for change in (await bench.delivery.due("default", bench.now, limit, busy)).changes]


# --- whose turn it is ------------------------------------------------------------------------


def test_however_many_people_are_due_a_few_of_bulk_are_named_beside_them(bench: Bench) -> None:
    """Or bulk would get nothing while people come."""

    async def body() -> None:
        bulk, people = list[Change](), list[Change]()
        for number in range(store_deliver.BULK_BESIDE + 1):
            bench.now += 1
            bulk.append(await bench.accepted(f"b{number}@example.com", bulk=True))
        for number in range(3):
            bench.now += 1
            people.append(await bench.accepted(f"p{number}@example.com"))
        named = await due(bench, limit=3)
        assert named == [change.id for change in [*people, *bulk[: store_deliver.BULK_BESIDE]]]
        assert await due(bench, busy=(bulk[0].id,), limit=3) == [c.id for c in [*people, *bulk[1:]]]

    run(body)


def test_due_changes_are_counted_up_to_what_is_asked_for(bench: Bench) -> None:
    """People's and bulk apart, without those busy, being sent, superseded or due later."""

    async def body() -> None:
        mine = [await bench.accepted(f"p{number}@example.com") for number in range(5)]
        await bench.accepted("b@example.com", bulk=True)
        await bench.accepted("o@example.com", org="other")
        await bench.accepted("p0@example.com", "two")

        async def count(most: int = 9, *busy: str, bulk: bool = False) -> int:
            return await bench.delivery.due_count("default", bench.now, most, busy, bulk=bulk)

        assert await count() == 5
        assert await count(3) == 3
        assert await count(9, mine[1].id, mine[2].id) == 3
        assert await count(bulk=True) == 1
        await bench.begun(mine[3])
        assert await count() == 4
        await bench.delivery.settle(mine[4], THROTTLED, Next(State.PENDING, bench.now + 60, False), bench.now)
        assert await count() == 3

    run(body)


def test_due_changes_of_given_references_are_found(bench: Bench) -> None:
    """By id and by name; nobody else's, and none that is due later."""

    async def body() -> None:
        by_id = await bench.accepted(UUID)
        by_name = await bench.accepted(EMAIL)
        later = await bench.accepted("later@example.com")
        await bench.accepted("somebody@example.com")
        await bench.delivery.settle(later, THROTTLED, Next(State.PENDING, bench.now + 60, False), bench.now)
        keys = [f"i:{UUID}", f"n:{EMAIL}", "n:later@example.com", "n:nobody@example.com"]
        found = await bench.delivery.due_of("default", bench.now, keys)
        assert {change.id for change in found} == {by_id.id, by_name.id}
        assert await bench.delivery.due_of("other", bench.now, keys) == []
        assert await bench.delivery.due_of("default", bench.now, []) == []

    run(body)


def test_waits_go_back_with_the_clock(bench: Bench) -> None:
    """A clock that is put right delays nothing by what it was wrong, and keeps what is left of each wait."""

    async def body() -> None:
        waits, was_due = await bench.accepted(), await bench.accepted("due@example.com")
        begun = await bench.begun(waits)
        await bench.delivery.settle(begun, LOST, AGAIN, bench.now)
        await bench.delivery.note_health("default", None, None, bench.now + 42, bench.now)
        bench.now -= 3600
        assert await due(bench) == []
        assert await bench.delivery.rebase("default", bench.now, 3600.0) == 7
        assert (await bench.delivery.org_state("default")).blocked_until == bench.now + 42
        assert await due(bench) == [was_due.id]
        standing = await bench.delivery.resolve(waits.id, UUID, bench.now)
        assert standing.intent_at == bench.now
        bench.now += 60
        assert set(await due(bench)) == {was_due.id, waits.id}
        assert await bench.delivery.rebase("default", bench.now, 3600.0) == 0
        change = await bench.get(waits.id)
        assert change.waiting_since == waits.waiting_since - 3600
        assert change.doubt is not None
        assert change.doubt.at == bench.now - 60

    run(body)


def test_who_does_not_own_the_org_any_more_shifts_no_waits(bench: Bench) -> None:
    """The new owner does: twice would be too early."""

    async def body() -> None:
        await bench.accepted()
        await bench.delivery.take("default")
        await SqlDeliveryStore(bench.database).take("default")
        bench.now -= 3600
        assert await bench.delivery.rebase("default", bench.now, 3600.0) == 0

    run(body)


def test_people_go_before_bulk_and_who_waits_longest_goes_first(bench: Bench) -> None:
    """The order of what is due; busy ones, other orgs and what is due later are left out."""

    async def body() -> None:
        bulk = await bench.accepted("bulk@example.com", bulk=True)
        await bench.accepted(org="other")
        bench.now += 10
        early = await bench.accepted("early@example.com")
        bench.now += 10
        late = await bench.accepted("late@example.com")
        bench.now += 10
        early = await bench.accepted("early@example.com", "two")  # waits since its first change did
        assert await due(bench) == [early.id, late.id, bulk.id]
        assert await due(bench, limit=1) == [early.id, bulk.id]
        assert await due(bench, limit=2) == [early.id, late.id, bulk.id]
        assert await due(bench, busy=(early.id,)) == [late.id, bulk.id]
        await bench.delivery.settle(late, THROTTLED, Next(State.PENDING, bench.now + 60, False), bench.now)
        assert await due(bench) == [early.id, bulk.id]
        assert (await bench.delivery.due("default", bench.now, 1, [])).next_at == bench.now + 60
        bench.now += 60
        assert await due(bench) == [early.id, late.id, bulk.id]
        assert (await bench.delivery.due("default", bench.now, 1, [])).next_at is None

    run(body)


def test_what_is_being_sent_or_held_is_not_due(bench: Bench) -> None:
    """Neither a delivering change nor one that waits for a person is due; an hourly look is."""

    async def body() -> None:
        await bench.begun(await bench.accepted())
        held = await bench.accepted("held@example.com")
        await bench.delivery.settle(held, Outcome(Kind.HELD, "user.changed"), Next(State.PARKED), NOW)
        parked = await bench.parked(await bench.accepted(EMAIL))
        bench.now += 3600
        assert await due(bench) == [parked.id]

    run(body)


# --- who the user is -------------------------------------------------------------------------


def test_who_a_user_is_is_written_down_once(bench: Bench) -> None:
    """The first resolution stays with the change, whatever is said later."""

    async def body() -> None:
        change = await bench.accepted(EMAIL)
        await bench.delivery.resolve(change.id, UUID, NOW)
        standing = await bench.delivery.resolve(change.id, "somebody else", NOW)
        assert standing.change is not None
        assert standing.change.resolved_id == UUID
        assert (standing.intent_at, standing.delivered) == (None, None)

    run(body)


def test_what_is_being_sent_is_handed_to_nobody_else(bench: Bench) -> None:
    """An owner that was frozen on the way to it, and comes late, must not settle what the next one sends."""

    async def body() -> None:
        begun = await bench.begun(await bench.accepted())
        assert (await bench.delivery.resolve(begun.id, UUID, NOW)).change is None
        assert (await bench.get(begun.id)).state is State.DELIVERING

    run(body)


@pytest.mark.parametrize(("first", "second"), [(EMAIL, UUID), (UUID, EMAIL)])
def test_of_two_references_to_one_user_the_newer_wins_while_both_wait(
    bench: Bench, first: str, second: str
) -> None:
    """As soon as it comes to light that both are one user, the older is superseded and erased."""

    async def body() -> None:
        old, new = await bench.accepted(first, "one"), await bench.accepted(second, "two")
        standings = [await bench.delivery.resolve(change.id, UUID, NOW) for change in (old, new)]
        assert standings[1].change is not None
        after = await bench.get(old.id)
        assert (after.state, after.sealed, after.superseded_by) == (State.SUPERSEDED, None, new.id)
        assert await due(bench) == [new.id]
        assert (await bench.records()).count("superseded") == 1

    run(body)


@pytest.mark.parametrize("step", ["begun", "lost", "applied", "refused"])
def test_an_older_change_never_follows_a_newer_one_of_the_same_user(bench: Bench, step: str) -> None:
    """Whatever the newer change under another reference has come to, the older is superseded by it."""

    async def body() -> None:
        old, new = await bench.accepted(EMAIL, "one"), await bench.accepted(UUID, "two")
        begun = await bench.begun(new)
        ends: dict[str, tuple[Outcome, Next]] = {
            "lost": (LOST, AGAIN),
            "applied": (APPLIED, CONFIRMED),
            "refused": (Outcome(Kind.REFUSED, "password.reused"), REFUSED),
        }
        if step in ends:
            await bench.delivery.settle(begun, *ends[step], NOW)
        standing = await bench.delivery.resolve(old.id, UUID, NOW + 60)
        assert standing.change is None
        after = await bench.get(old.id)
        assert (after.state, after.sealed, after.superseded_by) == (State.SUPERSEDED, None, new.id)
        assert await bench.delivery.begin(old.id, "42", NOW + 60, BLOCK) is None

    run(body)


def test_a_newer_change_that_comes_to_light_after_the_read_stops_the_write(bench: Bench) -> None:
    """Between resolving and the intent a newer change under another reference may have been accepted."""

    async def body() -> None:
        await bench.delivery.take("default")
        old = await bench.accepted(EMAIL, "one")
        await bench.delivery.resolve(old.id, UUID, NOW)
        new = await bench.accepted(UUID, "two")
        assert await bench.delivery.begin(old.id, "42", NOW, BLOCK) is None
        assert (await bench.get(old.id)).superseded_by == new.id

    run(body)


def test_an_older_change_that_is_being_sent_is_erased_when_the_newer_is_resolved(bench: Bench) -> None:
    """It may end applied, and the newer one waits until its send cannot be executed any more."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted(EMAIL, "one"))
        new = await bench.accepted(UUID, "two")
        standing = await bench.delivery.resolve(new.id, UUID, NOW + 1)
        assert standing.change is not None
        assert standing.intent_at == NOW
        sending = await bench.get(old.id)
        assert (sending.state, sending.sealed, sending.superseded_by) == (State.DELIVERING, None, new.id)
        assert await bench.delivery.begin(new.id, "42", NOW + 1, BLOCK) == NOW + BLOCK
        assert (await bench.delivery.settle(old, APPLIED, CONFIRMED, NOW + 2)).state is State.APPLIED
        assert isinstance(await bench.delivery.begin(new.id, "43", NOW + 3, BLOCK), Change)

    run(body)


# --- intents ---------------------------------------------------------------------------------


def test_an_intent_is_committed_with_what_was_read(bench: Bench) -> None:
    """The change is delivering, holds its sealed password, and remembers time, version and attempt."""

    async def body() -> None:
        begun = await bench.begun(await bench.accepted(), version="41")
        assert begun.state is State.DELIVERING
        assert (begun.sealed, begun.doubt) == (sealed("one"), Doubt(NOW, "41", 1))
        assert await bench.get(begun.id) == begun
        assert await bench.delivery.begin(begun.id, "41", NOW, BLOCK) is None
        assert await bench.records() == ["accepted", "attempt"]

    run(body)


def test_only_the_present_owner_begins(bench: Bench) -> None:
    """Once another owner has taken the org, the earlier one commits no intent; nor does who took nothing."""

    async def body() -> None:
        change = await bench.accepted()
        await bench.delivery.resolve(change.id, UUID, NOW)
        assert await bench.delivery.begin(change.id, "42", NOW, BLOCK) is None
        await bench.delivery.take("default")
        other = bench.another_owner()
        await other.take("default")
        assert await bench.delivery.begin(change.id, "42", NOW, BLOCK) is None
        assert (await bench.get(change.id)).state is State.PENDING
        assert isinstance(await other.begin(change.id, "42", NOW, BLOCK), Change)

    run(body)


def test_a_lost_answer_blocks_every_other_write_to_the_user(bench: Bench) -> None:
    """Until the block is over nothing starts for that user, whoever it is from; others go on."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        assert (await bench.delivery.settle(old, LOST, AGAIN, NOW + 10)).state is State.PENDING
        new = await bench.accepted(password="two")
        await bench.delivery.resolve(new.id, UUID, NOW)
        assert await bench.delivery.begin(new.id, "42", NOW + BLOCK - 0.5, BLOCK) == NOW + BLOCK
        assert isinstance(await bench.begun(await bench.accepted(EMAIL), "somebody else"), Change)
        assert isinstance(await bench.delivery.begin(new.id, "42", NOW + BLOCK, BLOCK), Change)

    run(body)


def test_a_superseded_change_is_never_sent_again(bench: Bench) -> None:
    """Neither before nor after the block does a superseded change get an intent."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        await bench.accepted(password="two")
        await bench.delivery.settle(old, LOST, AGAIN, NOW)
        for at in (NOW, NOW + BLOCK, NOW + DAY):
            assert await bench.delivery.begin(old.id, "42", at, BLOCK) is None

    run(body)


# --- what became of a try --------------------------------------------------------------------


def test_an_applied_change_is_erased_and_its_verifier_kept(bench: Bench) -> None:
    """State, evidence, erasure, verifier, version and audit are one commit."""

    async def body() -> None:
        change = await bench.delivered(await bench.accepted(EMAIL), verifier=sealed("verifier"))
        assert (change.state, change.evidence, change.attempts) == (State.APPLIED, Evidence.CONFIRMED, 1)
        assert (change.sealed, change.doubt, change.next_attempt_at) == (None, None, None)
        assert await bench.get(change.id) == change
        expected = Delivered(change.id, UUID, "43", sealed("verifier"))
        assert await bench.lookup.delivered("default", change.user) == expected
        newer = await bench.accepted(EMAIL, "two")
        assert (await bench.delivery.resolve(newer.id, UUID, NOW)).delivered == expected
        assert (await bench.records())[:3] == ["accepted", "attempt", "outcome"]

    run(body)


def test_a_newer_delivery_replaces_the_verifier_or_clears_it(bench: Bench) -> None:
    """The verifier is of the password last delivered, or there is none; a refusal leaves it."""

    async def body() -> None:
        first = await bench.delivered(await bench.accepted(), verifier=sealed("v1"))
        refused = await bench.begun(await bench.accepted(password="two"))
        await bench.delivery.settle(refused, Outcome(Kind.REFUSED, "password.reused"), REFUSED, NOW)
        assert (await bench.get(refused.id)).sealed is None
        found = await bench.lookup.delivered("default", first.user)
        assert found is not None
        assert (found.change_id, found.verifier) == (first.id, sealed("v1"))
        third = await bench.delivered(await bench.accepted(password="three"))
        assert await bench.lookup.delivered("default", first.user) == Delivered(third.id, UUID, "43", None)

    run(body)


def test_a_verifier_that_comes_late_is_kept_only_while_its_password_is_the_last(bench: Bench) -> None:
    """Of one that another followed, or whose user was forgotten, nothing is kept."""

    async def body() -> None:
        first = await bench.delivered(await bench.accepted(), verifier=sealed("v0"))
        second = await bench.delivered(await bench.accepted(password="two"))
        await bench.delivery.add_verifier(first, sealed("v1"))
        assert await bench.lookup.delivered("default", first.user) == Delivered(second.id, UUID, "43", None)
        await bench.delivery.add_verifier(second, sealed("v2"))
        expected = Delivered(second.id, UUID, "43", sealed("v2"))
        assert await bench.lookup.delivered("default", first.user) == expected
        await bench.keep.forget_user("default", first.user, "operator:ann", NOW, BLOCK)
        await bench.delivery.add_verifier(second, sealed("v2"))
        assert await bench.lookup.delivered("default", first.user) is None

    run(body)


def test_a_try_of_a_change_that_was_cancelled_and_forgotten_ends_quietly(bench: Bench) -> None:
    """There is nothing left to write down."""

    async def body() -> None:
        change = await bench.accepted()
        await bench.lookup.operate(change.id, "cancel", "operator:ann", NOW)
        await bench.keep.forget_user("default", change.user, "operator:ann", NOW, BLOCK)
        before = await bench.records()
        assert await bench.delivery.settle(change, THROTTLED, Next(State.PENDING, NOW), NOW) == change
        assert await bench.records() == before

    run(body)


def test_a_password_that_was_delivered_before_keeps_its_verifier(bench: Bench) -> None:
    """A change that ends applied without a write leaves what was last delivered as it is."""

    async def body() -> None:
        first = await bench.delivered(await bench.accepted(), verifier=sealed("v1"))
        again = await bench.accepted()
        standing = await bench.delivery.resolve(again.id, UUID, NOW)
        assert standing.change is not None
        inferred = Next(State.APPLIED, evidence=Evidence.INFERRED)
        await bench.delivery.settle(standing.change, APPLIED, inferred, NOW)
        assert (await bench.get(again.id)).evidence is Evidence.INFERRED
        found = await bench.lookup.delivered("default", first.user)
        assert found is not None
        assert (found.change_id, found.verifier) == (first.id, sealed("v1"))

    run(body)


@pytest.mark.parametrize(
    ("outcome", "nxt", "attempts"),
    [(THROTTLED, LATER, 0), (Outcome(Kind.CONFLICT, "version.conflict"), Next(State.PENDING, NOW), 1)],
)
def test_a_try_that_did_nothing_leaves_no_doubt_and_no_block(
    bench: Bench, outcome: Outcome, nxt: Next, attempts: int
) -> None:
    """It is pending again with its password, may be begun at once, and waiting used no attempt."""

    async def body() -> None:
        begun = await bench.begun(await bench.accepted())
        change = await bench.delivery.settle(begun, outcome, nxt, NOW)
        assert (change.state, change.attempts, change.doubt) == (State.PENDING, attempts, None)
        assert (change.sealed, change.next_attempt_at) == (sealed("one"), nxt.at)
        assert isinstance(await bench.delivery.begin(change.id, "43", NOW, BLOCK), Change)

    run(body)


def test_the_first_doubt_outlives_later_tries(bench: Bench) -> None:
    """What is not known of the first send stays not known, whatever a later try that did nothing says."""

    async def body() -> None:
        begun = await bench.begun(await bench.accepted(), version="41")
        lost = await bench.delivery.settle(begun, LOST, AGAIN, NOW)
        assert (lost.attempts, lost.doubt) == (1, Doubt(NOW, "41", 1))
        for outcome, nxt in ((THROTTLED, LATER), (LOST, AGAIN), (THROTTLED, LATER)):
            bench.now += BLOCK
            again = await bench.begun(lost, version="50")
            lost = await bench.delivery.settle(again, outcome, nxt, bench.now)
            assert lost.doubt == Doubt(NOW, "41", 1)
        bench.now += BLOCK
        applied = await bench.delivery.settle(await bench.begun(lost), APPLIED, CONFIRMED, bench.now)
        assert (applied.state, applied.doubt) == (State.APPLIED, None)

    run(body)


def test_an_outcome_that_comes_too_late_changes_nothing(bench: Bench) -> None:
    """An operator, a newer change or a newer try was faster: the state stays as it is."""

    async def body() -> None:
        change = await bench.accepted()
        await bench.lookup.operate(change.id, "cancel", "operator:ann", NOW)
        after = await bench.delivery.settle(change, Outcome(Kind.BLOCKED, "user.unknown"), LATER, NOW)
        assert after.state is State.CANCELLED
        begun = await bench.begun(await bench.accepted(password="two"))
        other = bench.another_owner()
        await other.take("default")
        await other.recover("default", NOW, BLOCK)
        stored = await bench.get(begun.id)
        assert await bench.delivery.settle(begun, THROTTLED, LATER, NOW) == stored
        again = await other.begin(begun.id, "42", NOW + BLOCK, BLOCK)
        assert isinstance(again, Change)
        late = await bench.delivery.settle(begun, Outcome(Kind.REFUSED, "password.reused"), REFUSED, NOW)
        assert late == again

    run(body)


def test_a_late_outcome_of_an_older_change_does_not_undo_a_newer_one(bench: Bench) -> None:
    """The newer intent, order and verifier stay, although the older is settled after them."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        new = await bench.accepted(password="two")
        bench.now += BLOCK
        begun = await bench.begun(new)
        await bench.delivery.settle(old, APPLIED, CONFIRMED, bench.now, sealed("old"))
        third = await bench.accepted(EMAIL, "three")
        standing = await bench.delivery.resolve(third.id, UUID, bench.now)
        assert standing.intent_at == bench.now
        await bench.delivery.settle(begun, APPLIED, CONFIRMED, bench.now, sealed("new"))
        late = await bench.delivery.resolve(third.id, UUID, bench.now)
        assert late.delivered == Delivered(new.id, UUID, "43", sealed("new"))

    run(body)


@pytest.mark.parametrize("first_settled", ["old", "new"])
def test_the_verifier_is_that_of_the_newest(bench: Bench, first_settled: str) -> None:
    """Whichever of two applied changes of a user is written down first, the newer's verifier remains."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        new = await bench.accepted(password="two")
        bench.now += BLOCK
        begun = await bench.begun(new)
        order: list[tuple[Change, str]] = [(old, "old"), (begun, "new")]
        for change, name in order if first_settled == "old" else reversed(order):
            await bench.delivery.settle(change, APPLIED, CONFIRMED, bench.now, sealed(name))
        found = await bench.lookup.delivered("default", new.user)
        assert found is not None
        assert (found.change_id, found.verifier) == (new.id, sealed("new"))

    run(body)


# --- crashes, time, operators ----------------------------------------------------------------


def test_after_a_crash_an_unfinished_intent_is_in_doubt(bench: Bench) -> None:
    """It is pending again, one attempt used, due when the block is over; nothing else is touched."""

    async def body() -> None:
        waiting = await bench.accepted(EMAIL)
        begun = await bench.begun(await bench.accepted(), version="41")
        other = bench.another_owner()
        await other.take("default")
        assert await other.recover("default", NOW + 5, BLOCK) == 1
        change = await bench.get(begun.id)
        assert (change.state, change.attempts) == (State.PENDING, 1)
        assert (change.next_attempt_at, change.doubt) == (NOW + BLOCK, Doubt(NOW, "41", 1))
        assert await bench.get(waiting.id) == waiting
        assert await other.begin(begun.id, "42", NOW + 5, BLOCK) == NOW + BLOCK
        again = await other.begin(begun.id, "42", NOW + BLOCK, BLOCK)
        assert isinstance(again, Change)
        settled = await other.settle(again, THROTTLED, LATER, NOW + BLOCK)
        assert settled.doubt == Doubt(NOW, "41", 1)
        assert await other.recover("default", NOW, BLOCK) == 0

    run(body)


def test_after_a_crash_a_superseded_send_is_over_and_the_newer_waits_for_it(bench: Bench) -> None:
    """What a newer change replaced while it was sent is not tried again; its intent still blocks."""

    async def body() -> None:
        old = await bench.begun(await bench.accepted())
        new = await bench.accepted(password="two")
        other = bench.another_owner()
        await other.take("default")
        await other.recover("default", NOW + 1, BLOCK)
        assert (await bench.get(old.id)).state is State.SUPERSEDED
        await other.resolve(new.id, UUID, NOW + 1)
        assert await other.begin(new.id, "42", NOW + 1, BLOCK) == NOW + BLOCK

    run(body)


def test_a_crash_before_and_after_each_commit_loses_nothing(bench: Bench) -> None:
    """A new owner finds a pending change due, an applied one at rest, and nothing to recover in either."""

    async def body() -> None:
        change = await bench.accepted()
        for resolved in (False, True):
            if resolved:
                await bench.delivery.resolve(change.id, UUID, NOW)
            other = bench.another_owner()
            await other.take("default")
            assert await other.recover("default", NOW, BLOCK) == 0
            assert await due(bench) == [change.id]
        bench.owned.clear()  # it is ours again
        await bench.delivered(change)
        other = bench.another_owner()
        await other.take("default")
        assert await other.recover("default", NOW, BLOCK) == 0
        assert (await bench.get(change.id)).state is State.APPLIED

    run(body)


def test_names_that_only_a_target_could_take_for_one_are_two(bench: Bench) -> None:
    """Neither of two people's changes ends because of the other's; letter case alone makes no other name."""

    async def body() -> None:
        first = await bench.accepted("strauss@example.com")
        other = await bench.accepted("strau\u00df@example.com")
        assert (await bench.get(first.id)).state is State.PENDING
        again = await bench.accepted("STRAU\u00df@Example.com", "two")
        assert (await bench.get(other.id)).superseded_by == again.id

    run(body)


def test_what_was_parked_gives_way_when_it_is_due_again(bench: Bench) -> None:
    """Thousands of users whom the target does not know must not stand before a new change every hour."""

    async def body() -> None:
        parked = await bench.parked(await bench.accepted("nobody@example.com"))
        assert parked.next_attempt_at is not None
        bench.now = parked.next_attempt_at
        new = await bench.accepted()
        assert await due(bench) == [new.id, parked.id]
        assert await bench.delivery.due_count("default", bench.now, 9, [], bulk=False) == 1

    run(body)


def test_changes_expire_when_their_time_is_up(bench: Bench) -> None:
    """Pending and parked ones end erased; what is being sent is left to its outcome."""

    async def body() -> None:
        pending = await bench.accepted("a@example.com")
        parked = await bench.parked(await bench.accepted(EMAIL))
        sending = await bench.begun(await bench.accepted())
        assert await bench.delivery.expire("default", pending.expires_at - 1) == 0
        assert await bench.delivery.expire("default", pending.expires_at) == 2
        for change in (pending, parked):
            after = await bench.get(change.id)
            assert (after.state, after.sealed, after.error and after.error.code) == (
                State.EXPIRED,
                None,
                "expired",
            )
        assert (await bench.get(sending.id)).state is State.DELIVERING
        assert (await bench.records()).count("expired") == 2

    run(body)


def test_after_a_restored_backup_nothing_is_sent_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending, hourly looked up, and being sent when the back-up was made: all wait for an operator.

    However many they are, each transaction is short.
    """
    monkeypatch.setattr("passferry.adapters.store_deliver.BATCH", 2)

    async def body() -> None:
        pending = await bench.accepted("a@example.com")
        parked = await bench.parked(await bench.accepted(EMAIL))
        sending = await bench.begun(await bench.accepted())
        other = bench.another_owner()
        assert [await other.hold("default", NOW) for _ in range(3)] == [2, 1, 0]
        bench.now += DAY
        await other.take("default")
        assert await other.recover("default", bench.now, BLOCK) == 0
        assert await due(bench) == []
        for change in (pending, parked, sending):
            after = await bench.get(change.id)
            assert (after.state, after.error and after.error.code) == (State.PARKED, "held")
            assert after.sealed == sealed("one")
            await bench.lookup.operate(change.id, "retry", "operator:ann", bench.now)
        assert len(await due(bench)) == 3
        assert (await bench.get(sending.id)).doubt == sending.doubt

    run(body)


def test_a_pause_and_a_wait_outlive_the_process(bench: Bench) -> None:
    """What was set is what the next owner finds; only a changed pause is an audit record."""

    async def body() -> None:
        delivery = bench.delivery
        assert await delivery.take("default") == OrgState(None, 0.0)
        await delivery.set_org("default", None, NOW + 42, "delivery", NOW)
        assert await bench.records() == []
        await delivery.set_org("default", "operator", NOW + 42, "operator:ann", NOW)
        await delivery.set_org("default", "operator", 0.0, "operator:ann", NOW)
        assert await bench.another_owner().take("default") == OrgState("operator", 0.0)
        assert await delivery.org_state("other") == OrgState(None, 0.0)
        await delivery.set_org("default", None, 0.0, "operator:ann", NOW)
        assert await bench.records() == ["paused", "resumed"]

    run(body)


def test_delivery_never_ends_or_makes_an_operators_pause(bench: Bench) -> None:
    """What delivery found out counts only where the org still stands as it was then; waits only grow."""

    async def body() -> None:
        delivery = bench.delivery
        await delivery.note_health("default", None, "invalid_client", NOW + 42, NOW)
        assert await delivery.org_state("default") == OrgState("invalid_client", NOW + 42)
        await delivery.set_org("default", "operator", None, "operator:ann", NOW)
        await delivery.note_health("default", "invalid_client", None, NOW + 10, NOW)
        assert await delivery.org_state("default") == OrgState("operator", NOW + 42)
        await delivery.set_org("default", None, 0.0, "operator:ann", NOW)
        await delivery.note_health("default", "operator", "operator", NOW + 10, NOW)
        assert await delivery.org_state("default") == OrgState(None, NOW + 10)
        assert await bench.records() == ["paused", "paused", "resumed"]

    run(body)


def test_what_is_being_sent_is_not_taken_up_again(bench: Bench) -> None:
    """Only an intent that nobody works on any more counts as unfinished."""

    async def body() -> None:
        change = await bench.begun(await bench.accepted())
        assert await bench.delivery.recover("default", NOW, BLOCK, [change.id]) == 0
        assert (await bench.get(change.id)).state is State.DELIVERING
        assert await bench.delivery.recover("default", NOW, BLOCK, []) == 1

    run(body)


def test_few_and_many_due_changes_come_in_the_same_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People before bulk, longest waiting first, whichever index finds them."""

    async def body() -> None:
        for number in range(6):
            bench.now += 1
            await bench.accepted(f"user{number}@example.com", bulk=number < 2)
        few = (await bench.delivery.due("default", bench.now, 5, [])).changes
        monkeypatch.setattr(store_deliver, "FEW", 0)
        many = (await bench.delivery.due("default", bench.now, 5, [])).changes
        assert [one.user.value[4] for one in few] == list("23450")
        assert many == few

    run(body)


def test_a_new_owner_knows_when_requests_were_sent(bench: Bench) -> None:
    """Read and write of each attempt since then, look-ups for nothing, what was passed on; nothing older."""

    async def body() -> None:
        await bench.delivered(await bench.accepted())
        bench.now += 100
        await bench.delivered(await bench.accepted(password="two"))
        bench.now += 10
        await bench.begun(await bench.accepted(EMAIL), "somebody else")
        bench.now += 10
        await bench.parked(await bench.accepted("nobody@example.com"))
        name = "jane@example.com"
        await bench.passes.intend("default", Record(PASSED_ON, NOW + 121, "okta", "p1", name), None)
        await bench.passes.note_ended("default", Record(PASSED_ON_OUTCOME, NOW + 122, "okta", "p1", name))
        found = await bench.delivery.requests_since("default", NOW + 50)
        assert found == [NOW + 100] * 2 + [NOW + 110] * 3 + [NOW + 120] * 2 + [NOW + 121]
        assert await bench.delivery.requests_since("other", 0.0) == []

    run(body)


def test_every_step_of_a_life_is_in_the_chain(bench: Bench) -> None:
    """Accept, attempts, outcomes, operator's acts and crashes: each is a verified record, none holds more."""

    async def body() -> None:
        change = await bench.begun(await bench.accepted())
        change = await bench.delivery.settle(change, LOST, AGAIN, NOW)
        bench.now += BLOCK
        begun = await bench.begun(change)
        await bench.delivery.recover("default", bench.now, BLOCK)
        parked = await bench.parked(await bench.get(begun.id))
        await bench.lookup.operate(parked.id, "retry", "operator:ann", NOW)
        await bench.lookup.operate(parked.id, "cancel", "operator:ann", NOW)
        kinds = "accepted attempt outcome attempt recovered outcome retry cancel"
        assert await bench.records() == kinds.split()

    run(body)


# --- dry run ---------------------------------------------------------------------------------

DRY = Outcome(Kind.DRY_RUN, "dry.run")
DRY_AGAIN = Next(State.PENDING, NOW + 3600, counts=False, error=Failure("dry.run", "Nothing was written."))


def test_resuming_an_org_ends_what_its_changes_wait_for_the_target(bench: Bench) -> None:
    """Not what they wait for else, and not when an operator pauses."""

    async def body() -> None:
        dry, throttled = await bench.accepted("dry@example.com"), await bench.accepted("late@example.com")
        await bench.delivery.settle(dry, DRY, DRY_AGAIN, bench.now)
        waits = replace(LATER, error=Failure("too.many.requests", "The target asked to wait."))
        await bench.delivery.settle(throttled, THROTTLED, waits, bench.now)
        await bench.delivery.set_org("default", "operator", None, "operator:ann", bench.now)
        assert await due(bench) == []
        await bench.delivery.set_org("default", None, 0.0, "operator:ann", bench.now)
        assert await due(bench) == [throttled.id]

    run(body)


def test_what_waits_with_a_code_is_woken_and_nothing_else(bench: Bench) -> None:
    """Of one org, only what is pending with one of the codes, and once."""

    async def body() -> None:
        dry = await bench.accepted("dry@example.com")
        throttled = await bench.accepted("throttled@example.com")
        other = await bench.accepted(org="other")
        for change in (dry, other):
            await bench.delivery.settle(change, DRY, DRY_AGAIN, bench.now)
        await bench.delivery.settle(throttled, THROTTLED, LATER, bench.now)
        assert await due(bench) == []
        assert await bench.delivery.wake("default", ["dry.run", "user.busy"], bench.now) == 1
        assert await due(bench) == [dry.id]
        assert await bench.delivery.wake("default", ["dry.run", "user.unknown"], bench.now) == 0
        assert (await bench.delivery.due("other", bench.now, 10, ())).changes == []

    run(body)


def test_a_dry_run_is_written_down_once_a_change(bench: Bench) -> None:
    """Looked at every hour, it would fill the trail; another outcome in between is told again."""

    async def body() -> None:
        await bench.delivery.take("default")
        change = await bench.accepted()
        for _ in range(3):
            change = await bench.delivery.settle(change, DRY, DRY_AGAIN, bench.now)
            assert (change.state, change.attempts) == (State.PENDING, 0)
        assert change.next_attempt_at == DRY_AGAIN.at
        change = await bench.delivery.settle(change, THROTTLED, LATER, bench.now)
        await bench.delivery.settle(change, DRY, DRY_AGAIN, bench.now)
        records = [link.record for link in await bench.audit.links("default", 0, 100)]
        codes = [record.code for record in records if record.kind == "outcome"]
        assert codes == ["dry.run", "too.many.requests", "dry.run"]

    run(body)


def test_nothing_is_begun_once_an_operator_paused_the_org(bench: Bench) -> None:
    """Nor is what its owner had resolved by then; it waits, and goes on afterwards."""

    async def body() -> None:
        change = await bench.accepted()
        await bench.delivery.take("default")
        await bench.delivery.resolve(change.id, UUID, NOW)
        await bench.delivery.set_org("default", "operator", None, "operator:ann", NOW)
        assert await bench.delivery.begin(change.id, None, NOW, BLOCK) is None
        assert (await bench.get(change.id)).state is State.PENDING
        await bench.delivery.set_org("default", None, 0.0, "operator:ann", NOW)
        assert isinstance(await bench.delivery.begin(change.id, None, NOW, BLOCK), Change)

    run(body)
