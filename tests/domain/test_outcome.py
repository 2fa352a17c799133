"""What becomes of a change after a try."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.change import LIVE, Change, Doubt, Evidence, Reference, State, check_transition
from passferry.domain.messages import MESSAGES
from passferry.domain.outcome import Kind, Limits, Next, Outcome, backoff, decide

NOW = 1_800_000_000.0
DAY = 86_400.0
LIMITS = Limits()
CHANGE = Change(
    "c", "default", 7, Reference("id", "u"), "portal", State.DELIVERING, NOW - 60, NOW - 60, NOW + DAY
)
DOUBT = Doubt(NOW - 30, "41", 1)
IN_DOUBT = replace(CHANGE, attempts=1, doubt=DOUBT)


def after(
    outcome: Outcome, change: Change = CHANGE, limits: Limits = LIMITS, version: str | None = None
) -> Next:
    """The next state, nothing drawn."""
    return decide(change, outcome, NOW, limits, 0.0, version)


def code(nxt: Next) -> str | None:
    """The code with which a change ends up."""
    return nxt.error.code if nxt.error else None


def test_success_is_confirmed() -> None:
    """A write that the target confirms is applied, confirmed, with no error, earlier doubt or not."""
    for change in (CHANGE, IN_DOUBT):
        assert after(Outcome(Kind.APPLIED), change) == Next(State.APPLIED, evidence=Evidence.CONFIRMED)


@pytest.mark.parametrize("kind", [Kind.THROTTLED, Kind.ORG_DOWN, Kind.BLOCKED, Kind.HELD])
def test_waiting_is_no_attempt(kind: Kind) -> None:
    """Quota, Retry-After, a paused org, and a user who is not there use up no attempt, however often."""
    tired = replace(CHANGE, attempts=LIMITS.attempts + 5)
    nxt = after(Outcome(kind, "invalid_client", retry_after=5.0), tired)
    assert not nxt.counts
    assert code(nxt) == "invalid_client"


@pytest.mark.parametrize("refusal", ["missing.any.permissions", "authz.policy.denied", "not.authorized"])
def test_what_may_be_forbidden_for_one_user_only_is_asked_ever_less_often(refusal: str) -> None:
    """An administrator whom nobody may edit does not eat the quota of everybody else."""
    first = after(Outcome(Kind.ORG_DOWN, refusal))
    assert first.counts
    later = after(Outcome(Kind.ORG_DOWN, refusal), replace(CHANGE, attempts=20))
    assert later.at is not None
    assert later.at - NOW >= LIMITS.longest_backoff / 2


@pytest.mark.parametrize(
    "kind", [Kind.UNAVAILABLE, Kind.NOT_NOW, Kind.CONFLICT, Kind.UNAUTHORIZED, Kind.UNKNOWN]
)
def test_attempts_are_bounded(kind: Kind) -> None:
    """The last attempt that is allowed and fails parks the change, for a person to look at."""
    before, last = (
        replace(CHANGE, attempts=LIMITS.attempts - 2),
        replace(CHANGE, attempts=LIMITS.attempts - 1),
    )
    assert after(Outcome(kind), before).state is State.PENDING
    nxt = after(Outcome(kind), last)
    assert (nxt.state, nxt.at, code(nxt)) == (State.PARKED, None, "attempts.exhausted")
    assert nxt.keep_doubt == (kind is Kind.UNKNOWN)


@given(
    st.floats(0, 1, exclude_max=True), st.sampled_from([Kind.UNAVAILABLE, Kind.UNKNOWN, Kind.UNAUTHORIZED])
)
def test_a_target_that_is_down_for_days_parks_nothing(random: float, kind: Kind) -> None:
    """However the waits are drawn, the attempts that are allowed last longer than the time to live."""
    now, change = NOW, replace(CHANGE, expires_at=NOW + 3 * DAY)
    while now < change.expires_at:
        nxt = decide(change, Outcome(kind), now, LIMITS, random)
        assert nxt.state is State.PENDING
        assert nxt.at is not None
        now, change = nxt.at, replace(change, attempts=change.attempts + 1)


def test_throttling_waits_exactly_as_told() -> None:
    """A throttled change is due again when the target said."""
    assert after(Outcome(Kind.THROTTLED, "too.many.requests", retry_after=181.0)).at == NOW + 181


def test_an_unavailable_target_is_asked_again_when_it_said_or_later() -> None:
    """Retry-After of a failing target is obeyed, and a short one does not defeat the backoff."""
    assert after(Outcome(Kind.UNAVAILABLE, retry_after=3000.0)).at == NOW + 3000
    tired = replace(CHANGE, attempts=50)
    assert after(Outcome(Kind.UNAVAILABLE, retry_after=1.0), tired).at == NOW + LIMITS.longest_backoff / 2


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_grows(attempts: int, one: float, two: float) -> None:
    """Each wait lies in the upper half of a ceiling that never shrinks and never passes the longest wait."""
    wait, highest = backoff(attempts, LIMITS, one), backoff(attempts, LIMITS, 1.0)
    assert highest / 2 <= wait <= highest <= LIMITS.longest_backoff
    assert highest <= backoff(attempts + 1, LIMITS, 1.0)
    assert (wait < backoff(attempts, LIMITS, two)) <= (one < two)
    assert highest == min(LIMITS.longest_backoff, LIMITS.first_backoff * 2 ** min(attempts, 40))


@pytest.mark.parametrize("told", [None, 1.0, 500.0])
def test_a_lost_answer_blocks_for_twice_the_request_limit(told: float | None) -> None:
    """After a send without an answer the next try is at least twice the request limit away, and in doubt."""
    limits = Limits(request=7.0)
    nxt = after(Outcome(Kind.UNKNOWN, "no.answer", retry_after=told), limits=limits)
    assert (nxt.state, nxt.keep_doubt) == (State.PENDING, True)
    assert nxt.at == NOW + max(14.0, told or 0.0)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNKNOWN])
def test_only_a_lost_answer_leaves_a_doubt(kind: Kind) -> None:
    """Every outcome but ``unknown`` says what this send did."""
    assert not after(Outcome(kind, "x")).keep_doubt


def test_a_refusal_without_doubt_ends_the_change_with_its_code() -> None:
    """The target's no is final; without a code it gets one of ours."""
    assert after(Outcome(Kind.REFUSED, "password.reused", "id-1")) == Next(
        State.REFUSED, error=after(Outcome(Kind.REFUSED, "password.reused", "id-1")).error
    )
    assert code(after(Outcome(Kind.REFUSED, "password.reused"))) == "password.reused"
    assert code(after(Outcome(Kind.REFUSED))) == "refused"


