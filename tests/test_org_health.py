"""When an org pauses itself, and how it comes back."""

import math

import pytest

from passferry.domain.change import Change, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.org_health import (
    FIRST_PROBE,
    LONGEST_PROBE,
    NEXT_USER,
    OPERATOR,
    OUTAGES_APART,
    REFUSED_TOKENS,
    SHORT_OUTAGE,
    OrgHealth,
    Outage,
)


def change(user: str) -> Change:
    """A due change of ``user``."""
    return Change(user, "default", 1, Reference("id", user), "s", State.PENDING, 0.0, 0.0, 9.0)


def down(code: str) -> Outcome:
    """The target refuses the org."""
    return Outcome(Kind.ORG_DOWN, code)


@pytest.mark.parametrize("code", ["invalid_client", "token.refused", "ip.not.authorized"])
def test_a_refused_client_pauses_the_org_at_once(code: str) -> None:
    """What cannot be about one user needs no second witness."""
    health = OrgHealth()
    assert health.outcome(down(code), "a", 0.0) == code


@pytest.mark.parametrize("code", ["missing.any.permissions", "authz.policy.denied", "not.authorized"])
def test_a_missing_permission_pauses_when_two_users_meet_it(code: str) -> None:
    """One user may be special, however often; two different ones are the org."""
    health = OrgHealth()
    assert [health.outcome(down(code), "a", 0.0) for _ in range(3)] == [None] * 3
    assert health.outcome(down(code), "b", 0.0) == code


def test_a_success_between_two_users_clears_the_first() -> None:
    """The permission is there: the two refusals have different reasons."""
    health = OrgHealth()
    health.outcome(down("not.authorized"), "a", 0.0)
    health.outcome(Outcome(Kind.APPLIED), "c", 0.0)
    assert health.outcome(down("not.authorized"), "b", 0.0) is None


def test_a_paused_org_is_probed_one_change_at_a_time_ever_less_often() -> None:
    """Nothing before the first probe is due, then one change; each failure doubles the wait up to a bound."""
    health, mono, waits = OrgHealth(), 100.0, []
    health.outcome(down("invalid_client"), "a", mono)
    for _ in range(9):
        wait = health.held_up(mono)
        waits.append(wait)
        assert health.room(64, 0, mono + wait - 0.01) == 0
        mono += wait
        assert health.room(64, 0, mono) == 1
        assert health.room(0, 0, mono) == health.room(64, 1, mono) == 0
        health.outcome(down("invalid_client"), "a", mono)
    assert waits == [min(LONGEST_PROBE, FIRST_PROBE * 2**n) for n in range(9)]


def test_each_probe_takes_another_user_than_the_last() -> None:
    """One bad user at the head of the line cannot keep an org paused."""
    health = OrgHealth()
    due = [change("a"), change("b"), change("c")]
    assert list(health.choose(due)) == due
    health.outcome(down("invalid_client"), due[0].user.key, 0.0)
    assert [one.id for one in health.choose(due)] == ["b", "c", "a"]
    health.outcome(Outcome(Kind.UNAVAILABLE), due[1].user.key, FIRST_PROBE)
    assert next(iter(health.choose(due))).id == "a"


@pytest.mark.parametrize("kind", [Kind.APPLIED, Kind.REFUSED, Kind.NOT_NOW, Kind.CONFLICT, Kind.BLOCKED])
def test_an_answer_about_a_user_ends_the_pause(kind: Kind) -> None:
    """The target talks to us again: everybody goes on, and a later pause starts with the short wait."""
    health = OrgHealth()
    for at in (0.0, 100.0, 200.0):
        health.outcome(down("invalid_client"), "a", at)
    assert health.outcome(Outcome(kind), "b", 300.0) is None
    assert health.room(64, 3, 300.0) == 64
    assert health.held_up(300.0) == 0.0
    health.outcome(down("invalid_client"), "a", 400.0)
    assert health.held_up(400.0) == FIRST_PROBE


@pytest.mark.parametrize("kind", [Kind.THROTTLED, Kind.UNAVAILABLE, Kind.UNKNOWN, Kind.UNAUTHORIZED])
def test_no_answer_neither_pauses_nor_resumes(kind: Kind) -> None:
    """A busy or broken network says nothing about permissions; while paused the next probe is put off."""
    health = OrgHealth()
    assert health.outcome(Outcome(kind), "a", 0.0) is None
    health.outcome(down("invalid_client"), "a", 0.0)
    assert health.outcome(Outcome(kind), "b", FIRST_PROBE) == "invalid_client"
    assert health.held_up(FIRST_PROBE) == FIRST_PROBE * 2


