"""The contract of the stores about sources that may send so many changes an hour and no more."""

import asyncio
from collections.abc import Sequence

from passferry.domain.accepting import Accepted, NewChange, Protected, Replayed, Stopped
from passferry.domain.audit import PASSED_ON, PASSED_ON_OUTCOME, Record
from passferry.domain.change import Change, State
from passferry.domain.source_rules import SLOT
from passferry.store_ports import Caller
from store_bench import APPLIED, BLOCK, CONFIRMED, NOW, UUID, Bench, run


def test_the_change_that_is_one_too_many_stops_its_source(bench: Bench) -> None:
    """Within a batch and across batches; it and later ones are not stored; the trail says it once."""

    async def body() -> None:
        items = [bench.new(f"u{n}@example.com", source="pam", most_an_hour=2) for n in range(4)]
        taken = await bench.accept(*items)
        assert taken == [Accepted(None), Accepted(None), Stopped(now=True), Stopped(now=False)]
        assert await bench.accept(bench.new("v@example.com", source="pam", most_an_hour=2)) == [
            Stopped(now=False)
        ]
        assert await bench.accept(bench.new("v@example.com")) == [Accepted(None)]
        assert await bench.accepts.backlog("default", 100) == 3
        assert (await bench.records()).count("source.stopped") == 1
        assert await bench.figures.stopped_sources() == {"pam"}

    run(body)


def test_the_hour_is_of_all_orgs_together_and_repeats_do_not_count(bench: Bench) -> None:
    """One limit for the source, not one an org; a replay is no change."""

    async def body() -> None:
        assert await bench.accept(bench.new(UUID, source="pam", most_an_hour=2)) == [Accepted(None)]
        again = await bench.accept(bench.new(UUID, source="pam", most_an_hour=2))
        assert isinstance(again[0], Replayed)
        other = bench.new(UUID, source="pam", org="other", most_an_hour=2)
        assert await bench.accept(other) == [Accepted(None)]
        last = bench.new("b@example.com", source="pam", org="other", most_an_hour=2)
        assert await bench.accept(last) == [Stopped(now=True)]

    run(body)


def test_after_an_hour_a_source_that_was_not_stopped_may_send_as_many_again(bench: Bench) -> None:
    """What it sent before is forgotten, step by step."""

    async def body() -> None:
        for n in range(2):
            item = bench.new(f"u{n}@example.com", source="pam", most_an_hour=2, now=NOW + n)
            assert await bench.accept(item) == [Accepted(None)]
        later = bench.new("v@example.com", source="pam", most_an_hour=2, now=NOW + 3600 + 2 * SLOT)
        assert await bench.accept(later) == [Accepted(None)]

    run(body)


def test_a_stopped_source_is_seen_with_its_key_until_an_operator_resumes_it(bench: Bench) -> None:
    """The key says since when, a new key of the name too; resuming forgets the hour and is in the trail."""

    async def body() -> None:
        await bench.access.add_key(Caller("1", "pam", "source", ("default",)), b"1", NOW)
        await bench.access.add_key(Caller("2", "hr", "source", ()), b"2", NOW)
        assert not await bench.access.resume("pam", "operator:ann", NOW)
        items = [bench.new(f"u{n}@example.com", source="pam", most_an_hour=1) for n in range(2)]
        await bench.accept(*items)
        await bench.access.revoke("pam", "operator:ann", NOW)
        await bench.access.add_key(Caller("3", "pam", "source", ()), b"3", NOW)
        stopped = {caller.id: caller.stopped_at for caller, _ in await bench.access.keys()}
        assert stopped == {"1": NOW, "2": None, "3": NOW}
        assert await bench.access.resume("pam", "operator:ann", NOW + 1)
        assert not await bench.access.resume("pam", "operator:ann", NOW + 1)
        item = bench.new("v@example.com", source="pam", most_an_hour=1)
        assert await bench.accept(item) == [Accepted(None)]
        assert (await bench.records()).count("source.resumed") == 1
        assert (await bench.records("other")).count("source.resumed") == 1
        assert await bench.figures.stopped_sources() == set()

    run(body)