@pytest.mark.parametrize(
    ("before", "read", "state", "expected"),
    [
        ("41", "42", State.APPLIED, None),
        ("41", "41", State.PARKED, "outcome.unknown"),
        ("41", None, State.PARKED, "outcome.unknown"),
        (None, "42", State.PARKED, "outcome.unknown"),
        (None, None, State.PARKED, "outcome.unknown"),
    ],
)
def test_reused_after_a_lost_answer(
    before: str | None, read: str | None, state: State, expected: str | None
) -> None:
    """``password.reused`` proves the lost write only when both versions are known and differ."""
    change = replace(IN_DOUBT, doubt=replace(DOUBT, version=before))
    nxt = after(Outcome(Kind.REFUSED, "password.reused", "id-1"), change, version=read)
    assert (nxt.state, code(nxt)) == (state, expected)
    assert nxt.evidence is (Evidence.INFERRED if state is State.APPLIED else None)


@pytest.mark.parametrize(
    ("refusal", "state", "expected"),
    [
        ("", State.PARKED, "outcome.unknown"),
        ("invalidValue", State.PARKED, "outcome.unknown"),
        ("bad.request", State.PARKED, "outcome.unknown"),
        ("password.too.short", State.REFUSED, "password.too.short"),
        ("password.compromised", State.REFUSED, "password.compromised"),
        ("invalid.password", State.REFUSED, "invalid.password"),
        ("invalid.new.password", State.REFUSED, "invalid.new.password"),
    ],
)
def test_other_refusals_after_a_lost_answer(refusal: str, state: State, expected: str) -> None:
    """A refusal that names a rule is final; one that could mean anything leaves the outcome unknown."""
    nxt = after(Outcome(Kind.REFUSED, refusal), IN_DOUBT, version="42")
    assert (nxt.state, code(nxt)) == (state, expected)