def test_an_operators_pause_is_ended_by_operators_only() -> None:
    """Nothing is sent, not even a probe, and no outcome of what was under way changes that."""
    health = OrgHealth()
    health.told(OPERATOR, 0.0)
    assert health.room(64, 0, 1e9) == 0
    assert health.held_up(1e9) == math.inf
    assert health.outcome(Outcome(Kind.APPLIED), "a", 1.0) == OPERATOR
    assert health.outcome(down("invalid_client"), "a", 1.0) == OPERATOR
    health.told(None, 2.0)
    assert health.room(64, 0, 2.0) == 64


def test_a_pause_found_at_start_is_probed_at_once() -> None:
    """A new owner need not wait out what another one waited for."""
    health = OrgHealth()
    health.told("invalid_client", 50.0)
    assert health.room(64, 0, 50.0) == 1
    health.told("invalid_client", 60.0)  # the same news again does not reset anything
    health.outcome(down("invalid_client"), "a", 60.0)
    health.told("invalid_client", 61.0)
    assert health.room(64, 0, 61.0) == 0


def test_writes_that_answer_401_again_and_again_pause_the_org() -> None:
    """Reads may go on working: each new token would only be fetched to be refused."""
    health = OrgHealth()
    answers = [health.outcome(Outcome(Kind.UNAUTHORIZED), f"n:{n}", float(n)) for n in range(REFUSED_TOKENS)]
    assert answers == [None] * (REFUSED_TOKENS - 1) + ["bad.credentials"]
    assert health.room(10, 0, REFUSED_TOKENS + FIRST_PROBE) == 1


def test_a_success_forgets_refused_tokens() -> None:
    """Tokens that die early, now and then, are no reason to pause."""
    health = OrgHealth()
    for n in range(10 * REFUSED_TOKENS):
        kind = Kind.APPLIED if n % 3 == 0 else Kind.UNAUTHORIZED
        assert health.outcome(Outcome(kind), "n:a", float(n)) is None


def test_what_was_under_way_when_the_org_paused_does_not_put_off_the_probe() -> None:
    """Sixty-four changes in flight meet the same refusal; the first probe comes as soon as after one."""
    health = OrgHealth()
    for n in range(64):
        health.outcome(down("invalid_client"), f"n:{n}", 100.0 + n / 1000)
    assert health.held_up(100.0) == FIRST_PROBE


@pytest.mark.parametrize("code", ["user.busy", "user.lookup", "intent.stale", "key.missing"])
def test_a_probe_that_asked_nothing_puts_nothing_off(code: str) -> None:
    """Its user had to wait for something of ours: another is tried soon, and the wait does not grow."""
    health = OrgHealth()
    health.outcome(down("invalid_client"), "a", 0.0)
    mono = health.held_up(0.0)
    health.outcome(Outcome(Kind.THROTTLED, code), "i:b", mono)
    assert health.held_up(mono) == NEXT_USER
    assert [one.id for one in health.choose([change("b"), change("c")])] == ["c", "b"]
    mono += NEXT_USER
    health.outcome(down("invalid_client"), "c", mono)
    assert health.held_up(mono) == FIRST_PROBE * 2


# --- outages ---------------------------------------------------------------------------------

GONE = Outcome(Kind.UNAVAILABLE, "target.unavailable")
LOST = Outcome(Kind.UNKNOWN, "no.answer")
SUCCESS = Outcome(Kind.APPLIED)


def test_the_first_success_after_an_outage_wakes_who_waited_for_its_reasons() -> None:
    """Once: the next success ends nothing."""
    outage = Outage()
    assert not outage.outcome(GONE, 0.0)
    assert not outage.outcome(LOST, 1.0)
    assert not outage.outcome(
        Outcome(Kind.BLOCKED, "user.inactive"), SHORT_OUTAGE
    )  # reads say little of writes
    assert outage.outcome(SUCCESS, SHORT_OUTAGE) == {"target.unavailable", "no.answer"}
    assert not outage.outcome(SUCCESS, 2 * SHORT_OUTAGE)


def test_a_short_outage_wakes_nobody() -> None:
    """Who met it waits for a few seconds only; a success in between begins the count anew."""
    outage = Outage()
    for at in range(0, 10 * int(SHORT_OUTAGE), int(SHORT_OUTAGE) - 1):
        assert not outage.outcome(GONE, float(at))
        assert not outage.outcome(SUCCESS, at + SHORT_OUTAGE - 1.5)


def test_users_who_always_fail_are_woken_a_few_times_an_hour_only() -> None:
    """A success every other minute must not have them tried every other minute."""
    outage, woken = Outage(), 0
    for minute in range(0, 60, 2):
        outage.outcome(GONE, minute * 60.0)
        woken += bool(outage.outcome(SUCCESS, minute * 60.0 + SHORT_OUTAGE))
    assert woken == 3600 / OUTAGES_APART
