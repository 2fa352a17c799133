import os
import time
from pathlib import Path
from typing import Any

import pytest

from hook_fakes import PUBLIC, FakeGateway, Reply, Taken
from passferry.domain.password import Password
from passferry.hooks.gateway import SET_BACK, TIME_TO_LIVE, Gateway, SourceChange, Verdict, rfc3339
from passferry.hooks.public_key import OLD_SECONDS, PublicKey
from passferry.hooks.verdicts import UNCHECKED

GOOD = "Correct-Horse-9"
NOW = 1_795_000_000.0


class Clock:
    """Epoch time that is put forward and back; the other one only passes."""

    def __init__(self) -> None:
        self.at, self.beside = NOW, 1000.0

    def now(self) -> float:
        return self.at

    def passes(self, seconds: float, *, back: float = 0.0) -> None:
        """``back``: meanwhile it is set back by so much."""
        self.beside += seconds
        self.at += seconds - back


def hook(fake: FakeGateway, folder: Path, clock: Clock | None = None, **more: Any) -> Gateway:
    """The hook's side, which knows the gateway's public key."""
    made = Gateway(fake.settings(folder, **more), (clock or Clock()).now)
    made.spool.check()
    made.public_key.keep(PublicKey(PUBLIC))
    return made


def change(
    password: str = GOOD, key: str = "k1", at: float | None = None, user: str = "jane", age: float = 0.0
) -> SourceChange:
    """A change of jane."""
    return SourceChange(user, Password(password), at, key, age)


def test_a_push_is_handed_over_as_it_is(fake: FakeGateway, tmp_path: Path) -> None:
    """User, exact password and key arrive, with the source's time or else the hook's; the org in the path."""
    gateway = hook(fake, tmp_path)
    text = " Pä\u0308ß \U0001f600'\"\\$ "
    assert gateway.push(change(text)).verdict is Verdict.ACCEPTED
    assert gateway.push(change(at=NOW - 5)).verdict is Verdict.ACCEPTED
    assert hook(fake, tmp_path, org="emea").push(change(key="k2")).verdict is Verdict.ACCEPTED
    first, second, third = fake.taken
    assert first == Taken("jane", text, rfc3339(NOW), "k1", False, "/sync/password")
    assert second.changed_at == rfc3339(NOW - 5)
    assert third.path == "/orgs/emea/sync/password"
    assert gateway.spool.waiting() == []


def test_while_the_gateway_is_away_a_push_is_sealed_and_handed_over_later(
    fake: FakeGateway, tmp_path: Path
) -> None:
    """Two changes in quick succession wait, with their times; the next push takes them along in order."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock, org="emea")
    gateway._monotonic = lambda: clock.beside
    fake.go()
    assert gateway.push(change("First-Horse-1", "k1")).verdict is Verdict.SPOOLED
    clock.at += 0.001
    assert gateway.push(change("Second-Horse-2", "k2")).verdict is Verdict.SPOOLED
    for letter in gateway.spool.waiting():
        assert b"Horse" not in letter.path.read_bytes()
    fake.come()
    clock.at += 60
    assert gateway.push(change("Third-Horse-3", "k3")).verdict is Verdict.ACCEPTED
    assert [(each.password, each.key, each.changed_at, each.sealed) for each in fake.taken] == [
        ("First-Horse-1", "k1", rfc3339(NOW), True),
        ("Second-Horse-2", "k2", rfc3339(NOW + 0.001), True),
        ("Third-Horse-3", "k3", rfc3339(NOW + 60.001), True),
    ]
    assert gateway.spool.is_empty()


def test_a_known_time_is_what_a_letter_carries(fake: FakeGateway, tmp_path: Path) -> None:
    """A source's own time goes before the time of the call."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(at=NOW - 500.0))
    fake.come()
    assert gateway.flush(5).accepted == 1
    assert fake.taken[0].changed_at == rfc3339(NOW - 500.0)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_an_answer_that_passes_is_as_being_away(fake: FakeGateway, tmp_path: Path, status: int) -> None:
    """The password is kept until an operator or time has mended it."""
    gateway = hook(fake, tmp_path)
    fake.instead = status, {"success": False, "code": "x.y"}
    answer = gateway.push(change())
    assert answer.verdict is Verdict.SPOOLED
    assert str(status) in answer.why
    flushed = gateway.flush(5)
    assert (flushed.left, flushed.accepted) == (1, 0)
    assert str(status) in flushed.why
    fake.instead = None
    assert gateway.flush(5).accepted == 1


