"""The contracts of ``ResealStore`` and ``RetentionStore``."""

from typing import Any

import pytest

from passferry.domain.change import Reference, State
from passferry.domain.outcome import Kind, Next, Outcome
from passferry.store_ports import NotNow, SealedRow, StaleSeal
from store_bench import BLOCK, DAY, NOW, UUID, Bench, run

EMAIL = "jane@example.com"
KEY = bytes(range(8)).hex()  # the key that the bench's sealed values name
OTHER = "ff" * 8


def under(key_id: str, row: SealedRow) -> bytes:
    """The row's value as if it had been sealed under another key."""
    return row.sealed[:1] + bytes.fromhex(key_id) + row.sealed[9:]


# --- rotation ------------------------------------------------------------------------------------


def test_what_is_sealed_under_a_retired_key_is_not_taken(bench: Bench) -> None:
    """Whole batches are refused, with the id of the newest key; keys that nobody retired are taken."""

    async def body() -> None:
        await bench.accepted()
        assert await bench.keep.sealing_key() is None
        await bench.keep.retire({"ab" * 8}, OTHER, "operator:test", NOW)
        await bench.accepted("taken@example.com")
        await bench.keep.retire({KEY}, OTHER, "operator:test", NOW)
        assert await bench.keep.sealing_key() == OTHER
        with pytest.raises(StaleSeal, match=OTHER):
            await bench.accept(bench.new(EMAIL), bench.new("other@example.com"))
        assert await bench.records() == ["accepted", "key.rotated", "accepted"]
        assert await bench.records("other") == ["key.rotated"]

    run(body)


def test_the_newest_key_is_replaced_only_by_who_names_it(bench: Bench) -> None:
    """Else another machine rotated meanwhile, whose key must not be retired; nothing is changed then."""

    async def body() -> None:
        await bench.keep.retire((), KEY, "operator:test", NOW)
        await bench.accepted()
        with pytest.raises(StaleSeal, match=KEY):
            await bench.keep.retire((), OTHER, "operator:test", NOW)
        await bench.accepted("second@example.com")
        await bench.keep.retire((KEY,), OTHER, "operator:test", NOW)
        with pytest.raises(StaleSeal):
            await bench.accepted(EMAIL)

    run(body)


def test_what_needs_another_key_is_found_and_replaced(bench: Bench) -> None:
    """Live passwords and verifiers, each with what it is bound to; ended changes have nothing to seal."""

    async def body() -> None:
        verifier = bytes([1]) + bytes(range(8)) + b"verifier"
        done = await bench.delivered(await bench.accepted(), verifier=verifier)
        live = await bench.accepted(EMAIL)
        rows = await bench.keep.sealed_otherwise(OTHER)
        assert await bench.keep.sealed_otherwise(KEY) == []
        seen: list[SealedRow] = []

        def anew(row: SealedRow) -> bytes:
            seen.append(row)
            return under(OTHER, row)

        assert await bench.keep.reseal(rows, OTHER, anew) == 2
        bound = {(row.binding.purpose, row.binding.user, row.binding.change_id) for row in seen}
        assert bound == {("password", EMAIL, live.id), ("verifier", UUID, done.id)}
        assert await bench.keep.sealed_otherwise(OTHER) == []
        assert await bench.lookup.key_ids() == {OTHER}
        kept = await bench.lookup.delivered("default", Reference("id", UUID))
        assert kept is not None
        assert kept.verifier == under(OTHER, SealedRow((), seen[0].binding, verifier))

    run(body)


def test_a_row_that_changed_since_it_was_found_is_left_alone(bench: Bench) -> None:
    """A change that ended meanwhile gets no password back; one that does not open stays as it is."""

    async def body() -> None:
        ended, broken = await bench.accepted(), await bench.accepted(EMAIL)
        rows = await bench.keep.sealed_otherwise(OTHER)
        await bench.lookup.operate(ended.id, "cancel", "operator:test", NOW)
        assert await bench.keep.reseal(rows, OTHER, lambda row: None) == 0
        assert (await bench.get(ended.id)).sealed is None
        assert (await bench.get(broken.id)).sealed == broken.sealed
        await bench.keep.note_retired({KEY}, "operator:test", NOW)
        assert (await bench.records())[-1] == "key.destroyed"

    run(body)


