"""Whether a change is taken."""

from dataclasses import replace

import pytest

from passferry.domain.accepting import (
    Accepted,
    KeyReused,
    NewChange,
    Remembered,
    Replayed,
    Stale,
    UserRow,
    Verdict,
    judge,
)
from passferry.domain.change import Change, Reference, State

NOW = 1_800_000_000.0
USER = Reference("id", "u")
ITEM = NewChange("new", "default", USER, "portal", b"sealed", NOW, NOW + 100)
LIVE = Change(
    "live", "default", 1, USER, "portal", State.PENDING, NOW - 9, NOW - 9, NOW + 100, sealed=b"sealed"
)
SAME = replace(ITEM, same=lambda live: True)


def test_the_first_change_of_a_user_is_accepted_whatever_its_time() -> None:
    """Nothing known, nothing to compare with."""
    assert judge(ITEM, None, None, None) == Accepted(None)
    assert judge(replace(ITEM, changed_at=0.0), None, None, None) == Accepted(None)


def test_another_password_supersedes_the_live_one() -> None:
    """The verdict names what it replaces."""
    assert judge(ITEM, UserRow(1, NOW - 9, "portal", NOW - 9), LIVE, None) == Accepted(LIVE)


@pytest.mark.parametrize("state", [State.PENDING, State.DELIVERING, State.PARKED])
def test_the_live_password_again_is_its_change(state: State) -> None:
    """A replay makes no second change, from whichever source it comes."""
    live = replace(LIVE, state=state)
    assert judge(SAME, None, live, None) == Replayed("live")
    assert judge(replace(SAME, source="hr"), None, live, None) == Replayed("live")


def test_a_person_does_not_wait_as_long_as_bulk() -> None:
    """The same password is a change of its own where the live one waits in bulk; bulk again is a replay."""
    live = replace(LIVE, bulk=True)
    assert judge(SAME, None, live, None) == Accepted(live)
    assert judge(replace(SAME, bulk=True), None, live, None) == Replayed("live")
    sent = replace(live, state=State.DELIVERING)
    assert judge(SAME, None, sent, None) == Replayed("live")


def test_an_erased_password_is_never_compared() -> None:
    """A live change without its sealed copy is no longer the newest: it is replaced."""
    gone = replace(LIVE, sealed=None)
    assert judge(SAME, None, gone, None) == Accepted(gone)


@pytest.mark.parametrize(
    ("seconds", "source", "verdict"),
    [
        (0.0, "portal", Accepted(None)),
        (0.001, "portal", Stale()),
        (299.0, "portal", Stale()),
        (-5.0, "portal", Accepted(None)),
        (0.001, "hr", Accepted(None)),
        (299.999, "hr", Accepted(None)),
        (300.0, "hr", Stale()),
        (9e9, "hr", Stale()),
    ],
)
def test_an_earlier_change_comes_too_late(seconds: float, source: str, verdict: Verdict) -> None:
    """By any time within one source; between two, differences under 5 minutes are ignored."""
    item = replace(ITEM, changed_at=NOW - seconds)
    assert judge(item, UserRow(1, NOW, source, NOW), None, None) == verdict


def test_a_change_without_a_time_is_never_too_old() -> None:
    """Accept order decides; the time can only refuse."""
    assert judge(ITEM, UserRow(1, NOW + 9e9, "portal", NOW + 9e9), None, None) == Accepted(None)


@pytest.mark.parametrize(
    ("newest_at", "verdict"),
    [
        (NOW - 5.001, Accepted(None)),
        (NOW - 5, Accepted(None)),
        (NOW - 4.999, Stale()),
        (NOW, Stale()),
        (NOW + 0.001, Accepted(None)),
    ],
)
def test_a_change_that_was_held_up_and_overtaken_comes_too_late(newest_at: float, verdict: Verdict) -> None:
    """From any source; what is later than now only says that the clock was put back."""
    item = replace(ITEM, arrived_at=NOW - 5)
    for source in ("portal", "hr"):
        assert judge(item, UserRow(1, newest_at, source, newest_at), None, None) == verdict
    told = replace(item, changed_at=NOW)
    assert judge(told, UserRow(1, NOW - 1, "hr", NOW - 1), None, None) == Accepted(None)


def test_a_stale_replay_is_stale() -> None:
    """The live password under an older time: the newest accepted change is what counts."""
    item = replace(SAME, changed_at=NOW - 1)
    assert judge(item, UserRow(1, NOW, "portal", NOW), LIVE, None) == Stale()


def test_an_idempotency_key_comes_before_everything_else() -> None:
    """The same request is the same change even when it is stale by now; another body is refused."""
    user = UserRow(9, NOW + 9e9, "portal", NOW + 9e9)
    item = replace(SAME, idempotency_key="k", body_mac=b"mac", changed_at=NOW)
    assert judge(item, user, LIVE, Remembered(b"mac", "first")) == Replayed("first")
    assert judge(item, user, LIVE, Remembered(b"other", "first")) == KeyReused()
