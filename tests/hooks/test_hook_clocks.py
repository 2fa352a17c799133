"""Which of two passwords wins at the gateway, when its clock and the hook's differ: with the real judge."""

from datetime import datetime
from pathlib import Path

import pytest

from hook_fakes import PUBLIC, FakeGateway, Reply, Taken
from passferry.domain.accepting import CLOCK_TOLERANCE, NewChange, Stale, UserRow, judge
from passferry.domain.change import Reference
from passferry.domain.password import Password
from passferry.hooks.gateway import Gateway, SourceChange, Verdict
from passferry.hooks.public_key import PublicKey

NOW = 1_795_000_000.0


class Scene:
    """A hook whose clock is ``skew`` seconds ahead of the gateway's, and what the gateway has of jane."""

    def __init__(self, fake: FakeGateway, folder: Path, skew: float) -> None:
        self.at, self.skew, self.fake = NOW, skew, fake
        self.newest: UserRow | None = None
        self.has: str | None = None
        self.gateway = Gateway(fake.settings(folder), lambda: self.at + self.skew)
        self.gateway.spool.check()
        self.gateway.public_key.keep(PublicKey(PUBLIC))
        fake.now = lambda: self.at
        fake.answer = self.take

    def take(self, change: Taken) -> Reply | None:
        at = None if change.changed_at is None else datetime.fromisoformat(change.changed_at).timestamp()
        if at is not None and at > self.at + CLOCK_TOLERANCE:
            return 400, {"code": "changed.at.future"}
        item = NewChange("id", "o", Reference("userName", "jane"), "hook", b"", self.at, self.at + 1, at)
        if isinstance(judge(item, self.newest, None, None), Stale):
            return 409, {"code": "change.stale"}
        self.newest = UserRow(1, self.at if at is None else at, "hook", self.at)
        self.has = change.password
        return None

    def push(self, password: str) -> Verdict:
        self.at += 1
        return self.gateway.push(SourceChange("jane", Password(password), None, f"key-{password}")).verdict


@pytest.mark.parametrize("skew", [-4000, -250, -30, -0.5, 0, 0.5, 30, 250])
def test_direct_pushes_and_letters_are_of_one_clock(fake: FakeGateway, tmp_path: Path, skew: float) -> None:
    """Direct, spooled, direct: each is newer than the one before, whatever the gateway's clock says."""
    scene = Scene(fake, tmp_path, skew)
    assert scene.push("First-Horse-1") is Verdict.ACCEPTED
    fake.go()
    assert scene.push("Second-Horse-2") is Verdict.SPOOLED
    fake.come()
    assert scene.gateway.flush(5).accepted == 1
    assert scene.has == "Second-Horse-2"
    assert scene.push("Third-Horse-3") is Verdict.ACCEPTED
    assert scene.has == "Third-Horse-3"


@pytest.mark.parametrize("skew", [-250, 0, 250])
def test_a_push_that_is_stalled_does_not_undo_a_newer_one(
    fake: FakeGateway, tmp_path: Path, skew: float
) -> None:
    """The gateway gets to it after another hook's push of the same user."""
    scene = Scene(fake, tmp_path, skew)

    def stalled(change: Taken) -> Reply | None:
        if change.password == "First-Horse-1":
            assert scene.push("Second-Horse-2") is Verdict.ACCEPTED
        return scene.take(change)

    fake.answer = stalled
    assert scene.push("First-Horse-1") is Verdict.OLDER
    assert scene.has == "Second-Horse-2"


def test_a_clock_that_is_far_ahead_delays_no_direct_push(fake: FakeGateway, tmp_path: Path) -> None:
    """A time that the gateway does not believe is left out; nothing newer is stale once it was mended."""
    scene = Scene(fake, tmp_path, 4000)
    assert scene.push("First-Horse-1") is Verdict.ACCEPTED
    scene.skew = 0
    assert scene.push("Second-Horse-2") is Verdict.ACCEPTED
    assert scene.has == "Second-Horse-2"


def test_a_change_that_waited_counts_from_when_it_was_made(fake: FakeGateway, tmp_path: Path) -> None:
    """It is newer than what was there before, and than what was made before it."""
    scene = Scene(fake, tmp_path, 0)
    assert scene.push("First-Horse-1") is Verdict.ACCEPTED
    scene.at += 600
    waited = SourceChange("jane", Password("Second-Horse-2"), None, "key", age=300.0)
    assert scene.gateway.push(waited).verdict is Verdict.ACCEPTED
    older = SourceChange("jane", Password("Third-Horse-3"), None, "other", age=400.0)
    assert scene.gateway.push(older).verdict is Verdict.OLDER
    assert scene.has == "Second-Horse-2"


def test_a_clock_that_was_set_far_back_loses_no_direct_push(fake: FakeGateway, tmp_path: Path) -> None:
    """Its time would be before that of the first change: the gateway's own clock tells that it is none."""
    scene = Scene(fake, tmp_path, 0)
    assert scene.push("First-Horse-1") is Verdict.ACCEPTED
    scene.skew = -4000
    assert scene.push("Second-Horse-2") is Verdict.ACCEPTED
    assert scene.has == "Second-Horse-2"