def young(set_at: float, age: float) -> Outcome:
    """The target's answer for a password set at ``set_at`` under a minimum age of ``age`` seconds."""
    return Outcome(Kind.NOT_NOW, "password.too.young", not_before=set_at + age)


@pytest.mark.parametrize("offset", [-2.0, -1.0, 0.0, 5.0, 10.0, 12.0])
def test_too_young_since_the_lost_write_is_proof(offset: float) -> None:
    """A password that was set while the lost request may have run is this one: applied, inferred."""
    nxt = after(young(DOUBT.at + offset, 7200), IN_DOUBT, Limits(minimum_age=7200.0))
    assert nxt == Next(State.APPLIED, evidence=Evidence.INFERRED)


@pytest.mark.parametrize(("version", "state"), [("41", State.PENDING), ("42", State.APPLIED)])
def test_too_young_is_no_proof_while_the_version_is_as_before_the_lost_write(
    version: str, state: State
) -> None:
    """One confirmed a second before the lost write makes the password as young; the version tells."""
    nxt = after(young(DOUBT.at - 1.5, 7200), IN_DOUBT, Limits(minimum_age=7200.0), version)
    assert nxt.state is state


@pytest.mark.parametrize("offset", [-7000.0, -3.0, 13.0, 29.0])
def test_too_young_since_another_time_is_no_proof(offset: float) -> None:
    """A password set before or after the lost request is another one: wait until it is old enough."""
    nxt = after(young(DOUBT.at + offset, 7200), IN_DOUBT, Limits(minimum_age=7200.0))
    assert (nxt.state, nxt.at) == (State.PENDING, DOUBT.at + offset + 7200 + 2)


def test_too_young_proves_nothing_without_doubt_or_known_minimum_age() -> None:
    """Both the attempt and the org's minimum age must be known for an inference."""
    assert after(young(DOUBT.at, 7200), CHANGE, Limits(minimum_age=7200.0)).state is State.PENDING
    assert after(young(DOUBT.at, 7200), IN_DOUBT).state is State.PENDING
    untimed = Outcome(Kind.NOT_NOW, "password.too.young")
    assert after(untimed, IN_DOUBT, Limits(minimum_age=7200.0)).at == NOW + LIMITS.look_again


def test_a_clock_that_is_ahead_does_not_try_a_young_password_every_second() -> None:
    """By our clock it is old enough and the target says no: the waits grow, and end in no thousand tries."""
    done = [after(young(NOW - 60, 0), replace(CHANGE, attempts=tries)) for tries in range(30)]
    assert {nxt.state for nxt in done} == {State.PENDING}
    assert done[-1].at is not None
    assert done[-1].at - NOW >= LIMITS.longest_backoff / 2
    future = after(young(NOW, 60))
    assert future.at == NOW + 62


def test_too_young_beyond_the_time_to_live_is_refused() -> None:
    """Who cannot change the password in time is told so at once; one second earlier it waits."""
    last = Outcome(Kind.NOT_NOW, "password.too.young", not_before=CHANGE.expires_at - 3)
    assert after(last).at == CHANGE.expires_at - 1
    nxt = after(replace(last, not_before=CHANGE.expires_at - 2))
    assert (nxt.state, code(nxt)) == (State.REFUSED, "password.too.young")