def test_an_answer_that_was_lost_is_not_a_second_change(fake: FakeGateway, tmp_path: Path) -> None:
    """Taken, but the answer came too late: the letter has the same key, and 409 settles it."""
    gateway = hook(fake, tmp_path, seconds=0.3)

    def late(taken: Taken) -> None:
        fake.taken.append(taken)
        time.sleep(0.6)

    fake.answer = late
    assert gateway.push(change()).verdict is Verdict.SPOOLED
    fake.answer = lambda taken: (409, {"success": False, "code": "idempotency.key.reused"})
    flushed = gateway.flush(5)
    assert (flushed.older, flushed.left) == (1, 0)
    assert {each.key for each in fake.taken} == {"k1"}


def test_older_and_refused_letters_are_settled(fake: FakeGateway, tmp_path: Path) -> None:
    """409 and 400 drop the file: an old letter never comes again."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(key="old"))
    gateway.push(change(key="bad"))
    fake.come()
    answers = {"old": (409, {"code": "change.stale"}), "bad": (400, {"code": "policy", "message": "No."})}
    fake.answer = lambda taken: answers[taken.key]
    flushed = gateway.flush(5)
    assert (flushed.older, flushed.refused, flushed.left) == (1, 1, 0)


def test_a_push_behind_others_learns_its_own_verdict(fake: FakeGateway, tmp_path: Path) -> None:
    """What the gateway says of the letter of this very push is what the source is told."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(key="first"))
    fake.come()
    fake.answer = lambda taken: (
        (400, {"code": "policy", "message": "Too weak."}) if taken.key == "mine" else None
    )
    answer = gateway.push(change(key="mine"))
    assert (answer.verdict, answer.message) == (Verdict.REFUSED, "Too weak.")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "org.forbidden"), (500, "internal.error"), (400, "user.invalid")]
)
def test_what_is_wrong_with_one_letter_holds_up_no_other(
    fake: FakeGateway, tmp_path: Path, status: int, code: str
) -> None:
    """A former org, a defect, a template that was forgotten: the letter stays, and the one behind it goes."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(key="k1"))
    gateway.push(change(key="k2"))
    fake.come()
    fake.answer = lambda taken: (status, {"code": code}) if taken.key == "k1" else None
    flushed = gateway.flush(5)
    assert (flushed.accepted, flushed.refused, flushed.left) == (1, 0, 1)
    assert [each.key for each in fake.taken] == ["k2"]


def test_letters_that_the_gateway_did_not_take_come_last(fake: FakeGateway, tmp_path: Path) -> None:
    """Any number of them, tried first, would leave no time for a new one; another process knows it, too."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(key="k1"))
    fake.come()
    tried: list[str] = []

    def answer(taken: Taken) -> Reply | None:
        tried.append(taken.key)
        return (403, {"code": "org.forbidden"}) if taken.key == "k1" else None

    fake.answer = answer
    gateway.flush(5)
    assert hook(fake, tmp_path).push(change(key="k2")).verdict is Verdict.ACCEPTED
    assert tried == ["k1", "k2", "k1"]


def test_letters_to_an_unknown_key_stay_and_hold_up_nobody(fake: FakeGateway, tmp_path: Path) -> None:
    """They are kept until their time to live is over, then set aside, and told."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    fake.go()
    gateway.push(change(key="k1"))
    fake.private = bytes(range(32))
    fake.come()
    flushed = gateway.flush(5)
    assert (flushed.left, flushed.set_aside) == (1, 0)
    assert "sealed.key.unknown" in flushed.why
    gateway.refresh_key(time.monotonic() + 5, force=True)
    answer = gateway.push(change(key="k2"))
    assert answer.verdict is Verdict.ACCEPTED
    clock.at += TIME_TO_LIVE + 1
    flushed = gateway.flush(5)
    assert (flushed.left, flushed.set_aside) == (0, 1)
    assert len(gateway.spool.aside()) == 1


def test_a_letter_is_tried_before_it_is_too_old(fake: FakeGateway, tmp_path: Path) -> None:
    """After an outage of days, or a clock that jumped, nobody has asked the gateway about it yet."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    fake.go()
    gateway.push(change())
    clock.at += 100 * TIME_TO_LIVE
    assert (gateway.flush(5).left, len(gateway.spool.aside())) == (1, 0)
    fake.come()
    assert gateway.flush(5).accepted == 1


