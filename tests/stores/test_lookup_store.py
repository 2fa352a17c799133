"""The contract of ``LookupStore``."""

import pytest

from passferry.domain.change import Reference, State
from passferry.domain.outcome import Kind, Next, Outcome
from passferry.store_ports import NotNow
from store_bench import APPLIED, CONFIRMED, NOW, UUID, Bench, run, sealed

EMAIL = "jane@example.com"


def test_pages_follow_each_other_without_gap_or_repeat(bench: Bench) -> None:
    """Newest first, also where several have the same time; changes that come later do not shift a page."""

    async def body() -> None:
        ids = []
        for n in range(12):
            bench.now = NOW + n // 4
            ids.append((await bench.accepted(f"u{n}@example.com")).id)
        seen: list[str] = []
        before = None
        while page := await bench.lookup.changes(limit=5, before=before):
            seen += [change.id for change in page]
            before = (page[-1].accepted_at, page[-1].id)
            bench.now += 100
            await bench.accepted(f"later{len(seen)}@example.com")
        assert sorted(seen) == sorted(ids)
        times = [(await bench.get(change_id)).accepted_at for change_id in seen]
        assert times == sorted(times, reverse=True)

    run(body)


def test_filters_narrow_together(bench: Bench) -> None:
    """By org, user (id or userName, any case, or whom a name was resolved to), state and time."""

    async def body() -> None:
        old = await bench.delivered(await bench.accepted(EMAIL))
        bench.now += 10
        new = await bench.accepted(EMAIL, "two")
        other = await bench.accepted("joe@example.com", org="other")

        async def found(**filters: object) -> list[str]:
            return [change.id for change in await bench.lookup.changes(**filters)]  # type: ignore[arg-type]

        assert sorted(await found()) == sorted([old.id, new.id, other.id])
        assert await found(user="Jane@Example.COM") == [new.id, old.id]
        assert await found(user=UUID) == [old.id]
        assert await found(org="other") == [other.id]
        assert await found(states=[State.PENDING], org="default") == [new.id]
        assert sorted(await found(since=NOW + 10)) == sorted([new.id, other.id])
        assert await found(user=EMAIL, states=[State.APPLIED, State.REFUSED], since=NOW) == [old.id]
        assert await found(user="nobody") == []

    run(body)


def test_a_uuid_is_looked_for_as_it_was_sent_and_in_lower_case(bench: Bench) -> None:
    """An org of Genesys Cloud keeps it in lower case, another target's as it was sent."""
    lower, upper = "abcdefab-cdef-abcd-efab-cdefabcdefab", "ABCDEFAB-CDEF-ABCD-EFAB-CDEFABCDEFAB"

    async def body() -> None:
        kept = await bench.delivered(await bench.accepted(lower), lower)
        bench.now += 1
        as_sent = await bench.accepted(upper, org="other")
        named = await bench.delivered(await bench.accepted(EMAIL, org="other"), upper)
        assert [change.id for change in await bench.lookup.changes(user=upper, org="default")] == [kept.id]
        found = await bench.lookup.changes(user=upper, org="other")
        assert {change.id for change in found} == {as_sent.id, named.id}

    run(body)


def test_a_name_that_was_resolved_stands_for_its_account(bench: Bench) -> None:
    """Its changes by id, as all are that come through SCIM, and by another name; in its org alone."""

    async def body() -> None:
        async def found(user: str, org: str | None = None) -> list[str]:
            return [change.id for change in await bench.lookup.changes(user=user, org=org)]

        by_name = await bench.delivered(await bench.accepted(EMAIL))
        bench.now += 1
        by_id = await bench.accepted(UUID)
        assert await found(EMAIL) == [by_id.id, by_name.id]
        await bench.delivered(by_id)
        bench.now += 1
        renamed = await bench.delivered(await bench.accepted("jane.doe@example.com"))
        bench.now += 1
        waits = await bench.accepted("jane.doe@example.com", "two")
        mine = [waits.id, renamed.id, by_id.id, by_name.id]
        await bench.accepted(UUID, org="other")
        await bench.accepted("joe@example.com")
        assert await found("JANE@example.com") == mine
        assert await found("JANE@example.com", "default") == mine
        assert await found(EMAIL, "other") == []

    run(body)


def test_a_name_that_another_user_got_does_not_bring_that_ones_changes(bench: Bench) -> None:
    """Those of the name itself are listed, whoever they were for, but not by way of a third name."""

    async def body() -> None:
        first = await bench.delivered(await bench.accepted("jane.doe@example.com"), "another-id")
        bench.now += 1
        second = await bench.delivered(await bench.accepted("jane.doe@example.com", "two"))
        bench.now += 1
        third = await bench.delivered(await bench.accepted(EMAIL, "three"))
        found = await bench.lookup.changes(user=EMAIL)
        assert [change.id for change in found] == [third.id, second.id]
        found = await bench.lookup.changes(user="jane.doe@example.com")
        assert [change.id for change in found] == [third.id, second.id, first.id]

    run(body)


def test_an_operator_retries_what_waits(bench: Bench) -> None:
    """Pending and parked changes become due at once, under their password; the act is in the audit trail."""

    async def body() -> None:
        parked = await bench.parked(await bench.accepted(EMAIL))
        bench.now += 5
        done = await bench.lookup.operate(parked.id, "retry", "operator:ann", bench.now)
        assert done is not None
        assert (done.state, done.next_attempt_at, done.sealed) == (State.PENDING, NOW + 5, sealed("one"))
        assert await bench.get(parked.id) == done
        assert (await bench.records())[-1] == "retry"
        assert (await bench.audit.links("default", 0, 10))[-1].record.actor == "operator:ann"

    run(body)