@pytest.mark.parametrize(
    ("offset", "age", "known", "state"),
    [
        (
            -7000.0,
            2 * DAY,
            2 * DAY,
            State.REFUSED,
        ),  # set long before the lost send: certainly another password
        (20.0, 2 * DAY, 2 * DAY, State.PARKED),  # a later try of ours, or somebody else: nobody knows
        (5.0, 2 * DAY, None, State.PARKED),
    ],
)
def test_too_young_beyond_the_time_to_live_after_a_lost_answer(
    offset: float, age: float, known: float | None, state: State
) -> None:
    """It is refused only if the lost send cannot have caused it; else nobody knows whether it arrived."""
    nxt = after(young(DOUBT.at + offset, age), IN_DOUBT, Limits(minimum_age=known))
    assert nxt.state is state
    assert code(nxt) == ("password.too.young" if state is State.REFUSED else "outcome.unknown")


def test_a_conflict_is_read_again_at_once_a_few_times() -> None:
    """Somebody else's edit costs no wait for the first tries, and never more than a minute."""
    assert [after(Outcome(Kind.CONFLICT), replace(CHANGE, attempts=n)).at for n in range(3)] == [NOW] * 3
    later = [after(Outcome(Kind.CONFLICT), replace(CHANGE, attempts=n)).at or 0.0 for n in (3, 9, 200)]
    assert all(NOW < at <= NOW + 60 for at in later)


def test_who_is_blocked_is_looked_up_hourly_and_who_is_held_is_not() -> None:
    """An unknown or inactive user may come back by itself; a changed identity needs a person."""
    blocked, held = after(Outcome(Kind.BLOCKED, "user.inactive")), after(Outcome(Kind.HELD, "user.changed"))
    assert (blocked.state, blocked.at) == (State.PARKED, NOW + 3600)
    assert (held.state, held.at) == (State.PARKED, None)


STATES = st.sampled_from([State.PENDING, State.DELIVERING, State.PARKED])
OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(list(Kind)),
    st.sampled_from(["", "password.reused", "password.too.young", "invalidValue", "user.unknown"]),
    retry_after=st.none() | st.floats(0, 7 * DAY),
    not_before=st.none() | st.floats(NOW - 30 * DAY, NOW + 30 * DAY),
)
DOUBTS = st.none() | st.builds(
    Doubt, st.floats(NOW - DAY, NOW), st.none() | st.sampled_from(["41", "42"]), st.just(1)
)


@given(OUTCOMES, DOUBTS, st.integers(0, 1100), st.none() | st.just("42"), st.floats(0, 1, exclude_max=True))
def test_every_decision_makes_sense(
    outcome: Outcome, doubt: Doubt | None, attempts: int, version: str | None, random: float
) -> None:
    """Whatever comes together: a legal step, nothing due in the past, evidence exactly with applied, an error
    that has its sentence, and ``inferred`` never without a doubt.
    """
    change = replace(CHANGE, doubt=doubt, attempts=attempts)
    nxt = decide(change, outcome, NOW, Limits(minimum_age=7200.0), random, version)
    check_transition(change.state, nxt.state)
    assert nxt.state is not State.DELIVERING
    assert (nxt.evidence is not None) == (nxt.state is State.APPLIED)
    assert nxt.evidence is not Evidence.INFERRED or doubt is not None
    assert nxt.at is None or (nxt.state in LIVE and nxt.at >= NOW)
    assert (nxt.at is not None) or nxt.state is not State.PENDING
    assert nxt.error is None or nxt.error.code in MESSAGES or nxt.error.code == outcome.code
    assert nxt.error is not None or nxt.state is not State.REFUSED


def test_a_write_that_was_answered_with_another_user_waits_for_a_person_in_doubt() -> None:
    """It is not sent again by itself: it may be another's password that was set."""
    nxt = after(Outcome(Kind.UNKNOWN, "user.changed"))
    assert (nxt.state, nxt.at, nxt.keep_doubt, code(nxt)) == (State.PARKED, None, True, "user.changed")


def test_a_dry_run_waits_an_hour_and_is_no_attempt() -> None:
    """Whatever the number of attempts, and with the sentence that says so."""
    nxt = after(Outcome(Kind.DRY_RUN, "dry.run"), replace(CHANGE, attempts=LIMITS.attempts + 5))
    assert (nxt.state, nxt.counts, code(nxt)) == (State.PENDING, False, "dry.run")
    assert nxt.at == NOW + LIMITS.look_again