# --- retention -----------------------------------------------------------------------------------


def test_changes_are_pruned_by_when_they_ended_and_live_ones_never(bench: Bench) -> None:
    """At most so many at once; what is live, or ended later, stays however old it is."""

    async def body() -> None:
        ended = [await bench.accepted(f"{number}@example.com") for number in range(3)]
        live = await bench.accepted(EMAIL)
        late = await bench.accepted("late@example.com")
        for change in ended:
            await bench.lookup.operate(change.id, "cancel", "operator:test", NOW)
        await bench.lookup.operate(late.id, "cancel", "operator:test", NOW + 2 * DAY)
        assert await bench.keep.prune_changes(NOW - 1, 500) == 0
        assert [await bench.keep.prune_changes(NOW + DAY, 2) for _ in range(3)] == [2, 1, 0]
        assert {change.id for change in await bench.lookup.changes()} == {live.id, late.id}

    run(body)


def test_idempotency_keys_are_pruned_once_they_are_old_and_their_change_has_ended(bench: Bench) -> None:
    """The key of a live change stays; those of ended and of pruned changes go, when they are old enough."""

    async def body() -> None:
        def fields(key: str) -> dict[str, Any]:
            return {"idempotency_key": key, "body_mac": b"mac"}

        live = await bench.accepted("live@example.com", **fields("live"))
        ended = await bench.accepted("ended@example.com", **fields("ended"))
        gone = await bench.accepted("gone@example.com", **fields("gone"))
        for change in (gone, ended):
            await bench.lookup.operate(change.id, "cancel", "operator:test", NOW)
            if change is gone:
                await bench.keep.prune_changes(NOW, 1)
        assert await bench.keep.prune_idempotency(NOW - 1, 500) == 0
        assert [await bench.keep.prune_idempotency(NOW, 1) for _ in range(3)] == [1, 1, 0]
        await bench.lookup.operate(live.id, "cancel", "operator:test", NOW)
        assert await bench.keep.prune_idempotency(NOW, 500) == 1

    run(body)


# --- forgetting ----------------------------------------------------------------------------------


def test_a_user_is_forgotten_under_every_reference(bench: Bench) -> None:
    """Changes, references and verifier go, asked for by any reference; others' stay; the trail says it."""

    async def body() -> None:
        await bench.delivered(await bench.accepted(EMAIL), verifier=b"\1" + bytes(8) + b"v")
        other = await bench.accepted("other@example.com")
        bench.now += BLOCK
        await bench.delivered(await bench.accepted(UUID, "two"), verifier=b"\1" + bytes(8) + b"v")
        done = await bench.keep.forget_user(
            "default", Reference("userName", EMAIL), "operator:test", bench.now + BLOCK, BLOCK
        )
        assert done is not None
        assert (done.references, done.changes, done.verifier) == (2, 2, True)
        assert [change.id for change in await bench.lookup.changes()] == [other.id]
        assert await bench.lookup.delivered("default", Reference("id", UUID)) is None
        assert (await bench.records())[-1] == "user.forgotten"
        again = await bench.keep.forget_user(
            "default", Reference("id", UUID), "operator:test", bench.now, BLOCK
        )
        assert again is None
        newer = await bench.accepted(EMAIL, "three")
        assert newer.state is State.PENDING

    run(body)


def test_nobody_is_forgotten_while_a_password_may_still_be_written(bench: Bench) -> None:
    """A live change, and a lost send whose time is not over, refuse it; nothing is deleted."""

    async def body() -> None:
        change = await bench.begun(await bench.accepted(EMAIL))

        async def forget(now: float) -> object:
            return await bench.keep.forget_user("default", Reference("id", UUID), "operator:test", now, BLOCK)

        with pytest.raises(NotNow):
            await forget(NOW)
        lost = Next(State.PENDING, NOW, keep_doubt=True)
        await bench.delivery.settle(change, Outcome(Kind.UNKNOWN, "no.answer"), lost, NOW)
        await bench.lookup.operate(change.id, "cancel", "operator:test", NOW)
        with pytest.raises(NotNow):
            await forget(NOW + BLOCK - 1)
        assert await bench.lookup.change(change.id) is not None
        assert await forget(NOW + BLOCK) is not None

    run(body)