def test_an_operator_cancels_what_waits(bench: Bench) -> None:
    """A cancelled change is erased and over."""

    async def body() -> None:
        for change in (await bench.accepted(), await bench.parked(await bench.accepted(EMAIL))):
            done = await bench.lookup.operate(change.id, "cancel", "operator:ann", NOW)
            assert done is not None
            assert (done.state, done.sealed, done.next_attempt_at) == (State.CANCELLED, None, None)
            assert (await bench.records())[-1] == "cancel"
        assert await bench.accepts.backlog("default", 1000) == 0

    run(body)


@pytest.mark.parametrize("end", ["cancelled", "cancelled after a newer one", "expired"])
def test_after_an_end_in_doubt_nobody_claims_to_know_the_password(bench: Bench, end: str) -> None:
    """A write may have been executed: the change says so, and the verifier of the one before is dropped."""

    async def body() -> None:
        await bench.delivered(await bench.accepted(), verifier=sealed("v"))
        last = await bench.begun(await bench.accepted(password="two"))
        again = Next(State.PENDING, NOW + 20, keep_doubt=True)
        await bench.delivery.settle(last, Outcome(Kind.UNKNOWN, "no.answer"), again, NOW)
        if end == "cancelled after a newer one":
            bench.now += 1
            last = await bench.accepted(password="three")
            assert (await bench.delivery.resolve(last.id, UUID, NOW)).change is not None
        if end == "expired":
            assert await bench.delivery.expire("default", last.expires_at) == 1
        else:
            await bench.lookup.operate(last.id, "cancel", "operator:ann", NOW)
        done = await bench.get(last.id)
        assert done.error is not None
        assert (done.error.code, "may have arrived" in done.error.message) == (end.partition(" ")[0], True)
        delivered = await bench.lookup.delivered("default", Reference("id", UUID))
        assert delivered is not None
        assert delivered.verifier is None

    run(body)


def test_an_end_without_a_doubt_keeps_what_is_known(bench: Bench) -> None:
    """Nothing was sent: the password delivered before is the one that the target has."""

    async def body() -> None:
        await bench.delivered(await bench.accepted(), verifier=sealed("v"))
        change = await bench.accepted(password="two")
        assert (await bench.delivery.resolve(change.id, UUID, NOW)).change is not None
        await bench.lookup.operate(change.id, "cancel", "operator:ann", NOW)
        done, delivered = (
            await bench.get(change.id),
            await bench.lookup.delivered("default", Reference("id", UUID)),
        )
        assert done.error is not None
        assert (done.error.message, delivered and delivered.verifier) == (
            "An operator cancelled the change.",
            sealed("v"),
        )

    run(body)


def test_what_was_parked_goes_with_peoples_changes_once_an_operator_retries_it(bench: Bench) -> None:
    """Somebody waits for it now."""

    async def body() -> None:
        parked = await bench.parked(await bench.accepted(EMAIL))
        assert parked.bulk
        done = await bench.lookup.operate(parked.id, "retry", "operator:ann", NOW)
        assert done is not None
        assert not done.bulk
        assert not (await bench.get(parked.id)).bulk

    run(body)


@pytest.mark.parametrize("act", ["retry", "cancel"])
def test_nothing_else_can_be_operated_on(bench: Bench, act: str) -> None:
    """What is being sent or has ended says so, is left as it was, and no act is recorded; unknown is None."""

    async def body() -> None:
        sending = await bench.begun(await bench.accepted())
        with pytest.raises(NotNow, match="delivering"):
            await bench.lookup.operate(sending.id, act, "operator:ann", NOW)
        done = await bench.delivery.settle(sending, APPLIED, CONFIRMED, NOW)
        with pytest.raises(NotNow, match="applied"):
            await bench.lookup.operate(sending.id, act, "operator:ann", NOW)
        assert await bench.get(sending.id) == done
        assert await bench.records() == ["accepted", "attempt", "outcome"]
        assert await bench.lookup.operate("nothing", act, "operator:ann", NOW) is None

    run(body)


def test_what_was_delivered_is_found_under_every_reference(bench: Bench) -> None:
    """By the id, or by the userName in any case once it was resolved; not in another org."""

    async def body() -> None:
        change = await bench.delivered(await bench.accepted(EMAIL), verifier=sealed("v"))
        for user in (Reference("id", UUID), Reference("userName", EMAIL.upper())):
            found = await bench.lookup.delivered("default", user)
            assert found is not None
            assert (found.change_id, found.resolved_id) == (change.id, UUID)
        assert await bench.lookup.delivered("other", Reference("id", UUID)) is None
        assert await bench.lookup.delivered("default", Reference("userName", "joe@example.com")) is None

    run(body)


def test_keys_that_are_still_needed_are_known(bench: Bench) -> None:
    """Ids of the keys of live passwords and of verifiers; an erased password needs none."""

    async def body() -> None:
        def under(key: int) -> bytes:
            return bytes([1]) + bytes([key] * 8) + b"the rest"

        one = await bench.accepted(EMAIL)
        assert await bench.lookup.key_ids() == {bytes(range(8)).hex()}
        await bench.delivered(one, verifier=under(7))
        assert await bench.lookup.key_ids() == {bytes([7] * 8).hex()}

    run(body)