def test_batches_of_two_orgs_at_once_share_the_limit(bench: Bench) -> None:
    """However they interleave, as many as allowed are stored, and nobody waits for good."""

    async def body() -> None:
        def batch(org: str, first: int) -> list[NewChange]:
            return [
                bench.new(f"u{n}@example.com", source="pam", org=org, most_an_hour=9)
                for n in range(first, first + 3)
            ]

        batches = [batch(org, first) for first in (0, 3, 6) for org in ("default", "other")]
        verdicts = await asyncio.wait_for(asyncio.gather(*(bench.accept(*each) for each in batches)), 30)
        flat = [verdict for each in verdicts for verdict in each]
        assert flat.count(Accepted(None)) == 9
        assert flat.count(Stopped(now=True)) == 1

    run(body)


def test_a_user_who_is_known_is_protected_under_every_name(bench: Bench) -> None:
    """An id of somebody whose userName is listed, and the other way round, once a delivery told who it is."""

    async def body() -> None:
        await bench.delivered(await bench.accepted("Admin@example.com"))
        live = await bench.accepted("Admin@example.com", "two")
        by_id = bench.new(UUID, "three", never=frozenset({"admin@example.com"}))
        by_name = bench.new("ADMIN@example.com", "four", never=frozenset({UUID}))
        other = bench.new("b@example.com", never=frozenset({"admin@example.com", UUID}))
        assert await bench.accept(by_id, by_name, other) == [Protected(), Protected(), Accepted(None)]
        assert (await bench.get(live.id)).superseded_by is None

    run(body)


def test_a_change_that_will_be_refused_supersedes_none_that_will_not(bench: Bench) -> None:
    """By id, of a user of whom only the name is listed and who was unknown at its accept: in either order."""

    def barred(source: str, names: Sequence[str]) -> bool:
        return source == "pam" and "admin@example.com" in names

    async def body() -> None:
        await bench.delivery.take("default")
        allowed = await bench.accepted("admin@example.com")
        refused = await bench.accepted(UUID, "two", source="pam")
        for change in (allowed, refused, allowed):
            standing = await bench.delivery.resolve(change.id, UUID, NOW, barred)
            assert standing.change is not None
        begun = await bench.delivery.begin(allowed.id, "42", NOW, BLOCK, barred)
        assert isinstance(begun, Change)
        await bench.delivery.settle(begun, APPLIED, CONFIRMED, NOW)
        assert (await bench.get(refused.id)).state is State.PENDING
        assert (await bench.delivery.resolve(refused.id, UUID, NOW)).change is not None

    run(body)


def test_what_is_passed_on_counts_like_a_change_and_is_in_the_trail(bench: Bench) -> None:
    """One hour for both; what is one too many is not written down as sent, and stops the source."""

    async def body() -> None:
        sent = Record(PASSED_ON, NOW, "pam", "p1", UUID, other="{}")
        assert await bench.passes.intend("default", sent, 2) is None
        await bench.passes.note_ended("default", Record(PASSED_ON_OUTCOME, NOW, "pam", "p1", UUID, "done"))
        assert await bench.accept(bench.new(UUID, source="pam", most_an_hour=2)) == [Accepted(None)]
        assert await bench.passes.intend("other", sent, 2) == Stopped(now=True)
        assert await bench.passes.intend("default", sent, 2) == Stopped(now=False)
        assert await bench.accept(bench.new("v@example.com", source="pam", most_an_hour=2)) == [
            Stopped(now=False)
        ]
        assert await bench.figures.stopped_sources() == {"pam"}
        assert await bench.records() == [PASSED_ON, PASSED_ON_OUTCOME, "accepted"]
        assert await bench.records("other") == ["source.stopped"]

    run(body)


def test_without_a_limit_as_much_is_passed_on_as_is_asked_for(bench: Bench) -> None:
    """It is in the trail all the same."""

    async def body() -> None:
        for n in range(3):
            assert await bench.passes.intend("default", Record(PASSED_ON, NOW, "pam", f"p{n}"), None) is None
        assert await bench.records() == [PASSED_ON] * 3
        assert await bench.figures.stopped_sources() == set()

    run(body)