def test_a_letter_that_ends_untaken_is_in_the_log(
    fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hands it over: its file's name and why, and nothing of what is in it."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    gateway = hook(fake, tmp_path)
    fake.go()
    for key in ("stale", "weak", "broken", "good"):
        gateway.push(change(key=key))
    names = [each.path.name for each in gateway.spool.waiting()]
    fake.come()
    answers = {
        "stale": (409, {"code": "change.stale"}),
        "weak": (400, {"code": "policy", "message": "jane's is too weak."}),
        "broken": (400, {"code": "sealed.broken"}),
    }
    fake.answer = lambda taken: answers.get(taken.key)
    gateway.flush(5)
    assert told == [
        f"spool: {names[0]}: older (409 change.stale)",
        f"spool: {names[1]}: refused (400 policy)",
        f"spool: {names[2]}: set aside (the gateway answered 400 sealed.broken)",
    ]


def test_sealing_to_a_key_that_may_be_gone_is_in_the_log(
    fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway gave it more than three days ago."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    fake.go()
    os.utime(gateway.public_key.path, (NOW, NOW))
    gateway.push(change(key="k1"))
    assert told == []
    clock.at += TIME_TO_LIVE + 1
    gateway.push(change(key="k2"))
    assert told == ["spool: sealed to a key that the gateway gave 72 hours ago: it may be gone by now"]


def test_after_a_clock_was_set_back_the_newer_letter_still_wins(fake: FakeGateway, tmp_path: Path) -> None:
    """It is handed over last, and carries the later time; one that was years ahead is not followed."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    gateway._monotonic = lambda: clock.beside
    fake.go()
    for key in ("k1", "k2", "k3"):
        gateway.push(change(key=key))
        clock.at -= 3600
    clock.at -= 2 * TIME_TO_LIVE
    gateway.push(change(key="k4"))
    fake.come()
    gateway.flush(5)
    assert {each.key: each.changed_at for each in fake.taken} == {
        "k1": rfc3339(NOW),
        "k2": rfc3339(NOW + 1e-6),
        "k3": rfc3339(NOW + 2e-6),
        "k4": rfc3339(NOW - 3 * 3600 - 2 * TIME_TO_LIVE),
    }
    assert [each.key for each in fake.taken] == ["k4", "k1", "k2", "k3"]


@pytest.mark.parametrize(
    ("back", "restarted", "held", "order"),
    [
        (0, False, 100.0, ["k1", "k2"]),
        (0, False, 200.0, ["k2", "k1"]),
        (50, False, 100.0, ["k1", "k2"]),
        (50, False, 200.0, ["k2", "k1"]),
        (500, False, 100.0, ["k1", "k2"]),
        (500, True, 100.0, ["k1", "k2"]),
    ],
)
def test_letters_are_as_new_as_what_they_hold(
    fake: FakeGateway, tmp_path: Path, back: int, held: float, order: list[str], *, restarted: bool
) -> None:
    """Not as when they were written, nor by a clock that was set back between them."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    gateway._monotonic = lambda: clock.beside
    fake.go()
    gateway.push(change(key="k1", age=10.0))
    clock.passes(120, back=back)
    if restarted:
        gateway = hook(fake, tmp_path, clock)
        gateway._monotonic = lambda: clock.beside
    gateway.push(change(key="k2", age=held))
    fake.come()
    gateway.flush(5)
    assert [each.key for each in sorted(fake.taken, key=lambda each: each.changed_at or "")] == order


def test_a_clock_that_was_hours_ahead_is_followed_no_further(fake: FakeGateway, tmp_path: Path) -> None:
    """One letter has its time; those behind it come right as the time comes."""
    clock = Clock()
    gateway = hook(fake, tmp_path, clock)
    gateway._monotonic = lambda: clock.beside
    fake.go()
    gateway.push(change(key="k1"))
    clock.at -= 7200
    for number in range(2, 7):
        clock.passes(1800)
        gateway.push(change(key=f"k{number}"))
    fake.come()
    gateway.flush(5)
    told = {each.key: each.changed_at or "" for each in fake.taken}
    assert told["k2"] < rfc3339(NOW + 1.0)
    assert told["k6"] <= rfc3339(clock.at + SET_BACK)


def test_a_broken_letter_is_set_aside_at_once(fake: FakeGateway, tmp_path: Path) -> None:
    """It is told, and the next one goes."""
    gateway = hook(fake, tmp_path)
    fake.go()
    gateway.push(change(key="k1"))
    (letter,) = gateway.spool.waiting()
    letter.path.write_bytes(letter.path.read_bytes()[:-1])
    gateway.push(change(key="k2"))
    fake.come()
    flushed = gateway.flush(5)
    assert (flushed.accepted, flushed.set_aside, flushed.left) == (1, 1, 0)


def test_a_full_spool_is_passed_by_and_otherwise_the_password_is_lost_and_said_so(
    fake: FakeGateway, tmp_path: Path
) -> None:
    """No room and no gateway: LOST. No room, but a gateway: accepted."""
    gateway = hook(fake, tmp_path, spool_most=1)
    fake.go()
    gateway.push(change(key="k1"))
    answer = gateway.push(change(key="k2"))
    assert answer.verdict is Verdict.LOST
    assert "full" in answer.why
    fake.come()
    assert gateway.push(change(key="k3")).verdict is Verdict.ACCEPTED
    assert gateway.flush(5).accepted == 1


def test_without_a_public_key_nothing_can_be_spooled(fake: FakeGateway, tmp_path: Path) -> None:
    """A hook that never reached its gateway says so; one that did has the key from then on."""
    gateway = Gateway(fake.settings(tmp_path))
    fake.go()
    answer = gateway.push(change())
    assert answer.verdict is Verdict.LOST
    assert "public key" in answer.why
    fake.come()
    assert gateway.check("jane", Password(GOOD)).verdict is Verdict.ACCEPTED
    fake.go()
    assert gateway.push(change()).verdict is Verdict.SPOOLED


def test_the_public_key_is_asked_for_hourly_and_follows_the_gateway(
    fake: FakeGateway, tmp_path: Path
) -> None:
    """Within an hour once; after it again; a key file that others may write is not believed."""
    gateway = Gateway(fake.settings(tmp_path), time.time)
    for _ in range(3):
        gateway.push(change())
    assert fake.paths.count("/sync/key") == 1
    later = Gateway(fake.settings(tmp_path), lambda: time.time() + OLD_SECONDS + 1)
    fake.private = bytes(range(32))
    later.push(change())
    key = later.public_key.read()
    assert key is not None
    assert key.public != PUBLIC
    later.public_key.path.chmod(0o622)
    assert later.public_key.read() is None


@pytest.mark.parametrize(("when_away", "verdict"), [("allow", Verdict.ACCEPTED), ("refuse", Verdict.REFUSED)])
def test_a_check_without_a_verdict_follows_the_setting(
    fake: FakeGateway, tmp_path: Path, when_away: str, verdict: Verdict
) -> None:
    """Away, or a set-up in which the gateway gives no verdict: fail open or closed, as it is set."""
    gateway = hook(fake, tmp_path, when_away=when_away)
    assert gateway.check("jane", Password("short")).verdict is Verdict.REFUSED
    assert gateway.check("jane", Password(GOOD)).verdict is Verdict.ACCEPTED
    fake.instead = 401, {"code": "access.key.refused"}
    assert gateway.check("jane", Password("short")).verdict is verdict
    fake.go()
    answer = gateway.check("jane", Password("short"))
    assert answer.verdict is verdict
    assert answer.message == (UNCHECKED if when_away == "refuse" else "")
    assert answer.why


def test_a_gateway_that_hangs_costs_the_time_limit(fake: FakeGateway, tmp_path: Path) -> None:
    """A user waits two seconds at most, by default; and the password is kept."""
    gateway = hook(fake, tmp_path, seconds=0.3)
    fake.answer = lambda taken: time.sleep(1.0)
    started = time.monotonic()
    assert gateway.push(change()).verdict is Verdict.SPOOLED
    assert time.monotonic() - started < 0.9


def test_another_who_hands_over_is_waited_for_no_longer_than_the_limit(
    fake: FakeGateway, tmp_path: Path
) -> None:
    """The letter is there for whoever holds the lock."""
    gateway = hook(fake, tmp_path, seconds=0.2)
    fake.go()
    gateway.push(change(key="k1"))
    fake.come()
    with gateway.spool.alone(0.0):
        answer = gateway.push(change(key="k2"))
    assert answer.verdict is Verdict.SPOOLED
    assert gateway.flush(5).accepted == 2
